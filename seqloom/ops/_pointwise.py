"""Kernels of one C++ call forward and one backward: the gradient they share, and the reasons that keep them away."""

import ctypes
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from seqloom.ops import _native
from seqloom.ops.op import Kernel, Op


class Pointwise(Kernel):
    """A native kernel whose output is one tensor; its op's reference has the second derivatives."""

    preference = 2
    op: Op

    @abstractmethod
    def forward(self, *args: Any) -> tuple[Tensor, ...]:
        """Return the output, and what backward needs besides the arguments."""

    @abstractmethod
    def backward(self, d_y: Tensor, kept: tuple[Tensor, ...], *args: Any) -> tuple[Tensor, ...]:
        """Return the gradients of the tensors among the arguments that may have one; d_y is contiguous."""

    def __call__(self, *args: Any) -> Tensor:
        return _Differentiable.apply(self, *args) if torch.is_grad_enabled() else self.forward(*args)[0]

    def why_not(self, *args: Any) -> list[str]:
        return _native.unsuitable(*(arg for arg in args if isinstance(arg, Tensor)))


class _Differentiable(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kernel: Pointwise, *args: Any) -> Tensor:
        y, *kept = kernel.forward(*args)
        ctx.kernel, ctx.kept = kernel, len(kept)
        ctx.rest = [None if isinstance(arg, Tensor) else arg for arg in args]
        ctx.at = [i for i, arg in enumerate(args) if isinstance(arg, Tensor)]
        ctx.save_for_backward(*kept, *(args[i] for i in ctx.at))
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        kernel, saved = ctx.kernel, ctx.saved_tensors
        args = list(ctx.rest)
        for i, tensor in zip(ctx.at, saved[ctx.kept :], strict=True):
            args[i] = tensor
        found: dict[int, Tensor | None] = dict.fromkeys(range(len(args)))
        wanted = [i for i in ctx.at if ctx.needs_input_grad[i + 1]]
        if torch.is_grad_enabled():
            y = kernel.op.reference(*args)
            given = torch.autograd.grad(y, [args[i] for i in wanted], grads, create_graph=True)
            found |= dict(zip(wanted, given, strict=True))
        else:
            given = kernel.backward(grads[0].contiguous(), saved[: ctx.kept], *args)
            found |= {i: gradient for i, gradient in zip(ctx.at, given, strict=False) if i in wanted}
        return None, *found.values()


def structure(fields: str, **others: Any) -> type[ctypes.Structure]:
    """Return a structure of 64-bit numbers and addresses, in order; `others` names fields of another type."""
    named = [(name, others.get(name, ctypes.c_int64)) for name in fields.split()]
    return type("Call", (ctypes.Structure,), {"_fields_": named})


def address(tensor: Tensor) -> int:
    """Return where a tensor's numbers are; 0: it has a shape alone."""
    return 0 if isinstance(tensor, FakeTensor) else tensor.data_ptr()


def run(name: str, like: Tensor, call: ctypes.Structure) -> None:
    """Call the native function for the type of a tensor; of shapes alone nothing is computed."""
    if isinstance(like, FakeTensor):
        return
    _native.function(f"{name}_{_native.TYPES[like.dtype]}")(ctypes.byref(call))
