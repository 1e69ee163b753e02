"""The recurrence in C++ (csrc/recurrence.cpp): each thread takes whole sequences through all steps, gates fused.

The op works on rows of (N, D), "slots", in any order: padded, packed, reversed and document-wise inputs are all the
same to it, and padding costs nothing. Saved for backward: gate activations and states, O(N G H).
"""

import ctypes
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from seqloom.core.types import Where
from seqloom.ops import _native
from seqloom.ops._slots import Slots, arrange
from seqloom.ops.op import Kernel
from seqloom.ops.recurrence import CELLS, Packed, Weights, fresh, is_gathered

# cell -> (its number in C++, what is kept for backward and the width of the gradients of the gates, in units of H)
CODES = {"tanh": (0, 0, 1), "relu": (1, 0, 1), "lstm": (2, 5, 4), "gru": (3, 4, 4)}
TYPES = {torch.float32: "f32", torch.float64: "f64"}
_FIELDS = (
    "cell threads train batch steps inputs hidden count slot_first slot_of_step slot_of_row slots lengths starts "
    "x w_ih w_hh b_ih b_hh first y kept last d_y d_last d d_x d_w_ih d_w_hh d_b_ih d_b_hh d_first"
)


_below_autograd: Any = torch._C._AutoDispatchBelowAutograd  # pyright: ignore[reportPrivateUsage]


class Call(ctypes.Structure):
    """`Call` of csrc/recurrence.h: numbers and addresses, 64 bits each."""

    _fields_ = [(name, ctypes.c_int64) for name in _FIELDS.split()]


_PLAN = "Tensor? slots, Tensor? lengths, Tensor? starts, bool time_major, bool reverse"
_library = torch.library.Library("seqloom", "FRAGMENT")
# x: (N, D); first: (S, B, H); slots, starts: (T, B); lengths: (B) -> y (N, H), last (S, B, H), kept (N, W)
_library.define(
    "recurrence_native(str cell, Tensor x, Tensor w_ih, Tensor w_hh, Tensor? b_ih, Tensor? b_hh, Tensor first, "
    f"{_PLAN}, bool train) -> (Tensor, Tensor, Tensor)"
)
_library.define(
    "recurrence_native_backward(str cell, Tensor d_y, Tensor d_last, Tensor x, Tensor w_ih, Tensor w_hh, Tensor first, "
    f"Tensor y, Tensor kept, {_PLAN}, bool wants_x) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)"
)


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _call(cell: str, x: Tensor, w_hh: Tensor, first: Tensor, plan: Slots, **tensors: Tensor | None) -> Call:
    batch = first.shape[1]
    steps = plan.slots.shape[0] if plan.slots is not None else x.shape[0] // max(batch, 1)
    by_step, by_row = (batch, 1) if plan.time_major else (1, steps)
    return Call(
        cell=CODES[cell][0],
        threads=torch.get_num_threads(),
        batch=batch,
        steps=steps,
        inputs=x.shape[1],
        hidden=w_hh.shape[1],
        count=x.shape[0],
        slot_first=(steps - 1) * by_step if plan.reverse else 0,
        slot_of_step=-by_step if plan.reverse else by_step,
        slot_of_row=by_row,
        slots=_address(plan.slots),
        lengths=_address(plan.lengths),
        starts=_address(plan.starts),
        x=x.data_ptr(),
        w_hh=w_hh.data_ptr(),
        first=first.data_ptr(),
        **{name: _address(tensor) for name, tensor in tensors.items()},
    )


