"""The time loop, its backward written out: a few tensor operations a step, weight gradients in one product at the end.

One opaque torch.library op, so that a model compiles and exports with a dynamic number of steps. Saved for backward:
gate activations and states, O(B T G H).
"""

from typing import Any, NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from seqloom.core.types import Where
from seqloom.ops._steps import STEPS
from seqloom.ops.op import Kernel
from seqloom.ops.recurrence import Packed, Weights, fresh, is_gathered, padded_and_forward

_library = torch.library.Library("seqloom", "FRAGMENT")
# gates: (T, B, G H) input part; states: (S, T + 1, B, H) with the first slice the state before; saved: (T, B, W)
_library.define(
    "recurrence(str cell, Tensor gates, Tensor w_hh, Tensor? b_hh, Tensor first, Tensor? start, Tensor? real)"
    " -> (Tensor, Tensor)"
)
_library.define(
    "recurrence_backward(str cell, Tensor grads, Tensor w_hh, Tensor states, Tensor saved, Tensor? start, Tensor? real)"
    " -> (Tensor, Tensor, Tensor)"
)


def _forward(
    cell: str,
    gates: Tensor,
    w_hh: Tensor,
    b_hh: Tensor | None,
    first: Tensor,
    start: Tensor | None,
    real: Tensor | None,
) -> tuple[Tensor, Tensor]:
    step = STEPS[cell]
    length, batch, _ = gates.shape
    hidden = first.shape[-1]
    states = first.new_empty((first.shape[0], length + 1, batch, hidden))
    saved = first.new_empty((length, batch, step.saved * hidden))
    states[:, 0] = first
    gates, weight = gates.to(first.dtype), w_hh.to(first.dtype).t()
    bias = None if b_hh is None else b_hh.to(first.dtype)
    u = gates.new_empty((batch, gates.shape[2]))
    begins = None if start is None else start.t()[:, None, :, None]
    keeps = None if real is None else ~real.t()[:, None, :, None]
    for t, (x, kept) in enumerate(zip(gates.unbind(0), saved.unbind(0), strict=True)):
        before = states[:, t]
        after = states[:, t + 1]
        if begins is not None:
            before = before.masked_fill(begins[t], 0.0)
        if bias is None:
            torch.mm(before[0], weight, out=u)
        else:
            torch.addmm(bias, before[0], weight, out=u)
        step.forward(x, u, before, after, kept)
        if keeps is not None:
            after.copy_(torch.where(keeps[t], before, after))
    return states, saved


