"""The linear layer in C++ (csrc/linear.cpp): the weight is packed once a call, sums stay in the widest registers."""

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from seqloom.ops import _native
from seqloom.ops.op import Kernel

# below so many rows packing costs as much as the product; below so many multiplications a call costs more than it saves
ROWS, WORK = 64, 4_000_000

_FIELDS = "threads rows inputs outputs x w b d_y y d_x d_w d_b"
_library = torch.library.Library("seqloom", "FRAGMENT")
# x: (N, K), w: (M, K), b: (M), d_y: (N, M); gradients that are not wanted are empty
_library.define("linear_native(Tensor x, Tensor w, Tensor? b) -> Tensor")
_library.define(
    "linear_native_backward(Tensor d_y, Tensor x, Tensor w, bool wants_x, bool wants_w, bool wants_b) "
    "-> (Tensor, Tensor, Tensor)"
)
_below_autograd: Any = torch._C._AutoDispatchBelowAutograd  # pyright: ignore[reportPrivateUsage]


class _Call(ctypes.Structure):
    """`Linear` of csrc/linear.cpp: numbers and addresses, 64 bits each."""

    _fields_ = [(name, ctypes.c_int64) for name in _FIELDS.split()]


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None or not tensor.numel() else tensor.data_ptr()


def _run(name: str, x: Tensor, w: Tensor, **tensors: Tensor | None) -> None:
    call = _Call(torch.get_num_threads(), x.shape[0], x.shape[1], w.shape[0], x.data_ptr(), w.data_ptr())
    for field, tensor in tensors.items():
        setattr(call, field, _address(tensor))
    _native.function(f"{name}_{_native.TYPES[x.dtype]}")(ctypes.byref(call))


def _forward(x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
    y = _empty(x, w, b)
    _run("linear", x.contiguous(), w.contiguous(), b=None if b is None else b.contiguous(), y=y)
    return y


def _backward(
    d_y: Tensor, x: Tensor, w: Tensor, wants_x: bool, wants_w: bool, wants_b: bool
) -> tuple[Tensor, Tensor, Tensor]:
    d_x, d_w, d_b = _empty_gradients(d_y, x, w, wants_x, wants_w, wants_b)
    d_y = d_y.contiguous()
    if wants_x or wants_w:
        _run("linear_backward", x.contiguous(), w.contiguous(), d_y=d_y, d_x=d_x, d_w=d_w, d_b=d_b)
    if wants_b and not wants_w:
        torch.sum(d_y, 0, out=d_b)
    return d_x, d_w, d_b


def _empty(x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
    return x.new_empty((x.shape[0], w.shape[0]))


def _empty_gradients(
    d_y: Tensor, x: Tensor, w: Tensor, wants_x: bool, wants_w: bool, wants_b: bool
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        x.new_empty((x.shape[0] if wants_x else 0, x.shape[1])),
        x.new_empty((w.shape[0] if wants_w else 0, w.shape[1])),
        x.new_empty(w.shape[0] if wants_b else 0),
    )


torch.library.register_fake("seqloom::linear_native", _empty, lib=_library)
torch.library.register_fake("seqloom::linear_native_backward", _empty_gradients, lib=_library)
_library.impl("linear_native", _forward, "CPU")
_library.impl("linear_native_backward", _backward, "CPU")


@register_flop_formula(torch.ops.seqloom.linear_native)
def _flops(x: Any, w: Any, *_: Any, **__: Any) -> int:
    return 2 * x[0] * w[0] * w[1]


@register_flop_formula(torch.ops.seqloom.linear_native_backward)
def _backward_flops(d_y: Any, x: Any, w: Any, wants_x: bool, wants_w: bool, *_: Any, **__: Any) -> int:
    return 2 * x[0] * w[0] * w[1] * (wants_x + wants_w)


class _Differentiable(torch.autograd.Function):
    """The op with its gradient; second derivatives are those of torch's own products."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, w)
        with _below_autograd():
            return torch.ops.seqloom.linear_native.default(x, w, b)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        (d_y,) = grads
        x, w = ctx.saved_tensors
        wants = ctx.needs_input_grad
        if torch.is_grad_enabled():
            found = d_y @ w, d_y.t() @ x, d_y.sum(0)
        else:
            with _below_autograd():
                found = torch.ops.seqloom.linear_native_backward.default(d_y, x, w, *wants)
        return tuple(gradient if wanted else None for gradient, wanted in zip(found, wants, strict=True))


class Native(Kernel):
    """The C++ kernel: float32 and float64 on a CPU."""

    preference = 2

    def rank(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> int:
        rows = x.numel() // max(weight.shape[1], 1)
        return self.preference if rows >= ROWS and rows * weight.numel() >= WORK else 0

    def why_not(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> list[str]:
        reasons = _native.unsuitable(x, weight, *(() if bias is None else (bias,)))
        if torch.is_autocast_enabled("cpu"):
            reasons.append("Autocast chooses a narrower type.")
        if x.dim() == 0 or not x.numel() or not weight.numel() or x.shape[-1] != weight.shape[1]:
            reasons.append("There is nothing to multiply, or the sizes do not match.")
        return reasons

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        if torch.is_grad_enabled():
            y = _Differentiable.apply(rows, weight, bias)
        else:
            with _below_autograd():
                y = torch.ops.seqloom.linear_native.default(rows, weight, bias)
        return y.view(*x.shape[:-1], weight.shape[0])


kernel = Native()
