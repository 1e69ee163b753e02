"""Attention: each query's mean of the values it sees, weighted by softmax(q k / sqrt(K)).

Source: Vaswani et al. 2017, arXiv 1706.03762; heads that share keys: Ainslie et al. 2023, arXiv 2305.13245.
"""

import torch
from torch import Tensor

from seqloom.ops.op import Op


def reference(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    causal: bool,
    window: int | None = None,
    lengths: Tensor | None = None,
) -> Tensor:
    """Return the weighted means of values, step by definition.

    Args:
        query: (B, T, H, K); query t stands at key t + S - T.
        key: (B, S, G, K), G a divisor of H: heads h of the query read head h G // H.
        value: (B, S, G, K).
        causal: whether a query sees no key behind its own place.
        window: sees only keys less than so many places away; None: any.
        lengths: (B,) how many keys of each row are there, the first ones; None: all.

    Returns:
        (B, T, H, K); zero where a query sees nothing. Work 4 B T S H K flops, half of it if causal; depth O(log S).
    """
    shared = query.shape[2] // key.shape[2]
    key, value = (part.repeat_interleave(shared, dim=2) for part in (key, value))
    score = torch.einsum("bthk,bshk->bhts", query, key) * query.shape[3] ** -0.5
    allowed = seen(query, key, causal, window, lengths)
    if allowed is not None:
        score = score.masked_fill(~allowed, -torch.inf)
        # a row of nothing but -inf has no softmax
        score = torch.where(allowed.any(dim=-1, keepdim=True), score, 0.0)
    weight = score.softmax(dim=-1)
    if allowed is not None:
        weight = weight * allowed
    return torch.einsum("bhts,bshk->bthk", weight, value)


def seen(query: Tensor, key: Tensor, causal: bool, window: int | None, lengths: Tensor | None = None) -> Tensor | None:
    """Return which keys each query sees, (1 or B, 1, T, S); None: all."""
    length, keys = query.shape[1], key.shape[1]
    allowed: Tensor | None = None
    if causal or window is not None:
        place = torch.arange(length, device=query.device)[:, None] + (keys - length)
        ahead = place - torch.arange(keys, device=query.device)
        allowed = ahead >= 0 if causal else ahead == ahead
        if window is not None:
            allowed = allowed & (ahead.abs() < window)
        allowed = allowed[None, None]
    if lengths is not None:
        there = torch.arange(keys, device=query.device) < lengths[:, None]
        allowed = there[:, None, None] if allowed is None else allowed & there[:, None, None]
    return allowed


attention = Op("attention", reference)
