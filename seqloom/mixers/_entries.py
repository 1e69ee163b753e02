"""What attentions share: keys and values as state, where they stand, and who sees whom."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from seqloom.core.types import Place, Where, fresh_place, locate


class Entries(NamedTuple):
    """Keys (turned to their positions, if they are) and values seen so far; id 0 marks padding."""

    key: Tensor  # (B, S, H, K)
    value: Tensor  # (B, S, H, V)
    id: Tensor  # (B, S) int64
    position: Tensor  # (B, S) int64


def placed(x: Tensor, past: Entries | None, where: Where | None) -> Where:
    """Return the place of the steps of (B, T, D): `where` itself, or going on behind the last real entry."""
    if where is not None:
        return where
    place = fresh_place(x.shape[0], x.device)
    if past is not None and past.id.shape[1]:
        steps = torch.arange(past.id.shape[1], device=x.device)
        last = torch.where(past.id != 0, steps, -1).amax(dim=1)
        at = last.clamp(min=0)[:, None]
        seen = last >= 0
        place = Place(
            torch.where(seen, past.id.gather(1, at)[:, 0], 0),
            torch.where(seen, past.position.gather(1, at)[:, 0] + 1, 0),
        )
    return locate(None, place, x.shape[0], x.shape[1])[0]


def appended(past: Entries, new: Entries) -> Entries:
    """Return the entries of both, one behind the other."""
    return Entries(*(torch.cat([p, n.to(p.dtype)], dim=1) for p, n in zip(past, new, strict=True)))


def joined(past: Entries | None, new: Entries, window: int | None) -> Entries:
    """Return the entries to keep: all, or the last `window` real ones."""
    entries = new if past is None else appended(past, new)
    if window is None or entries.id.shape[1] <= window:
        return Entries(*(entry.clone() for entry in entries)) if past is None else entries
    # padding moves to the front, where it is cut first
    order = (entries.id != 0).to(torch.int8).argsort(dim=1, stable=True)[:, entries.id.shape[1] - window :]
    at = order[:, :, None, None]
    return Entries(
        entries.key.gather(1, at.expand(-1, -1, *entries.key.shape[2:])),
        entries.value.gather(1, at.expand(-1, -1, *entries.value.shape[2:])),
        entries.id.gather(1, order),
        entries.position.gather(1, order),
    )


def visible(query: Entries | Where, entries: Entries, causal: bool, window: int | None) -> Tensor:
    """Return which entries each query sees, (B, T, S): those of its own document, the past if causal, the last
    `window`; a query at padding sees all, to stay finite."""
    ahead = query.position[:, :, None] - entries.position[:, None, :]
    allowed = query.id[:, :, None] == entries.id[:, None, :]
    if causal:
        allowed = allowed & (ahead >= 0)
    if window is not None:
        allowed = allowed & (ahead.abs() < window)
    return allowed | (query.id == 0)[:, :, None]


def attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool, dropout: float = 0.0
) -> Tensor:
    """Return softmax(q k / sqrt(K) + mask) v, (B, T, H, V), of (B, T or S, H, K or V) tensors; H of keys may divide."""
    query, key, value = (tensor.transpose(1, 2) for tensor in (query, key.to(query.dtype), value.to(query.dtype)))
    shared = query.shape[1] // key.shape[1]
    if shared > 1:
        key, value = (part.repeat_interleave(shared, dim=1) for part in (key, value))
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, dropout_p=dropout, is_causal=causal
    ).transpose(1, 2)
