"""Attention in C++ (csrc/attention.cpp): scores stay in the cache and are computed again for the gradients."""

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from seqloom.ops import _native
from seqloom.ops.attention import reference
from seqloom.ops.op import Kernel

WORK = 500_000  # products of a query and a key, times the width, below which a call costs more than it saves

_FIELDS = (
    "threads batch queries keys heads groups width causal window q_batch q_step q_head k_batch k_step k_head "
    "v_batch v_step v_head d_batch d_step d_head lengths q k v d_y y log_sum d_q d_k d_v"
)
_library = torch.library.Library("seqloom", "FRAGMENT")
_SEEN = "Tensor q, Tensor k, Tensor v, bool causal, int window, Tensor? lengths"
_library.define(f"attention_native({_SEEN}) -> (Tensor, Tensor)")
_library.define(f"attention_native_backward(Tensor d_y, Tensor y, Tensor log_sum, {_SEEN}) -> (Tensor, Tensor, Tensor)")
_below_autograd: Any = torch._C._AutoDispatchBelowAutograd  # pyright: ignore[reportPrivateUsage]


class _Call(ctypes.Structure):
    """`Attention` of csrc/attention.cpp: numbers and addresses, 64 bits each."""

    _fields_ = [(name, ctypes.c_int64) for name in _FIELDS.split()]


def _run(
    name: str,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    causal: bool,
    window: int,
    lengths: Tensor | None,
    d_y: Tensor | None = None,
    **tensors: Tensor,
) -> None:
    parts = {"q": _rows(q), "k": _rows(k), "v": _rows(v)}
    if d_y is not None:
        parts["d"] = _rows(d_y)
    if lengths is not None:
        lengths = lengths.to(torch.int32).contiguous()
    strides = {
        f"{part}_{axis}": tensor.stride(i)
        for part, tensor in parts.items()
        for i, axis in enumerate(("batch", "step", "head"))
    }
    addresses = {("d_y" if part == "d" else part): tensor.data_ptr() for part, tensor in parts.items()}
    call = _Call(
        threads=torch.get_num_threads(), batch=q.shape[0], queries=q.shape[1], keys=k.shape[1], heads=q.shape[2],
        groups=k.shape[2], width=q.shape[3], causal=causal, window=window,
        lengths=0 if lengths is None else lengths.data_ptr(), **strides, **addresses,
        **{field: tensor.data_ptr() for field, tensor in tensors.items()},
    )  # fmt: skip
    _native.function(f"{name}_{_native.TYPES[q.dtype]}")(ctypes.byref(call))


def _rows(x: Tensor) -> Tensor:
    return x if x.stride(3) == 1 else x.contiguous()


def _forward(*args: Any) -> tuple[Tensor, Tensor]:
    y, log_sum = _empty(*args)
    _run("attention", *args, y=y, log_sum=log_sum)
    return y, log_sum


def _backward(d_y: Tensor, y: Tensor, log_sum: Tensor, *args: Any) -> tuple[Tensor, Tensor, Tensor]:
    d_q, d_k, d_v = _empty_gradients(d_y, y, log_sum, *args)
    _run("attention_backward", *args, d_y=d_y, y=y.contiguous(), log_sum=log_sum, d_q=d_q, d_k=d_k, d_v=d_v)
    return d_q, d_k, d_v


def _empty(q: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return q.new_empty(q.shape), q.new_empty((q.shape[0], q.shape[2], q.shape[1]))


def _empty_gradients(
    d_y: Tensor, y: Tensor, log_sum: Tensor, q: Tensor, k: Tensor, v: Tensor, *_: Any
) -> tuple[Tensor, Tensor, Tensor]:
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


torch.library.register_fake("seqloom::attention_native", _empty, lib=_library)
torch.library.register_fake("seqloom::attention_native_backward", _empty_gradients, lib=_library)
_library.impl("attention_native", _forward, "CPU")
_library.impl("attention_native_backward", _backward, "CPU")


@register_flop_formula(torch.ops.seqloom.attention_native)
def _flops(q: Any, k: Any, *_: Any, **__: Any) -> int:
    batch, length, heads, width = q
    return 4 * batch * length * k[1] * heads * width


@register_flop_formula(torch.ops.seqloom.attention_native_backward)
def _backward_flops(d_y: Any, y: Any, log_sum: Any, q: Any, k: Any, *_: Any, **__: Any) -> int:
    return 5 * _flops(q, k) // 2


class _Differentiable(torch.autograd.Function):
    """The op with its gradient; second derivatives are those of the reference."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Any:
        with _below_autograd():
            y, log_sum = torch.ops.seqloom.attention_native.default(*args)
        q, k, v, ctx.causal, ctx.window, lengths = args
        ctx.save_for_backward(q, k, v, lengths, y, log_sum)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (d_y,) = grads
        q, k, v, lengths, y, log_sum = ctx.saved_tensors
        if torch.is_grad_enabled():
            y = reference(q, k, v, ctx.causal, ctx.window or None, lengths)
            found = torch.autograd.grad(y, (q, k, v), d_y, create_graph=True, allow_unused=True)
        else:
            with _below_autograd():
                found = torch.ops.seqloom.attention_native_backward.default(
                    d_y, y, log_sum, q, k, v, ctx.causal, ctx.window, lengths
                )
        wanted = ctx.needs_input_grad[:3]
        return *(gradient if wants else None for gradient, wants in zip(found, wanted, strict=True)), None, None, None


class Native(Kernel):
    """The C++ kernel: any window, any lengths, heads that share keys, float32 and float64 on a CPU.

    Narrower types are computed in float32.
    """

    preference = 2

    def rank(self, query: Tensor, key: Tensor, *rest: Any) -> int:
        return self.preference if query.numel() * key.shape[1] >= WORK and query.shape[1] >= 16 else 0

    def why_not(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        causal: bool,
        window: int | None = None,
        lengths: Tensor | None = None,
    ) -> list[str]:
        reasons = _native.unsuitable(query, key, value, narrow=True)
        if not query.numel() or not key.numel() or key.shape != value.shape:
            reasons.append("There is nothing to attend to, or keys and values differ in size.")
        elif query.shape[2] % key.shape[2]:
            reasons.append(f"{query.shape[2]} heads cannot share {key.shape[2]} of keys.")
        return reasons

    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        causal: bool,
        window: int | None = None,
        lengths: Tensor | None = None,
    ) -> Tensor:
        wide = torch.promote_types(query.dtype, torch.float32)
        args = *(part.to(wide) for part in (query, key, value)), causal, window or 0, lengths
        if torch.is_grad_enabled():
            y: Any = _Differentiable.apply(*args)
        else:
            with _below_autograd():
                y = torch.ops.seqloom.attention_native.default(*args)[0]
        return y.to(query.dtype)


kernel = Native()
