"""Linear recurrence along time: h_t = a_t h_{t-1} + b_t, elementwise; the scan under minGRU and its kin."""

import torch
from torch import Tensor

from seqloom.ops.op import Op


def reference(a: Tensor, b: Tensor, h0: Tensor | None = None) -> Tensor:
    """Compute h_t = a_t h_{t-1} + b_t.

    Args:
        a: (B, T, N) decay.
        b: (B, T, N) input.
        h0: (B, N) state before the first step; None: zeros.

    Returns:
        (B, T, N), h of every step; h[:, -1] is the next state.

    Raises:
        ValueError: shapes differ.

    Complexity: work O(B T N); depth T here, O(log T) for a tree of scans since (a, b) pairs compose associatively.
    Source: Blelloch 1990; Martin and Cundy 2018, arXiv 1709.04057.
    """
    if a.shape != b.shape:
        raise ValueError(f"scan needs a and b of one shape (B, T, N), got {tuple(a.shape)} and {tuple(b.shape)}")
    h = h0 if h0 is not None else b.new_zeros((b.shape[0], b.shape[2]))
    outputs: list[Tensor] = []
    for a_t, b_t in zip(a.unbind(1), b.unbind(1), strict=True):
        h = a_t * h + b_t
        outputs.append(h)
    return torch.stack(outputs, dim=1) if outputs else torch.zeros_like(b)


def reverse(a: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    """Return the arguments of the scan over reversed time that carries gradients back: g_t = dy_t + a_{t+1} g_{t+1}."""
    later = torch.cat([a[:, 1:], torch.zeros_like(a[:, :1])], dim=1)
    return later.flip(1), grad.flip(1)


scan = Op("scan", reference)
