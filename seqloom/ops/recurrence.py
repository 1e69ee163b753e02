"""Nonlinear recurrences: the cells of Elman networks, LSTM and GRU along time, and their plain reference.

Weights have torch.nn's layout: w_ih (G H, D), w_hh (G H, H), gates fused along dim 0 in torch's order
(LSTM i f g o, GRU r z n). The state is (h,) or (h, c), each (B, H).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from seqloom.core.types import Where, fresh_place, locate, reorder, reversal
from seqloom.ops.op import Op

Gather = Callable[[Tensor], Tensor]
_gather: ContextVar[Gather | None] = ContextVar("gather", default=None)


class Weights(NamedTuple):
    """The weights of one layer and direction, as torch.nn names and lays them out."""

    ih: Tensor  # (G H, D)
    hh: Tensor  # (G H, H)
    b_ih: Tensor | None = None  # (G H,)
    b_hh: Tensor | None = None  # (G H,)


class Packed(NamedTuple):
    """Sequences without padding, longest first, as in torch's PackedSequence: its data are the rows of x (N, D)."""

    sizes: Tensor  # (T,) int64 on the CPU, falling: the first sizes[t] sequences have a step t


class Cell(NamedTuple):
    """A recurrent cell: how many gates it fuses, how many state tensors it carries, and one step."""

    gates: int
    states: int
    step: Callable[
        [Tensor, Tensor, tuple[Tensor, ...]], tuple[Tensor, ...]
    ]  # (from input, from hidden, state) -> state


