"""The gated delta rule: S_t = a_t (I - b_t k_t k_t^T) S_{t-1} + b_t k_t v_t^T, y_t = q_t S_t; under DeltaNet."""

import torch
from torch import Tensor

from seqloom.ops.associative import check
from seqloom.ops.op import Op


def reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor | None = None,
    start: Tensor | None = None,
    state: Tensor | None = None,
    last: bool = False,
    chunk: int = 64,
) -> tuple[Tensor, Tensor | None]:
    """Correct what a decaying matrix answers at k_t towards v_t, and read it at q_t, step by step.

    Args:
        q: (B, T, H, K) queries.
        k: (B, T, H, K) keys, of length at most 1.
        v: (B, T, H, V) values.
        beta: (B, T, H), how much is corrected: 0 nothing (and at padding), 1 all.
        log_decay: (B, T, H), at most 0, and 0 at padding; None: no decay.
        start: (B, T) bool, True where the matrix is emptied before a step; None: nowhere.
        state: (B, H, K, V) before the first step; None: zeros.
        last: whether the state after the last step is wanted.
        chunk: steps that a parallel kernel treats at once; changes the clock and rounding only.

    Returns:
        (y, state): y (B, T, H, V); the state is None unless wanted.

    Raises:
        ValueError: shapes differ.

    Complexity: work O(B T H K V) and depth T here; in chunks of L work O(B T H (L (K + V) + K (K + V))), depth T / L.
    Source: Yang et al. 2024, arXiv 2406.06484 (in chunks) and 2412.06464 (gated).
    """
    check(q, k, v)
    s = empty_state(q, v) if state is None else state
    outputs: list[Tensor] = []
    for t in range(v.shape[1]):
        if start is not None:
            s = s.masked_fill(start[:, t, None, None, None], 0.0)
        s, y = step(s, q[:, t], k[:, t], v[:, t], beta[:, t], None if log_decay is None else log_decay[:, t])
        outputs.append(y)
    y = torch.stack(outputs, dim=1).to(v.dtype) if outputs else torch.zeros_like(v)
    return y, s if last else None


def step(s: Tensor, q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the state (B, H, K, V) after a step and its answer (B, H, V)."""
    if log_decay is not None:
        s = s * log_decay.to(s.dtype).exp()[..., None, None]
    k = k.to(s.dtype)[..., None]
    error = v.to(s.dtype) - (k * s).sum(dim=2)
    s = s + k * (beta.to(s.dtype)[..., None] * error)[:, :, None]
    return s, (q.to(s.dtype)[..., None] * s).sum(dim=2)


def empty_state(q: Tensor, v: Tensor) -> Tensor:
    """Return the matrices before the first step, (B, H, K, V), float32 or wider."""
    dtype = torch.promote_types(v.dtype, torch.float32)
    return v.new_zeros((v.shape[0], v.shape[2], q.shape[3], v.shape[3]), dtype=dtype)


def product_flops(batch: int, length: int, heads: int, key: int, value: int, chunk: int) -> int:
    """Return the FLOPs of the matrix products in chunks, without those of the triangular systems."""
    if length <= 1:
        return 0
    steps = min(chunk, length)
    n = -(-length // steps)
    inside = 2 * steps * steps * (2 * key + key + value)  # k k^T, q k^T; then times W and U
    between = 2 * key * steps * (key + value) + 2 * steps * key * value + 2 * key * key * value
    return batch * heads * n * (inside + between)


delta = Op("delta", reference)
