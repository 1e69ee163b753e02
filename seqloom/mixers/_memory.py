"""What mixers share that read a memory: which entries a step sees."""

import torch
from torch import Tensor

from seqloom.core.types import Where


def reading(x: Tensor, entries: Tensor, last: Tensor, where: Where | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return who reads what.

    Args:
        x: (B, T, D), the steps.
        entries: (B, S) int64, documents of the memory's entries, 0 at padding.
        last: (B,) int64, the document before these steps, 0 before the first.
        where: the place of each step; None: going on with the last document, or with document 1.

    Returns:
        (any, seen, last): (B, T, 1) bool, whether a step sees an entry at all; (B, T, S) bool, which ones, all where
        there is none, to stay finite; (B,) the last document after these steps.
    """
    ids = last.clamp(min=1)[:, None].expand(-1, x.shape[1]) if where is None else where.id
    seen = (ids[:, :, None] == entries[:, None, :]) & (ids != 0)[:, :, None]
    reads = seen.any(dim=2, keepdim=True)
    if x.shape[1] == 0:
        return reads, seen, last.clone()
    steps = torch.arange(1, x.shape[1] + 1, device=x.device)
    at = torch.where(ids != 0, steps, 0).amax(dim=1, keepdim=True)
    after = torch.where(at[:, 0] > 0, ids.gather(1, (at - 1).clamp(min=0))[:, 0], last)
    return reads, seen | ~reads, after
