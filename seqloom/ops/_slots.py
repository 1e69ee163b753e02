"""Which row of a flat matrix (N, D) is which step of which sequence: padded, packed, reversed and with documents."""

from typing import NamedTuple

import torch
from torch import Tensor

from seqloom.core.types import Where, reversal
from seqloom.ops.recurrence import Packed, refuse_documents


class Slots(NamedTuple):
    """Which row of (N, D) is step s of sequence b; without `slots` by a formula of the layout."""

    slots: Tensor | None  # (T, B) int32
    lengths: Tensor | None  # (B) int32, real steps of each sequence; None: all
    starts: Tensor | None  # (T, B) uint8, whether the state is zero before step s
    time_major: bool  # row t * B + b, else b * T + t
    reverse: bool

    def pads(self, count: int) -> bool:
        """Return whether some of `count` rows are no step of any sequence."""
        return self.lengths is not None and int(self.lengths.sum()) < count


def arrange(x: Tensor, where: Where | Packed | None, reverse: bool) -> tuple[Tensor, Slots]:
    """Return x as rows (N, D) and which row is which step."""
    if isinstance(where, Packed):
        return x, _arrange_packed(where, reverse)
    batch, length, width = x.shape
    time_major = not x.is_contiguous() and x.transpose(0, 1).is_contiguous()
    rows = (x.transpose(0, 1) if time_major else x).reshape(batch * length, width)
    if where is None or where.layout == "plain":
        return rows, Slots(None, None, None, time_major, reverse)
    lengths = where.real.sum(dim=1, dtype=torch.int32)
    if where.layout == "tail" and not reverse:
        return rows, Slots(None, lengths, None, time_major, False)
    if reverse:
        refuse_documents(where)
    order = reversal(where.real) if reverse else (~where.real).long().argsort(dim=1, stable=True)
    sequence = torch.arange(batch, device=x.device)[:, None]
    slots = order * batch + sequence if time_major else sequence * length + order
    starts = None
    if where.layout == "mixed" and not reverse:
        starts = where.start.gather(1, order).t().to(torch.uint8).contiguous()
    return rows, Slots(slots.t().to(torch.int32).contiguous(), lengths, starts, time_major, False)


def _arrange_packed(packed: Packed, reverse: bool) -> Slots:
    sizes = packed.sizes
    batch = int(sizes[0]) if len(sizes) else 0
    sequence = torch.arange(batch)
    lengths = (sizes[:, None] > sequence).sum(dim=0)
    step = torch.arange(len(sizes))[:, None]
    if reverse:
        step = (lengths - 1 - step).clamp(min=0)
    slots = (sizes.cumsum(0) - sizes)[step] + sequence
    return Slots(slots.to(torch.int32).contiguous(), lengths.to(torch.int32), None, True, False)
