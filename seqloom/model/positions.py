"""Vectors for the positions of steps, which frontends add to theirs."""

from typing import Literal

import torch
from torch import Tensor, nn

from seqloom.core.types import Where

PositionKind = Literal["none", "sinusoidal", "learned"]


class Positions(nn.Module):
    """Add a vector for the position of each step in its document.

    Sinusoidal: sin and cos of p / 10000^(2 i / D), one behind the other in each pair (Vaswani et al. 2017, arXiv
    1706.03762); any length. Learned: a table of `max_length` vectors.
    """

    def __init__(self, kind: PositionKind, width: int, max_length: int) -> None:
        super().__init__()
        self.kind = kind
        self.table = nn.Parameter(torch.empty(max_length, width)) if kind == "learned" else None
        if self.table is not None:
            nn.init.normal_(self.table, std=0.02)

    def forward(self, x: Tensor, where: Where | None) -> Tensor:
        """Map (B, T, D) to (B, T, D).

        Raises:
            ValueError: a position at or behind `max_length`, with learnt positions.
        """
        if self.kind == "none" or x.shape[1] == 0:
            return x
        position = torch.arange(x.shape[1], device=x.device)[None] if where is None else where.position
        if self.table is None:
            added = sinusoids(position, x.shape[2]).to(x.dtype)
        else:
            if not torch.compiler.is_compiling() and position.device.type != "meta":
                longest = x.shape[1] if where is None else int(position.amax()) + 1
                if longest > len(self.table):
                    raise ValueError(
                        f"a document of {longest} steps is longer than the {len(self.table)} positions learnt: give "
                        "less, or a model with a larger max_length"
                    )
            added = self.table[position]
        return x + added if where is None else torch.where(where.real[..., None], x + added, x)


def sinusoids(position: Tensor, width: int) -> Tensor:
    """Return (B, T, D) of positions (B, T): sin and cos in turn; computed in float64."""
    pairs = torch.arange(0, width, 2, device=position.device, dtype=torch.float64)
    angle = position[..., None].double() * 10000.0 ** (-pairs / width)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)[..., :width]
