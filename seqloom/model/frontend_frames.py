"""The frontend of clips: each frame a vector of its own, by convolutions over its pixels."""

from typing import Literal, Self

import pydantic
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqloom.core.cost import Cost
from seqloom.core.spec import Spec
from seqloom.core.types import Where
from seqloom.model.positions import PositionKind, Positions
from seqloom.ops.linear import Linear

_KERNEL = 3  # pixels a side that a filter sees
_PLACES = 8  # a side, that convolutions leave
_FEWEST, _MOST = 8, 64  # filters


class Frames(Spec):
    """Frames (B, T, H W C) to vectors (B, T, D), each by itself.

    Convolutions of 3 x 3 pixels halve the frame, one after the other; a linear map takes what is left, place by place,
    so that the vector tells where things are. The backbone then mixes along time: the CNN-LSTM of Donahue et al. 2015
    (arXiv 1411.4389), or the factorised encoder of ViViT (Arnab et al. 2021, arXiv 2103.15691).
    """

    kind: Literal["frames"] = "frames"
    height: int = pydantic.Field(default=64, gt=0)  # H, pixels
    width: int = pydantic.Field(default=64, gt=0)  # W, pixels
    colors: int = pydantic.Field(default=1, gt=0)  # C, 1 of grey and 3 of RGB
    filters: tuple[int, ...] = (8, 16, 32)  # of each convolution
    dropout: float = pydantic.Field(default=0.0, ge=0, lt=1)  # on the vectors
    positions: PositionKind = "none"  # added to the vectors
    max_length: int = pydantic.Field(default=512, gt=0)  # frames of a clip, with learnt positions

    @classmethod
    def of(cls, height: int, width: int, colors: int) -> Self:
        """Return the frontend whose convolutions, of 8, 16, 32, 64, 64 ... filters, leave at most 8 x 8 places."""
        filters: list[int] = []
        while not filters or max(height, width) / 2 ** len(filters) > _PLACES:
            filters.append(min(_FEWEST * 2 ** len(filters), _MOST))
        return cls(height=height, width=width, colors=colors, filters=tuple(filters))

    @property
    def channels(self) -> int:
        """Return how many values a step has."""
        return self.height * self.width * self.colors

    def build(self, width: int) -> "FramesFrontend":
        """Return the module."""
        return FramesFrontend(self, width)


class FramesFrontend(nn.Module):
    """Convolve each frame."""

    def __init__(self, spec: Frames, width: int) -> None:
        super().__init__()
        self.spec = spec
        sizes = zip((spec.colors, *spec.filters), spec.filters, strict=False)
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, _KERNEL, stride=2, padding=1) for a, b in sizes)
        height, breadth = _halved(spec)[-1]
        self.project = Linear(height * breadth * (spec.colors, *spec.filters)[-1], width)
        self.positions = Positions(spec.positions, width, spec.max_length)
        self.dropout = nn.Dropout(spec.dropout)

    def forward(self, inputs: Tensor, segment: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Map (B, T, H W C) to (B, T, D). Work O(B T H W), depth O(1) in T."""
        real = None if segment is None else (segment != 0)[..., None]
        # whatever the padding holds, also NaN, stays out
        x = inputs if real is None else torch.where(real, inputs, 0.0)
        x = x.reshape(-1, self.spec.height, self.spec.width, self.spec.colors).permute(0, 3, 1, 2).contiguous()
        for convolve in self.convolutions:
            x = F.relu(convolve(x))
        x = self.project(x.flatten(1)).to(self.project.weight.dtype).reshape(*inputs.shape[:2], -1)
        return (x if real is None else torch.where(real, x, 0.0)), segment

    def place(self, x: Tensor, where: Where | None) -> Tensor:
        """Add to (B, T, D) what depends on the place of each step."""
        return self.dropout(self.positions(x, where))

    def cost(self, batch: int, length: int) -> Cost:
        """Return the cost of (B, T) frames."""
        cost = _products(self.project.weight, batch * length)
        for convolve, (height, breadth) in zip(self.convolutions, _halved(self.spec)[1:], strict=True):
            cost += _products(convolve.get_parameter("weight"), batch * length * height * breadth)
        return cost


def _halved(spec: Frames) -> list[tuple[int, int]]:
    """Return (height, width) before the first convolution and behind each."""
    sizes = [(spec.height, spec.width)]
    for _ in spec.filters:
        sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
    return sizes


def _products(weight: Tensor, rows: int) -> Cost:
    return Cost(flops=2 * rows * weight.numel(), bytes=weight.numel() * weight.element_size(), depth=1)
