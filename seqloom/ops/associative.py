"""Associative memory: S_t = a_t S_{t-1} + k_t v_t^T, y_t = q_t S_t; under linear attention, Mamba-2 and mLSTM."""

import torch
from torch import Tensor

from seqloom.core.types import latest
from seqloom.ops.op import Op


def reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None = None,
    start: Tensor | None = None,
    state: Tensor | None = None,
    last: bool = False,
    chunk: int = 64,
) -> tuple[Tensor, Tensor | None]:
    """Write v_t at k_t into a matrix that decays, and read it at q_t, step by step.

    Args:
        q: (B, T, G, K) queries; each of the G groups serves H / G heads.
        k: (B, T, G, K) keys, zero at padding.
        v: (B, T, H, V) values.
        log_decay: (B, T, H), at most 0, and 0 at padding; None: no decay.
        start: (B, T) bool, True where the matrix is emptied before a step; None: nowhere.
        state: (B, G, K, H / G, V) before the first step; None: zeros.
        last: whether the state after the last step is wanted.
        chunk: steps that a parallel kernel treats at once; changes the clock and rounding only.

    Returns:
        (y, state): y (B, T, H, V); the state is None unless wanted.

    Raises:
        ValueError: H is no multiple of G, or shapes differ.

    Complexity: work O(B T H K V) and depth T here; in chunks of L work O(B T H (L (K + V) + K V)), depth O(log T).
    Source: Katharopoulos et al. 2020, arXiv 2006.16236; Dao and Gu 2024, arXiv 2405.21060.
    """
    check(q, k, v)
    batch, length, heads, _ = v.shape
    groups = q.shape[2]
    s = empty_state(q, v) if state is None else state
    outputs: list[Tensor] = []
    for t in range(length):
        if start is not None:
            s = s.masked_fill(start[:, t, None, None, None, None], 0.0)
        if log_decay is not None:
            s = s * log_decay[:, t].to(s.dtype).exp().view(batch, groups, 1, heads // groups, 1)
        value = v[:, t].unflatten(1, (groups, -1)).to(s.dtype)
        s = s + k[:, t, :, :, None, None].to(s.dtype) * value[:, :, None]
        outputs.append((q[:, t, :, :, None, None].to(s.dtype) * s).sum(dim=2).flatten(1, 2))
    y = torch.stack(outputs, dim=1).to(v.dtype) if outputs else torch.zeros_like(v)
    return y, s if last else None


def check(q: Tensor, k: Tensor, v: Tensor) -> None:
    """Raise ValueError unless queries, keys and values fit together."""
    if q.shape != k.shape or q.dim() != 4 or v.dim() != 4 or q.shape[:2] != v.shape[:2]:
        shapes = ", ".join(str(tuple(part.shape)) for part in (q, k, v))
        raise ValueError(f"associative needs q, k (B, T, G, K) and v (B, T, H, V), got {shapes}")
    if v.shape[2] % q.shape[2]:
        raise ValueError(f"associative needs groups that divide the heads, got {q.shape[2]} and {v.shape[2]}")


def empty_state(q: Tensor, v: Tensor) -> Tensor:
    """Return the matrices before the first step, (B, G, K, H / G, V), float32 or wider."""
    groups = q.shape[2]
    dtype = torch.promote_types(v.dtype, torch.float32)
    return v.new_zeros((v.shape[0], groups, q.shape[3], v.shape[2] // groups, v.shape[3]), dtype=dtype)


def stretch(
    k: Tensor, v: Tensor, log_decay: Tensor | None = None, start: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return what a stretch of time does to any matrix before it: S_T = decay S_0 + added.

    Arguments as those of `reference`.

    Returns:
        (decay, added): (B, G, 1, H / G, 1), and (B, G, K, H / G, V), both float32 or wider. Work O(B T H K V), depth
        O(log T).
    """
    (batch, _, groups, _), heads = k.shape, v.shape[2]
    dtype = torch.promote_types(v.dtype, torch.float32)
    if log_decay is None:
        log_decay = v.new_zeros((*v.shape[:2], heads), dtype=dtype)
    # summed from the end: there little has decayed, and a difference of long sums would not know how little
    left = log_decay.to(dtype).flip(1).cumsum(dim=1).flip(1)
    left = torch.cat([left, left.new_zeros((batch, 1, heads))], dim=1).exp()
    decay, until = left[:, 0], left[:, 1:]
    if start is not None:
        decay = decay.masked_fill(start.any(dim=1)[:, None], 0.0)
        until = until.masked_fill(~latest(start)[..., None], 0.0)
    leaving = (v.to(dtype) * until[..., None]).unflatten(2, (groups, -1))
    with torch.autocast(v.device.type, enabled=False):  # a long sum
        added = torch.einsum("btgk,btgrv->bgkrv", k.to(dtype), leaving)
    return decay.view(batch, groups, 1, -1, 1), added


def product_flops(batch: int, length: int, heads: int, groups: int, key: int, value: int, chunk: int) -> int:
    """Return the FLOPs of the matrix products in chunks, without a state before or after."""
    steps = min(chunk, length)
    if steps <= 1:
        return 0
    n = -(-length // steps)
    inside = 2 * batch * n * steps * steps * (groups * key + heads * value)
    between = 2 * 2 * batch * n * steps * heads * key * value if n > 1 else 0
    return inside + between


associative = Op("associative", reference)
