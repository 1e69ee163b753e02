"""Sequences as parallel evaluation takes them: from the first step to the last, padding behind, any stretch of them."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from seqloom.core.types import Where, reorder, reversal
from seqloom.ops._newton_cells import Problem, States
from seqloom.ops.recurrence import Packed, Weights, refuse_documents


class Rows(NamedTuple):
    """Sequences from their first step to their last: documents may begin inside, padding is behind the last step."""

    x: Tensor  # (B, T, D)
    start: Tensor | None  # (B, T) bool
    lengths: Tensor | None  # (B), None: T

    def cut(self) -> Tensor | None:
        """Return (B, T, 1), True where a step begins from zeros; padding does, so that it needs no iterations."""
        real = self.real()
        if real is None:
            return None if self.start is None else self.start[..., None]
        return (~real if self.start is None else self.start | ~real)[..., None]

    def real(self) -> Tensor | None:
        """Return (B, T), False at padding; None: no padding."""
        if self.lengths is None:
            return None
        return torch.arange(self.x.shape[1], device=self.x.device) < self.lengths[:, None]

    def last(self, states: Tensor, otherwise: Tensor) -> Tensor:
        """Return what of (B, T, H) is at each row's last step, (B, H); where a row has none, the other."""
        if self.lengths is None:
            return states[:, -1].clone()
        return torch.where(self.lengths[:, None] > 0, states.gather(1, self._at(states))[:, 0], otherwise)

    def plus_last(self, states: Tensor, more: Tensor) -> Tensor:
        """Return (B, T, H) with more (B, H) at each row's last step; rows without steps get none."""
        if self.lengths is not None:
            more = more * (self.lengths[:, None] > 0)
        return states.scatter_add(1, self._at(states), more[:, None])

    def product(self, decay: Tensor, begin: int = 0) -> Tensor:
        """Return the product (B, H) of (B, T, H) over each row's steps from `begin` on."""
        real = self.real()
        decay = decay if real is None else decay.masked_fill(~real[..., None], 1.0)
        return decay[:, begin:].prod(dim=1)

    def _at(self, states: Tensor) -> Tensor:
        length = states.shape[1]
        ends = torch.full_like(states[:, 0, 0], length, dtype=torch.int64) if self.lengths is None else self.lengths
        return (ends - 1).clamp(min=0)[:, None, None].expand(-1, 1, states.shape[2])

    def where(self) -> Where | None:
        """Return the place of each step as the sequential op takes it."""
        if self.start is None and self.lengths is None:
            return None
        real = self.real()
        start = self.start
        real = torch.ones(self.x.shape[:2], dtype=torch.bool, device=self.x.device) if real is None else real
        layout = "tail" if start is None else "mixed"
        start = torch.zeros_like(real) if start is None else start
        return Where(real.long(), real, start, torch.zeros_like(real, dtype=torch.int64), layout)

    def select(self, begin: int, end: int) -> "Rows":
        """Return a stretch of time."""
        start = None if self.start is None else self.start[:, begin:end]
        lengths = None if self.lengths is None else (self.lengths - begin).clamp(0, end - begin)
        return Rows(self.x[:, begin:end], start, lengths)

    def stretches(self, begins: list[int], steps: int) -> "Rows":
        """Return several stretches of time, each as rows of its own, (len(begins) B, steps, D)."""
        parts = [self.select(begin, begin + steps) for begin in begins]
        start = None if self.start is None else torch.cat([p.start for p in parts if p.start is not None])
        lengths = None if self.lengths is None else torch.cat([p.lengths for p in parts if p.lengths is not None])
        return Rows(torch.cat([part.x for part in parts]), start, lengths)

    def detach(self) -> "Rows":
        """Return the same rows without their history."""
        return self._replace(x=self.x.detach())

    def head(self, rows: int) -> "Rows":
        """Return the first rows."""
        start = None if self.start is None else self.start[:rows]
        return Rows(self.x[:rows], start, None if self.lengths is None else self.lengths[:rows])

    def problem(self, cell: str, weights: Weights, first: States) -> Problem:
        """Return the equations of these rows."""
        gates = F.linear(self.x, weights.ih, weights.b_ih)
        return Problem(cell, gates, weights.hh, weights.b_hh, first, self.cut())


def arranged(x: Tensor, where: Where | Packed | None, reverse: bool) -> tuple[Rows, Tensor | None]:
    """Return the rows from their first step to their last, padding behind, and the order that undoes this."""
    assert not isinstance(where, Packed)
    if where is None or where.layout == "plain":
        if not reverse:
            return Rows(x, None, None), None
        order = torch.arange(x.shape[1] - 1, -1, -1, device=x.device).expand(x.shape[:2])
        return Rows(x.flip(1), None, None), order
    real, lengths = where.real, where.real.sum(dim=1)
    x = x.masked_fill(~real[..., None], 0.0)  # what stands at padding may be anything
    if where.layout == "tail" and not reverse:
        return Rows(x, None, lengths), None
    if reverse:
        refuse_documents(where)
    order = reversal(real) if reverse else (~real).long().argsort(dim=1, stable=True)
    start = None if reverse else where.start.gather(1, order)
    return Rows(reorder(x, order), start, lengths), order.argsort(dim=1)


def each(weights: Weights, function: Callable[[Tensor], Tensor]) -> Weights:
    """Apply a function to the weights that are there."""
    ih, hh, b_ih, b_hh = weights
    return Weights(
        function(ih),
        function(hh),
        None if b_ih is None else function(b_ih),
        None if b_hh is None else function(b_hh),
    )
