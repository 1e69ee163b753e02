"""What heads share: pooling over time, and the words for what a loss is of and what a score is made of."""

import math
from typing import Literal

import torch
from torch import Tensor

Scored = dict[str, tuple[Tensor, Tensor]]  # metric -> numerator (B,), denominator (B,)
Scope = Literal["row", "step", "whole"]  # a loss is of one pooled vector, of each step's, or of all steps together


def pooled(x: Tensor, segment: Tensor | None, pool: str) -> Tensor:
    """Pool (B, T, D) over the real steps to (B, D); zeros for a row without any."""
    if segment is None:
        segment = x.new_ones(x.shape[:2], dtype=torch.int64)
    real = segment != 0
    empty = ~real.any(dim=1, keepdim=True)
    if pool == "mean":
        return (x * real[..., None]).sum(dim=1) / real.sum(dim=1, keepdim=True).clamp(min=1)
    if pool == "max":
        largest = x.masked_fill(~real[..., None], -math.inf).amax(dim=1)
        return largest.masked_fill(empty, 0.0)
    steps = torch.arange(x.shape[1], device=x.device)
    last = torch.where(real, steps, 0).amax(dim=1)
    picked = x.gather(1, last[:, None, None].expand(-1, 1, x.shape[2]))[:, 0]
    return picked.masked_fill(empty, 0.0)


def wide(x: Tensor) -> Tensor:
    """Return x in float32, or in float64 if it is: losses and scores are summed in no less."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
