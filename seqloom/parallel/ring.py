"""Ring attention: each process keeps its queries, and keys and values go round, so that none ever has those of all.

A process adds one stretch's keys after another to a running softmax; on the way back keys go round once more, and what
each process finds of their gradients travels with them. Memory O(T / P) where a gathering has O(T).

Source: Liu et al. 2023, arXiv 2310.01889; Milakov and Gimelshein 2018, arXiv 1805.02867 (the running softmax).
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from seqloom.mixers._entries import Entries, visible
from seqloom.parallel._door import Axis

_SCORES = 2  # at a time for each number of keys: more would be the memory that a ring saves
_LEAST = 16  # queries at a time, whatever their scores take: products of fewer are slow


def ring(axis: Axis, causal: bool, window: int | None) -> Callable[[Tensor, Entries], Tensor]:
    """Return what maps queries (B, T / P, H, K) and entries of this stretch to weighted means of the values of all.

    Args:
        axis: of time; stretches are equally long.
        causal: whether a query sees no key behind it.
        window: sees only keys less than so many steps away; None: any.

    Complexity: work as without a ring. Messages: P - 1 of a stretch's keys and values; back as many with their
    gradients, and one of these alone.
    """

    def attend(query: Tensor, new: Entries) -> Tensor:
        ids, positions = (axis.gather(part.contiguous()) for part in (new.id, new.position))
        return _Ring.apply(axis, causal, window, query, new.key, new.value, ids, positions)

    return attend


class _Ring(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        axis: Axis,
        causal: bool,
        window: int | None,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        ids: Tensor,
        positions: Tensor,
    ) -> Tensor:
        ctx.axis, ctx.about = axis, (causal, window)
        with torch.autocast(query.device.type, enabled=False):
            wide = torch.promote_types(query.dtype, torch.float32)
            q, held = query.to(wide), torch.stack((key, value)).to(wide)
            total = q.new_full((q.shape[0], q.shape[2], q.shape[1]), -torch.inf)  # logarithm of what weights add up to
            mean = torch.zeros_like(q)
            for turn in range(axis.size):
                held = _passed_on(axis, held) if turn else held
                for rows, score in _scores(q, held[0], axis, turn, ids, positions, causal, window):
                    before = total[..., rows]
                    after = torch.logaddexp(before, score.logsumexp(dim=-1))
                    safe = after.masked_fill(after == -torch.inf, 0.0)  # nothing was seen so far
                    weight = (score - safe[..., None]).exp()
                    kept = (before - safe).exp().transpose(1, 2)[..., None]
                    values = _each_head(held[1], query.shape[2] // key.shape[2])
                    mean[:, rows] = mean[:, rows] * kept + torch.einsum("bhts,bshk->bthk", weight, values)
                    total[..., rows] = after
        ctx.save_for_backward(query, key, value, ids, positions, mean, total)
        return mean.to(query.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        query, key, value, ids, positions, mean, total = ctx.saved_tensors
        with torch.autocast(query.device.type, enabled=False):
            q, slope = query.to(mean.dtype), grads[0].to(mean.dtype)
            held = torch.stack((key, value)).to(mean.dtype)
            shared = q.shape[2] // held.shape[3]
            along = (slope * mean).sum(dim=-1).transpose(1, 2)  # (B, H, T)
            d_query = torch.zeros_like(q)
            going = torch.cat((held, torch.zeros_like(held)))  # keys, values, and the gradients found so far
            for turn in range(ctx.axis.size):
                keys, values, d_key, d_value = going
                for rows, score in _scores(q, keys, ctx.axis, turn, ids, positions, *ctx.about):
                    weight = (score - total[..., rows, None]).exp()
                    d_mean = slope[:, rows]
                    d_value += _by_group(torch.einsum("bhts,bthk->bshk", weight, d_mean), shared)
                    towards = torch.einsum("bthk,bshk->bhts", d_mean, _each_head(values, shared))
                    d_score = weight * (towards - along[..., rows, None]) * q.shape[3] ** -0.5
                    d_query[:, rows] += torch.einsum("bhts,bshk->bthk", d_score, _each_head(keys, shared))
                    d_key += _by_group(torch.einsum("bhts,bthk->bshk", d_score, q[:, rows]), shared)
                # home after as many rounds as processes, where the keys are
                going = _passed_on(ctx.axis, going if turn + 1 < ctx.axis.size else going[2:])
        return (None, None, None, d_query.to(query.dtype), going[0].to(key.dtype), going[1].to(value.dtype), None, None)


def _scores(
    query: Tensor,
    keys: Tensor,
    axis: Axis,
    turn: int,
    ids: Tensor,
    positions: Tensor,
    causal: bool,
    window: int | None,
) -> Iterator[tuple[slice, Tensor]]:
    """Yield (some of the queries, their scores (B, H, t, S), -inf where not seen) of the stretch held at a turn."""
    source = (axis.index - turn) % axis.size
    if causal and source > axis.index:
        return  # later steps, which nobody here sees
    shared = query.shape[2] // keys.shape[2]
    theirs = Entries(keys, keys, ids[source], positions[source])
    at_once = max(_SCORES * keys[0].numel() // (query.shape[2] * keys.shape[1]), _LEAST)
    for begin in range(0, query.shape[1], at_once):
        rows = slice(begin, begin + at_once)
        some = query[:, rows]
        mine = Entries(some, some, ids[axis.index, :, rows], positions[axis.index, :, rows])
        score = torch.einsum("bthk,bshk->bhts", some, _each_head(keys, shared)) * query.shape[3] ** -0.5
        yield rows, score.masked_fill(~visible(mine, theirs, causal, window)[:, None], -torch.inf)


def _each_head(part: Tensor, shared: int) -> Tensor:
    """Return keys or values (B, S, G, K) for each head of the queries, (B, S, H, K)."""
    return part.repeat_interleave(shared, dim=2) if shared > 1 else part


def _by_group(part: Tensor, shared: int) -> Tensor:
    """Return the sums (B, S, G, K) over heads that share keys."""
    return part.unflatten(2, (-1, shared)).sum(dim=3) if shared > 1 else part


def _passed_on(axis: Axis, held: Tensor) -> Tensor:
    """Send to the next, return what comes from the one before.

    Where a backend takes messages one after the other, two that both began with sending would wait for each other.
    """
    behind = (axis.index - 1) % axis.size
    if axis.index % 2:
        axis.expect([held], behind)
    axis.send([held], (axis.index + 1) % axis.size)
    (received,) = axis.receive([held], behind)
    axis.sent()  # what has gone need not be held
    return received
