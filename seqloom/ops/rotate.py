"""Rotary positions: pairs of features turn by angles that grow with the place.

Source: Su et al. 2021, arXiv 2104.09864.
"""

import torch
from torch import Tensor

from seqloom.ops.op import Op


def rotation(position: Tensor, width: int, base: float) -> tuple[Tensor, Tensor]:
    """Return cos and sin, (B, T, K / 2), of the angles at these positions (B, T); computed in float64."""
    pairs = torch.arange(0, width, 2, device=position.device, dtype=torch.float64)
    angle = position[..., None].double() * base ** (-pairs / width)
    return angle.cos(), angle.sin()


def reference(heads: Tensor, cos: Tensor, sin: Tensor, turned: int) -> Tensor:
    """Turn the pairs (i, i + K / 2) of the first heads by their angles; the other heads stay.

    Args:
        heads: (B, T, H, K).
        cos: (1 or B, T, K / 2), of the type of the heads.
        sin: as cos.
        turned: how many heads turn.

    Returns:
        (B, T, H, K). Work 3 B T H K flops.
    """
    cos, sin = cos[:, :, None], sin[:, :, None]
    first, second = heads[:, :, :turned].chunk(2, dim=-1)
    y = torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
    return torch.cat([y, heads[:, :, turned:]], dim=2) if turned < heads.shape[2] else y


rotate = Op("rotate", reference)