def _tanh(x: Tensor, u: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (torch.tanh(x + u),)


def _relu(x: Tensor, u: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (torch.relu(x + u),)


def _lstm(x: Tensor, u: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    i, f, g, o = (x + u).chunk(4, dim=1)
    c = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def _gru(x: Tensor, u: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    (x_r, x_z, x_n), (u_r, u_z, u_n) = x.chunk(3, dim=1), u.chunk(3, dim=1)
    r, z = (x_r + u_r).sigmoid(), (x_z + u_z).sigmoid()
    n = torch.tanh(x_n + r * u_n)
    return (n + z * (state[0] - n),)


CELLS = {"tanh": Cell(1, 1, _tanh), "relu": Cell(1, 1, _relu), "lstm": Cell(4, 2, _lstm), "gru": Cell(3, 1, _gru)}


def reference(
    cell: str,
    x: Tensor,
    weights: Weights,
    state: tuple[Tensor, ...],
    where: Where | Packed | None,
    last: bool,
    reverse: bool = False,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run a recurrent cell along time.

    h_t = cell(W_ih x_t + b_ih, W_hh h_{t-1} + b_hh, h_{t-1}); a step that begins a document starts from zeros, a
    padding step leaves the state as it is.

    Args:
        cell: a key of CELLS.
        x: (B, T, D); with `Packed` (N, D).
        weights: of the layer.
        state: the state before the first step, each (B, H), float32 or wider; empty: zeros.
        where: place of each step; None: all real, no document begins. Packed: sequences without padding.
        last: whether the state after the last step is wanted; without it a kernel may return ().
        reverse: run the real steps of each row from the last to the first.

    Returns:
        (y, state): y (B, T, H) or (N, H), h of every step (any finite value at padding).

    Raises:
        ValueError: `reverse` where a document begins inside a row.

    Complexity: work O(B T G H (D + H)), depth T, memory O(B T G H) for training.
    Source: Elman 1990; Hochreiter and Schmidhuber 1997; Cho et al. 2014, arXiv 1406.1078.
    """
    return padded_and_forward(_reference, cell, x, weights, state, where, last, reverse)


def _reference(
    cell: str, x: Tensor, weights: Weights, state: tuple[Tensor, ...], where: Where | None, last: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    spec = CELLS[cell]
    state = state or fresh(cell, x, weights.hh)
    gather = _gather.get() if is_gathered() else None
    gates = F.linear(x, weights.ih, weights.b_ih).unbind(dim=1)
    outputs: list[Tensor] = []
    for t, gate in enumerate(gates):
        before = state
        if where is not None and where.layout != "plain":
            begins = where.start[:, t, None]
            before = tuple(s.masked_fill(begins, 0.0) for s in state)
        h = before[0] if gather is None else gather(before[0])
        after = spec.step(gate, F.linear(h.to(gate.dtype), weights.hh, weights.b_hh), before)
        after = tuple(a.to(b.dtype) for a, b in zip(after, before, strict=True))
        if where is not None and where.layout != "plain":
            real = where.real[:, t, None]
            after = tuple(torch.where(real, a, b) for a, b in zip(after, before, strict=True))
        state = after
        outputs.append(state[0])
    hidden = weights.hh.shape[0] // spec.gates
    y = torch.stack(outputs, dim=1) if outputs else x.new_empty((x.shape[0], 0, hidden))
    return y.to(gates[0].dtype if outputs else x.dtype), state


def padded_and_forward(
    run: Callable[..., tuple[Tensor, tuple[Tensor, ...]]],
    cell: str,
    x: Tensor,
    weights: Weights,
    state: tuple[Tensor, ...],
    where: Where | Packed | None,
    last: bool,
    reverse: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Serve packed and reversed input by a `run` that knows neither: pad and turn round, run, and undo both."""
    if isinstance(where, Packed):
        filled, lengths = pad_packed_sequence(PackedSequence(x, where.sizes), batch_first=True)
        segment = (torch.arange(filled.shape[1]) < lengths[:, None]).long().to(x.device)
        place, _ = locate(segment, fresh_place(filled.shape[0], x.device), *filled.shape[:2])
        y, after = padded_and_forward(run, cell, filled, weights, state, place, last, reverse)
        return pack_padded_sequence(y, lengths, batch_first=True).data, after
    if not reverse:
        return run(cell, x, weights, state, where, last)
    if where is None or where.layout == "plain":
        y, after = run(cell, x.flip(1), weights, state, where, last)
        return y.flip(1), after
    refuse_documents(where)
    order = reversal(where.real)
    turned = where._replace(real=where.real.sort(dim=1, descending=True).values, layout="tail")
    y, after = run(cell, reorder(x, order), weights, state, turned, last)
    back = torch.empty_like(order).scatter_(1, order, torch.arange(x.shape[1], device=x.device).expand_as(order))
    return reorder(y, back), after


def refuse_documents(where: Where) -> None:
    """Raise ValueError if a document begins inside a row: reversed, it would end there."""
    if where.layout == "mixed" and not torch.compiler.is_compiling() and bool(where.start.any()):
        raise ValueError("a reversed recurrence takes one document a row: give each document its own row")


def fresh(cell: str, x: Tensor, w_hh: Tensor) -> tuple[Tensor, ...]:
    """Return the zero state of a cell for the rows of x, at least float32."""
    hidden = w_hh.shape[0] // CELLS[cell].gates
    dtype = torch.promote_types(x.dtype, torch.float32)
    return tuple(x.new_zeros((x.shape[0], hidden), dtype=dtype) for _ in range(CELLS[cell].states))


@contextmanager
def gathered_by(gather: Gather) -> Iterator[None]:
    """Inside the block a recurrence holds a slice of the hidden units: `gather` makes (B, H) of the slices."""
    token = _gather.set(gather)
    try:
        yield
    finally:
        _gather.reset(token)


def is_gathered() -> bool:
    """Return whether a `gathered_by` block is open; only the reference knows how to run inside one."""
    return not torch.compiler.is_compiling() and _gather.get() is not None


def gathered(part: Tensor) -> Tensor:
    """Return the slices of all processes inside a `gathered_by` block, along dim 1 of (N, H); else the slice itself."""
    gather = _gather.get() if is_gathered() else None
    if gather is None:
        return part
    whole = gather(part.flatten(0, -2))
    return whole.view(*part.shape[:-1], whole.shape[-1])


recurrence = Op("recurrence", reference)
