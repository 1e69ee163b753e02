"""Associative memory in chunks: matrix products inside a chunk, one scan over the chunks."""

import math
from typing import Any

import torch
from torch import Tensor

from seqloom.ops._opaque import opaque
from seqloom.ops.associative import check, empty_state
from seqloom.ops.op import Kernel
from seqloom.ops.scan import scan


def chunks(x: Tensor, n: int, steps: int, missing: int) -> Tensor:
    """Cut (B, T, ...) to (B, n, L, ...), with zeros behind."""
    if missing:
        x = torch.cat([x, x.new_zeros((x.shape[0], missing, *x.shape[2:]))], dim=1)
    return x.unflatten(1, (n, steps))


def sizes(length: int, chunk: int) -> tuple[int, int, int]:
    """Return (chunks, steps of each, steps that are missing in the last)."""
    steps = min(chunk, length)
    n = -(-length // steps)
    return n, steps, n * steps - length


def decays(log_decay: Tensor | None, start: Tensor | None, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return what is left of earlier steps of a chunk at later ones.

    Args:
        log_decay: (B, n, L, H) or None.
        start: (B, n, L) bool or None.
        like: (B, n, L, ...), gives type and device.

    Returns:
        (between, since, until): from step j to step i, (B, n, H or 1, L, L), zero above the diagonal; from before the
        chunk to step i, (B, n, L, H or 1); from step j to the chunk's end, (B, n, L, H or 1).
    """
    n, steps = like.shape[1], like.shape[2]
    lower = torch.ones((steps, steps), dtype=torch.bool, device=like.device).tril()
    dtype = torch.promote_types(like.dtype, torch.float32)
    if log_decay is None:
        total = like.new_zeros((like.shape[0], n, steps, 1), dtype=dtype)
    else:
        total = log_decay.to(dtype).cumsum(dim=2)
    ahead = total.transpose(2, 3)  # (B, n, H, L)
    difference = ahead[..., :, None] - ahead[..., None, :]
    seen = lower
    since, until = total.exp(), (total[:, :, -1:] - total).exp()
    if start is not None:
        # steps with as many starts before them belong together
        count = start.cumsum(dim=2)
        seen = lower & (count[:, :, None, :, None] == count[:, :, None, None, :])
        since = since.masked_fill((count != 0)[..., None], 0.0)
        until = until.masked_fill((count != count[:, :, -1:])[..., None], 0.0)
    return difference.masked_fill(~seen, -math.inf).exp(), since, until


class Chunked(Kernel):
    """Chunks of L steps; any device."""

    preference = 1

    def why_not(self, *args: object) -> list[str]:
        return []

    def __call__(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        log_decay: Tensor | None = None,
        start: Tensor | None = None,
        state: Tensor | None = None,
        last: bool = False,
        chunk: int = 64,
    ) -> tuple[Tensor, Tensor | None]:
        check(q, k, v)
        if torch.compiler.is_compiling():
            y, after = _operation(q, k, v, log_decay, start, state, chunk)
            return y, after if last else None
        return forward(q, k, v, log_decay, start, state, last, chunk)


def forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None,
    start: Tensor | None,
    state: Tensor | None,
    last: bool,
    chunk: int,
) -> tuple[Tensor, Tensor | None]:
    """Compute the op, differentiably."""
    if v.shape[1] == 0:
        return torch.zeros_like(v), (empty_state(q, v) if state is None else state.clone()) if last else None
    if v.shape[1] == 1:
        return _step(q, k, v, log_decay, start, state, last)
    batch, length, heads, width = v.shape
    groups = q.shape[2]
    n, steps, missing = sizes(length, chunk)
    q, k, v = (chunks(part, n, steps, missing) for part in (q, k, v))
    if log_decay is not None:
        log_decay = chunks(log_decay, n, steps, missing)
    if start is not None:
        start = chunks(start, n, steps, missing)
    between, since, until = decays(log_decay, start, v)
    q, k = q.transpose(2, 3), k.transpose(2, 3)  # (B, n, G, L, K)
    scores = q @ k.transpose(3, 4)
    weights = scores[:, :, :, None] * between.unflatten(2, (-1, heads // groups if log_decay is not None else 1))
    if log_decay is None:
        weights = weights.expand(-1, -1, -1, heads // groups, -1, -1)
    values = v.transpose(2, 3)  # (B, n, H, L, V)
    y = (weights.flatten(2, 3).to(v.dtype) @ values).transpose(2, 3)
    after = None
    if state is not None or last or n > 1:
        leaving = (v * until[..., None].to(v.dtype)).unflatten(3, (groups, -1)).permute(0, 1, 3, 2, 4, 5)
        added = k.transpose(3, 4) @ leaving.flatten(4)  # (B, n, G, K, R V)
        before, after = _carried(added, since[:, :, -1], state, (groups, q.shape[4], heads // groups, width))
        read = (q @ before.to(q.dtype).flatten(4)).unflatten(4, (-1, width))  # (B, n, G, L, R, V)
        read = read.permute(0, 1, 3, 2, 4, 5).flatten(3, 4)
        y = y + read * since[..., None].to(v.dtype)
    return y.flatten(1, 2)[:, :length], after if last else None


def _carried(
    added: Tensor, kept: Tensor, state: Tensor | None, shape: tuple[int, int, int, int]
) -> tuple[Tensor, Tensor]:
    """Return the states before each chunk, (B, n, G, K, R, V), and after the last.

    `added` (B, n, G, K, R V) is what each chunk adds, `kept` (B, n, H or 1) what it leaves of the state before it.
    """
    groups, _, share, _ = shape
    dtype = torch.promote_types(added.dtype, torch.float32)
    added = added.to(dtype).unflatten(4, (share, -1))
    if kept.shape[2] == 1:
        kept = kept.expand(-1, -1, groups * share)
    factor = kept.to(dtype).view(*kept.shape[:2], groups, 1, share, 1).expand_as(added)
    first = added.new_zeros((added.shape[0], *shape)) if state is None else state.to(dtype)
    h = scan(factor.flatten(2), added.flatten(2), first.flatten(1)).view_as(added)
    return torch.cat([first[:, None], h[:, :-1]], dim=1), h[:, -1].clone()


def _step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None,
    start: Tensor | None,
    state: Tensor | None,
    last: bool,
) -> tuple[Tensor, Tensor | None]:
    """Go one step."""
    groups = q.shape[2]
    value = v[:, 0].unflatten(1, (groups, -1))  # (B, G, R, V)
    added = k[:, 0, :, :, None, None] * value[:, :, None]
    if state is None:
        s = added.to(torch.promote_types(v.dtype, torch.float32))
    else:
        if start is not None:
            state = state.masked_fill(start[:, 0, None, None, None, None], 0.0)
        if log_decay is not None:
            state = state * log_decay[:, 0].to(state.dtype).exp().unflatten(1, (groups, -1))[:, :, None, :, None]
        s = state + added
    y = (q[:, 0, :, :, None, None] * s).sum(dim=2).flatten(1, 2)
    return y[:, None].to(v.dtype), s if last else None


def _fake(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor | None, start: Tensor | None, state: Tensor | None, chunk: int
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(v, memory_format=torch.contiguous_format), empty_state(q, v)


def _with_state(*given: Any) -> tuple[Tensor, Tensor | None]:
    return forward(*given[:-1], last=True, chunk=given[-1])


_operation = opaque(
    "associative",
    "Tensor q, Tensor k, Tensor v, Tensor? log_decay, Tensor? start, Tensor? state, int chunk",
    _with_state,
    _fake,
)
kernel = Chunked()