def _backward(
    cell: str,
    grads: Tensor,
    w_hh: Tensor,
    states: Tensor,
    saved: Tensor,
    start: Tensor | None,
    real: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of (gates, hidden parts, first) from those of all states; hidden parts give the weights'."""
    step = STEPS[cell]
    n_states, length, batch, hidden = states[:, 1:].shape
    weight = w_hh.to(states.dtype)
    d_gates = states.new_empty((length, batch, weight.shape[0]))
    d_hidden = torch.empty_like(d_gates)
    d = [torch.zeros_like(states[0, 0]) for _ in range(n_states)]
    begins = None if start is None else start.t()[:, :, None]
    keeps = None if real is None else ~real.t()[:, :, None]
    for t in range(length - 1, -1, -1):
        before, after = states[:, t], states[:, t + 1]
        d = [carried + given for carried, given in zip(d, grads[:, t + 1].unbind(0), strict=True)]
        passed: list[Tensor] | None = None
        if begins is not None:
            before = before.masked_fill(begins[t], 0.0)
        if keeps is not None:
            passed = [carried * keeps[t] for carried in d]
            d = [carried.masked_fill(keeps[t], 0.0) for carried in d]
        direct = step.backward(d, before, after, saved[t], d_gates[t], d_hidden[t])
        into_h = direct[0]
        d_h = torch.mm(d_hidden[t], weight) if into_h is None else torch.addmm(into_h, d_hidden[t], weight)
        d = [d_h, *(carried for carried in direct[1:] if carried is not None)]
        if passed is not None:
            d = [carried + kept for carried, kept in zip(d, passed, strict=True)]
        if begins is not None:
            d = [carried.masked_fill(begins[t], 0.0) for carried in d]
    d_first = torch.stack([carried + given for carried, given in zip(d, grads[:, 0].unbind(0), strict=True)])
    return d_gates, d_hidden, d_first


@torch.library.register_fake("seqloom::recurrence", lib=_library)
def _(
    cell: str,
    gates: Tensor,
    w_hh: Tensor,
    b_hh: Tensor | None,
    first: Tensor,
    start: Tensor | None,
    real: Tensor | None,
) -> tuple[Tensor, Tensor]:
    length, batch, _ = gates.shape
    hidden = first.shape[-1]
    states = first.new_empty((first.shape[0], length + 1, batch, hidden))
    return states, first.new_empty((length, batch, STEPS[cell].saved * hidden))


@torch.library.register_fake("seqloom::recurrence_backward", lib=_library)
def _(
    cell: str,
    grads: Tensor,
    w_hh: Tensor,
    states: Tensor,
    saved: Tensor,
    start: Tensor | None,
    real: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    length, batch = states.shape[1] - 1, states.shape[2]
    d_gates = states.new_empty((length, batch, w_hh.shape[0]))
    return d_gates, torch.empty_like(d_gates), torch.empty_like(states[:, 0])


_library.impl("recurrence", _forward, "CompositeExplicitAutograd")
_library.impl("recurrence_backward", _backward, "CompositeExplicitAutograd")


@register_flop_formula(torch.ops.seqloom.recurrence)
def _flops(cell: str, gates: Any, w_hh: Any, *_: Any, **__: Any) -> int:
    return 2 * gates[0] * gates[1] * w_hh[0] * w_hh[1]


@register_flop_formula(torch.ops.seqloom.recurrence_backward)
def _backward_flops(cell: str, grads: Any, w_hh: Any, states: Any, *_: Any, **__: Any) -> int:
    return 2 * (states[1] - 1) * states[2] * w_hh[0] * w_hh[1]


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    cell, gates, w_hh, b_hh, _, start, real = inputs
    ctx.save_for_backward(w_hh, b_hh, *output, start, real)
    ctx.mark_non_differentiable(output[1])
    ctx.cell, ctx.dtype = cell, gates.dtype


def _gradients(ctx: Any, grads: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    w_hh, b_hh, states, saved, start, real = ctx.saved_tensors
    d_gates, d_hidden, d_first = torch.ops.seqloom.recurrence_backward(
        ctx.cell, grads.contiguous(), w_hh, states, saved, start, real
    )
    before = states[0, :-1]
    if start is not None:
        before = before.masked_fill(start.t()[:, :, None], 0.0)
    d_w = torch.mm(d_hidden.flatten(0, 1).t(), before.flatten(0, 1)).to(w_hh.dtype)
    d_b = None if b_hh is None else d_hidden.sum(dim=(0, 1)).to(b_hh.dtype)
    return None, d_gates.to(ctx.dtype), d_w, d_b, d_first, None, None


def _refuse(ctx: Any, *_: Any) -> NoReturn:
    raise RuntimeError(
        "the recurrence's loop kernel has no second derivatives; "
        'compute the forward pass inside `with seqloom.ops.use(recurrence="reference"):`'
    )


torch.library.register_autograd("seqloom::recurrence", _gradients, setup_context=_remember, lib=_library)
torch.library.register_autograd("seqloom::recurrence_backward", _refuse, lib=_library)


class Loop(Kernel):
    """The loop above: every cell, any padding, documents and states; any device and floating type."""

    preference = 1

    def why_not(self, *args: Any) -> list[str]:
        return ["The hidden units are split over processes."] if is_gathered() else []

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
        return padded_and_forward(_run, cell, x, weights, state, where, last, reverse)


def _run(
    cell: str, x: Tensor, weights: Weights, state: tuple[Tensor, ...], where: Where | None, last: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    gates = F.linear(x.transpose(0, 1), weights.ih, weights.b_ih)
    first = torch.stack(state or fresh(cell, x, weights.hh))
    start = real = None
    # padding behind the last step cannot reach a real output, only the last state
    if where is not None and (where.layout == "mixed" or (where.layout == "tail" and last)):
        start, real = (where.start if where.layout == "mixed" else None), where.real
    states, _ = torch.ops.seqloom.recurrence(cell, gates, weights.hh, weights.b_hh, first, start, real)
    y = states[0, 1:].transpose(0, 1).to(gates.dtype)
    return y, tuple(states[:, -1].unbind(0)) if last else ()


kernel = Loop()
