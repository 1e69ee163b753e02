"""What linear recurrent mixers share: how padding and documents enter their terms."""

import math

import torch
from torch import Tensor

from seqloom.core.types import Where


def silenced(where: Where | None, *parts: Tensor) -> tuple[Tensor, ...]:
    """Return tensors (B, T, ...) with zeros at padding: a key, a correction or a log decay of zero changes nothing."""
    if where is None or where.layout == "plain":
        return parts
    return tuple(torch.where(where.real.view(*where.real.shape, *(1,) * (x.dim() - 2)), x, 0.0) for x in parts)


def starts(where: Where | None) -> Tensor | None:
    """Return (B, T) bool, True where a document begins inside the row; None where none can."""
    return None if where is None or where.layout != "mixed" else where.start


def kept(decay: Tensor, entering: Tensor, where: Where | None) -> tuple[Tensor, Tensor]:
    """Return the decay and the input (B, T, N) of a scan: decay 0 where a document begins, and 1 at padding."""
    if where is None or where.layout == "plain":
        return decay, entering
    real = where.real[..., None]
    decay = torch.where(real, decay.masked_fill(where.start[..., None], 0.0), 1.0)
    return decay, torch.where(real, entering, 0.0)


def last_state(h: Tensor, before: Tensor | None) -> Tensor:
    """Return the state (B, N) after the states (B, T, N) of a scan, T = 0 among them."""
    if h.shape[1]:
        return h[:, -1].clone()
    return h.new_zeros((h.shape[0], h.shape[2])) if before is None else before


def small_steps(heads: int) -> Tensor:
    """Return biases (heads,) whose softplus is drawn between 0.001 and 0.1, evenly in the logarithm."""
    first = torch.empty(heads).uniform_(math.log(1e-3), math.log(1e-1)).exp()
    return first + torch.log(-torch.expm1(-first))