def _forward(
    cell: str,
    x: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
    first: Tensor,
    *rest: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    plan, train = Slots(*rest[:-1]), rest[-1]
    x, w_ih, w_hh, first = (tensor.contiguous() for tensor in (x, w_ih, w_hh, first))
    b_ih, b_hh = (None if bias is None else bias.contiguous() for bias in (b_ih, b_hh))
    y, last, kept = _empty(cell, x, w_hh, first, train)
    if x.shape[0] == 0:
        return y, last.copy_(first), kept
    if plan.pads(x.shape[0]):  # padding is never visited
        y.zero_()
        kept.zero_()
    call = _call(cell, x, w_hh, first, plan, w_ih=w_ih, b_ih=b_ih, b_hh=b_hh, y=y, kept=kept, last=last)
    call.train = train
    _native.function(f"recurrence_{TYPES[x.dtype]}")(ctypes.byref(call))
    return y, last, kept


def _backward(
    cell: str,
    d_y: Tensor,
    d_last: Tensor,
    x: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    first: Tensor,
    y: Tensor,
    kept: Tensor,
    *rest: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    plan, wants_x = Slots(*rest[:-1]), rest[-1]
    d_y, d_last, x, w_ih, w_hh, first = (tensor.contiguous() for tensor in (d_y, d_last, x, w_ih, w_hh, first))
    gradients = _empty_gradients(x, w_ih, w_hh, first, wants_x)
    d_x, d_w_ih, d_w_hh, d_b_ih, d_b_hh, d_first = gradients
    if x.shape[0] == 0:
        for gradient in gradients:
            gradient.zero_()
        d_first.copy_(d_last)
        return gradients
    if plan.pads(x.shape[0]):
        d_x.zero_()
    d = x.new_empty((x.shape[0], CODES[cell][2] * w_hh.shape[1]))
    call = _call(
        cell, x, w_hh, first, plan,
        w_ih=w_ih, y=y, kept=kept, d_y=d_y, d_last=d_last, d=d, d_x=d_x if wants_x else None,
        d_w_ih=d_w_ih, d_w_hh=d_w_hh, d_b_ih=d_b_ih, d_b_hh=d_b_hh, d_first=d_first,
    )  # fmt: skip
    _native.function(f"recurrence_backward_{TYPES[x.dtype]}")(ctypes.byref(call))
    return gradients


def _empty(cell: str, x: Tensor, w_hh: Tensor, first: Tensor, train: bool) -> tuple[Tensor, Tensor, Tensor]:
    hidden = w_hh.shape[1]
    kept = x.new_empty((x.shape[0] if train else 0, CODES[cell][1] * hidden))
    return x.new_empty((x.shape[0], hidden)), torch.empty_like(first, memory_format=torch.contiguous_format), kept


def _empty_gradients(
    x: Tensor, w_ih: Tensor, w_hh: Tensor, first: Tensor, wants_x: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    width = w_ih.shape[:1]
    return (
        x.new_empty((x.shape[0] if wants_x else 0, x.shape[1])),
        w_ih.new_empty(w_ih.shape),
        w_hh.new_empty(w_hh.shape),
        w_ih.new_empty(width),
        w_ih.new_empty(width),
        first.new_empty(first.shape),
    )


@torch.library.register_fake("seqloom::recurrence_native", lib=_library)
def _(
    cell: str, x: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Any, b_hh: Any, first: Tensor, *rest: Any
) -> tuple[Tensor, Tensor, Tensor]:
    return _empty(cell, x, w_hh, first, rest[-1])


@torch.library.register_fake("seqloom::recurrence_native_backward", lib=_library)
def _(
    cell: str,
    d_y: Any,
    d_last: Any,
    x: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    first: Tensor,
    y: Any,
    kept: Any,
    *rest: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    return _empty_gradients(x, w_ih, w_hh, first, rest[-1])


_library.impl("recurrence_native", _forward, "CPU")
_library.impl("recurrence_native_backward", _backward, "CPU")


@register_flop_formula(torch.ops.seqloom.recurrence_native)
def _flops(cell: str, x: Any, w_ih: Any, w_hh: Any, *_: Any, **__: Any) -> int:
    return 2 * x[0] * (w_ih[0] * w_ih[1] + w_hh[0] * w_hh[1])


@register_flop_formula(torch.ops.seqloom.recurrence_native_backward)
def _backward_flops(cell: str, d_y: Any, d_last: Any, x: Any, w_ih: Any, w_hh: Any, *rest: Any, **__: Any) -> int:
    inputs = 2 if rest[-1] else 1
    return 2 * x[0] * (inputs * w_ih[0] * w_ih[1] + 2 * w_hh[0] * w_hh[1])


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    cell, x, w_ih, w_hh, b_ih, b_hh, first, slots, lengths, starts, time_major, reverse, _ = inputs
    y, _, kept = output
    ctx.save_for_backward(x, w_ih, w_hh, first, y, kept, slots, lengths, starts)
    ctx.mark_non_differentiable(kept)
    ctx.cell, ctx.order = cell, (time_major, reverse)
    ctx.biases = (b_ih is not None, b_hh is not None)


def _gradients(ctx: Any, d_y: Tensor, d_last: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    wants_x = ctx.needs_input_grad[1]
    # the op again where it may be traced or differentiated, so that neither passes unseen
    run = torch.ops.seqloom.recurrence_native_backward if torch.is_grad_enabled() else _direct_backward
    d_x, d_w_ih, d_w_hh, d_b_ih, d_b_hh, d_first = run(ctx.cell, d_y, d_last, *ctx.saved_tensors, *ctx.order, wants_x)
    biases = (bias if present else None for bias, present in zip((d_b_ih, d_b_hh), ctx.biases, strict=True))
    return None, d_x if wants_x else None, d_w_ih, d_w_hh, *biases, d_first, *(None,) * 6


def _direct_backward(*args: Any) -> Any:
    with _below_autograd():
        return torch.ops.seqloom.recurrence_native_backward.default(*args)


class _Differentiable(torch.autograd.Function):
    """The op with its gradient, in eager mode: torch.library's own wrapper costs some hundred microseconds a call."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Any:
        with _below_autograd():
            output = torch.ops.seqloom.recurrence_native.default(*inputs)
        _remember(ctx, inputs, output)
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return _gradients(ctx, *grads)


def _refuse(ctx: Any, *_: Any) -> NoReturn:
    raise RuntimeError(
        "the recurrence's native kernel has no second derivatives; "
        'compute the forward pass inside `with seqloom.ops.use(recurrence="reference"):`'
    )


torch.library.register_autograd("seqloom::recurrence_native", _gradients, setup_context=_remember, lib=_library)
torch.library.register_autograd("seqloom::recurrence_native_backward", _refuse, lib=_library)


class Native(Kernel):
    """The C++ kernel: every cell, any padding, documents, packing and direction, float32 and float64 on a CPU.

    Narrower types are computed in float32.
    """

    preference = 3

    def why_not(
        self,
        cell: str,
        x: Tensor,
        weights: Weights,
        state: tuple[Tensor, ...],
        where: Where | Packed | None,
        last: bool,
        reverse: bool = False,
    ) -> list[str]:
        reasons = list(_native.why_not())
        if x.device.type != "cpu":
            reasons.append(f"It runs on a CPU, not on '{x.device.type}'.")
        if is_gathered():
            reasons.append("The hidden units are split over processes.")
        if not x.is_floating_point():
            reasons.append(f"It knows no {x.dtype}.")
        if any(weight is not None and weight.dtype != x.dtype for weight in weights) and not _autocast():
            reasons.append("Input and weights differ in type.")
        return reasons

    def __call__(
        self,
        cell: str,
        x: Tensor,
        weights: Weights,
        state: tuple[Tensor, ...],
        where: Where | Packed | None,
        last: bool,
        reverse: bool = False,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        wide = torch.promote_types(x.dtype, torch.float32)
        y_type = torch.get_autocast_dtype("cpu") if _autocast() and wide == torch.float32 else x.dtype
        rows, plan = arrange(x, where, reverse)
        batch = plan.slots.shape[1] if plan.slots is not None else x.shape[0]
        states = state or fresh(cell, x.new_empty((batch, 0)), weights.hh)
        inputs = [rows.to(wide), *(None if weight is None else weight.to(wide) for weight in weights)]
        first = torch.stack(states).to(wide)
        train = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (*inputs, first))
        run = _Differentiable.apply if train and not torch.compiler.is_compiling() else _op()
        y, after, _ = run(cell, *inputs, first, *plan, train)
        y = y.to(y_type)
        if not isinstance(where, Packed):
            hidden = y.shape[1]
            length = x.shape[1]
            y = y.view(length, batch, hidden).transpose(0, 1) if plan.time_major else y.view(batch, length, hidden)
        return y, tuple(after.unbind(0)) if last else ()


def _autocast() -> bool:
    return torch.is_autocast_enabled("cpu")


def _op() -> Any:
    return torch.ops.seqloom.recurrence_native.default


assert CODES.keys() == CELLS.keys()
kernel = Native()
