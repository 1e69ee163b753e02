"""The scan in C++ (csrc/scan.cpp): one pass over memory forward, one backward; real and complex, on a CPU."""

import ctypes
from typing import Any

import torch
from torch import Tensor

from seqloom.ops import _native, scan_blocked
from seqloom.ops.op import Kernel
from seqloom.ops.scan import check, composed_gradients

TYPES = {torch.float32: "f32", torch.float64: "f64", torch.complex64: "c64", torch.complex128: "c128"}

_library = torch.library.Library("seqloom", "FRAGMENT")
_library.define("scan_native(Tensor a, Tensor b, Tensor? h0) -> Tensor")
_library.define("scan_native_backward(Tensor a, Tensor h, Tensor? h0, Tensor d_h) -> (Tensor, Tensor, Tensor)")
_below_autograd: Any = torch._C._AutoDispatchBelowAutograd  # pyright: ignore[reportPrivateUsage]


_FIELDS = "threads batch steps lanes a_batch a_step b_batch b_step a b first h d_h d_a d_b d_first"


class _Call(ctypes.Structure):
    """`Scan` of csrc/scan.cpp: numbers and addresses, 64 bits each; sizes and strides in real numbers."""

    _fields_ = [(name, ctypes.c_int64) for name in _FIELDS.split()]


def _rows(x: Tensor) -> Tensor:
    """Return x with adjacent lanes; other strides may be any."""
    return x if x.stride(2) == 1 or x.shape[2] == 1 else x.contiguous()


def _call(a: Tensor, entering: Tensor, h0: Tensor | None, **given: Tensor | None) -> _Call:
    parts = 2 if a.is_complex() else 1
    batch, length, width = a.shape
    addresses = {name: 0 if tensor is None else tensor.data_ptr() for name, tensor in given.items()}
    return _Call(
        threads=torch.get_num_threads(), batch=batch, steps=length, lanes=parts * width,
        a_batch=parts * a.stride(0), a_step=parts * a.stride(1),
        b_batch=parts * entering.stride(0), b_step=parts * entering.stride(1),
        a=a.data_ptr(), first=0 if h0 is None else h0.data_ptr(), **addresses,
    )  # fmt: skip


def _forward(a: Tensor, b: Tensor, h0: Tensor | None) -> Tensor:
    if _native.why_not():  # a program exported elsewhere
        return scan_blocked.forward(a, b, h0)
    h = torch.empty_like(b, memory_format=torch.contiguous_format)
    if h.numel():
        a, b, h0 = _rows(a.resolve_conj()), _rows(b.resolve_conj()), _first(h0)
        call = _call(a, b, h0, b=b, h=h)
        _native.function(f"scan_{TYPES[a.dtype]}")(ctypes.byref(call))
    return h


def _backward(a: Tensor, h: Tensor, h0: Tensor | None, d_h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    d_a, d_b, d_first = _empty_gradients(a, h, h0, d_h)
    if _native.why_not():
        for to, gradient in zip(
            (d_a, d_b, d_first), composed_gradients(scan_blocked.forward, a, h, h0, d_h), strict=True
        ):
            if gradient is not None:
                to.copy_(gradient)
        return d_a, d_b, d_first
    if h.numel() == 0:
        return d_a, d_b, d_first.zero_()
    a, d_h, h0, h = _rows(a.resolve_conj()), _rows(d_h.resolve_conj()), _first(h0), h.contiguous()
    call = _call(a, d_h, h0, d_h=d_h, h=h, d_a=d_a, d_b=d_b, d_first=None if h0 is None else d_first)
    _native.function(f"scan_backward_{TYPES[a.dtype]}")(ctypes.byref(call))
    return d_a, d_b, d_first


def _first(h0: Tensor | None) -> Tensor | None:
    return None if h0 is None else h0.resolve_conj().contiguous()


def _empty_gradients(a: Tensor, h: Tensor, h0: Tensor | None, d_h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    d_a = torch.empty_like(a, memory_format=torch.contiguous_format)
    d_first = h.new_empty((h.shape[0] if h0 is not None else 0, h.shape[2]))
    return d_a, torch.empty_like(d_a), d_first


@torch.library.register_fake("seqloom::scan_native", lib=_library)
def _(a: Tensor, b: Tensor, h0: Tensor | None) -> Tensor:
    return torch.empty_like(b, memory_format=torch.contiguous_format)


torch.library.register_fake("seqloom::scan_native_backward", _empty_gradients, lib=_library)
_library.impl("scan_native", _forward, "CPU")
_library.impl("scan_native_backward", _backward, "CPU")


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    a, _, h0 = inputs
    ctx.save_for_backward(a, output, h0)


def _gradients(ctx: Any, d_h: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    a, h, h0 = ctx.saved_tensors
    if torch.is_grad_enabled():  # the gradient will be differentiated
        return composed_gradients(torch.ops.seqloom.scan_native, a, h, h0, d_h)
    with _below_autograd():
        d_a, d_b, d_first = torch.ops.seqloom.scan_native_backward.default(a, h, h0, d_h)
    return d_a, d_b, None if h0 is None else d_first


class _Differentiable(torch.autograd.Function):
    """The op with its gradient, in eager mode: torch.library's own wrapper costs some hundred microseconds a call."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        with _below_autograd():
            output = torch.ops.seqloom.scan_native.default(*inputs)
        _remember(ctx, inputs, output)
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return _gradients(ctx, *grads)


torch.library.register_autograd("seqloom::scan_native", _gradients, setup_context=_remember, lib=_library)


class Native(Kernel):
    """One pass forward and one backward at the speed of memory; narrower types are computed in float32."""

    preference = 3

    def why_not(self, a: Tensor, b: Tensor, h0: Tensor | None = None) -> list[str]:
        reasons = list(_native.why_not())
        if b.device.type != "cpu":
            reasons.append(f"It runs on a CPU, not on '{b.device.type}'.")
        if not (b.is_floating_point() or b.is_complex()):
            reasons.append(f"It knows no {b.dtype}.")
        return reasons

    def __call__(self, a: Tensor, b: Tensor, h0: Tensor | None = None) -> Tensor:
        check(a, b, h0)
        if b.dtype not in TYPES:
            return self(a.float(), b.float(), None if h0 is None else h0.float()).to(b.dtype)
        if torch.compiler.is_compiling():
            return torch.ops.seqloom.scan_native(a, b, h0)
        return _Differentiable.apply(a, b, h0)


kernel = Native()
