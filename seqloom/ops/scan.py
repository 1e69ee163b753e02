"""Linear recurrence along time: h_t = a_t h_{t-1} + b_t, elementwise; the scan under minGRU and its kin."""

from collections.abc import Callable

import torch
from torch import Tensor

from seqloom.ops.op import Op


def reference(a: Tensor, b: Tensor, h0: Tensor | None = None) -> Tensor:
    """Compute h_t = a_t h_{t-1} + b_t.

    Args:
        a: (B, T, N) decay, real or complex.
        b: (B, T, N) input, of the same type.
        h0: (B, N) state before the first step; None: zeros.

    Returns:
        (B, T, N), h of every step; h[:, -1] is the next state.

    Raises:
        ValueError: shapes or types differ.

    Complexity: work O(B T N); depth T here, O(log T) for a tree of scans since (a, b) pairs compose associatively.
    Source: Blelloch 1990; Martin and Cundy 2018, arXiv 1709.04057.
    """
    check(a, b, h0)
    h = h0 if h0 is not None else b.new_zeros((b.shape[0], b.shape[2]))
    outputs: list[Tensor] = []
    for a_t, b_t in zip(a.unbind(1), b.unbind(1), strict=True):
        h = a_t * h + b_t
        outputs.append(h)
    return torch.stack(outputs, dim=1) if outputs else torch.zeros_like(b)


def check(a: Tensor, b: Tensor, h0: Tensor | None) -> None:
    """Raise ValueError unless the arguments of a scan fit together."""
    if b.dim() != 3 or a.shape != b.shape:
        raise ValueError(f"scan needs a and b of one shape (B, T, N), got {tuple(a.shape)} and {tuple(b.shape)}")
    if a.dtype != b.dtype:
        raise ValueError(f"scan needs a and b of one type, got {a.dtype} and {b.dtype}: convert one")
    if h0 is None:
        return
    if h0.shape != (b.shape[0], b.shape[2]):
        raise ValueError(f"scan needs h0 of shape (B, N) = {(b.shape[0], b.shape[2])}, got {tuple(h0.shape)}")
    if h0.dtype != b.dtype:
        raise ValueError(f"scan needs h0 of b's type, got {h0.dtype} and {b.dtype}: convert one")


def composed_gradients(
    scan: Callable[[Tensor, Tensor, Tensor | None], Tensor], a: Tensor, h: Tensor, h0: Tensor | None, d_h: Tensor
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the gradients of (a, b, h0) from that of h by a scan over reversed time, itself differentiable.

    g_t = d_h_t + conj(a_{t+1}) g_{t+1}; d_a_t = g_t conj(h_{t-1}); d_b_t = g_t; d_h0 = conj(a_0) g_0.
    """
    later = torch.cat([a[:, 1:], torch.zeros_like(a[:, :1])], dim=1).conj()
    g = scan(later.flip(1).resolve_conj(), d_h.flip(1), None).flip(1)
    first = torch.zeros_like(h[:, :1]) if h0 is None else h0[:, None]
    before = torch.cat([first, h[:, :-1]], dim=1) if h.shape[1] else h
    if h0 is None:
        return g * before.conj(), g, None
    return g * before.conj(), g, (a[:, :1].conj() * g[:, :1]).sum(dim=1)


scan = Op("scan", reference)
