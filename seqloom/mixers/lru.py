"""The linear recurrent unit: a complex diagonal recurrence, stable by its parameters."""

import math
from typing import ClassVar

import pydantic
import torch
from torch import Tensor, nn

from seqloom.core.types import Where
from seqloom.mixers._terms import ScannedMixer, kept
from seqloom.model.mixer import Cut, MixerSpec
from seqloom.ops.linear import Linear


class LRU(MixerSpec):
    """Linear recurrent unit: h_t = l h_{t-1} + g (B x_t), y_t = Re(C h_t) + d x_t, l = exp(-exp(n) + i exp(p)).

    h, B and C are complex; |l| < 1 for any n; g = sqrt(1 - |l|^2) at first keeps the size of h. A scan: work
    O(B T N D), depth O(log T), state 2 B N numbers.
    """

    family: ClassVar[str] = "recurrent"
    source: ClassVar[tuple[str, ...]] = (
        "orvieto2023",
        "Orvieto, A. and others",
        "Resurrecting Recurrent Neural Networks for Long Sequences",
        "2023",
        "arXiv:2303.06349",
    )
    hidden: int | None = pydantic.Field(default=None, gt=0)  # complex units; None: the width
    smallest: float = pydantic.Field(default=0.9, ge=0, lt=1)  # |l| is drawn between these
    largest: float = pydantic.Field(default=0.999, gt=0, lt=1)
    phase: float = pydantic.Field(default=math.pi / 10, gt=0, le=2 * math.pi)  # the largest angle of l at first

    def build(self, width: int) -> "LRUMixer":
        """Return the mixer for vectors of this width.

        Raises:
            ValueError: `smallest` is not below `largest`.
        """
        if self.smallest >= self.largest:
            raise ValueError(f"LRU needs smallest < largest, got {self.smallest} and {self.largest}")
        return LRUMixer(self, width)


class LRUMixer(ScannedMixer):
    """The module. The state is (h,), h (B, N) complex."""

    split = {
        "decay": Cut(0),
        "angle": Cut(0),
        "scale": Cut(0),
        "enter.weight": Cut(0, parts=2),
        "out.weight": Cut(1, parts=2),
        "skip": "once",
    }

    def __init__(self, spec: LRU, width: int) -> None:
        super().__init__()
        hidden = spec.hidden or width
        self.decay = nn.Parameter(torch.empty(hidden))  # n
        self.angle = nn.Parameter(torch.empty(hidden))  # p
        self.scale = nn.Parameter(torch.empty(hidden))  # log g
        self.enter = Linear(width, 2 * hidden, bias=False)  # Re B | Im B
        self.out = Linear(2 * hidden, width, bias=False)  # Re C | -Im C
        self.skip = nn.Parameter(torch.empty(width))
        with torch.no_grad():
            # uniform over the ring between the two radii
            square = torch.rand(hidden) * (spec.largest**2 - spec.smallest**2) + spec.smallest**2
            self.decay.copy_((-0.5 * square.clamp(min=1e-12).log()).log())
            self.angle.copy_((spec.phase * torch.rand(hidden).clamp(min=1e-4)).log())
            self.scale.copy_(0.5 * torch.log1p(-square))
        nn.init.normal_(self.enter.weight, std=1 / math.sqrt(2 * width))
        nn.init.normal_(self.out.weight, std=1 / math.sqrt(hidden))
        nn.init.normal_(self.skip)

    def answer(self, h: Tensor, x: Tensor) -> Tensor:
        """Return Re(C h) + d x."""
        return self.out(torch.cat([h.real, h.imag], dim=-1).to(x.dtype)) + self.skip * x

    def terms(self, x: Tensor, where: Where | None) -> tuple[Tensor, Tensor]:
        """Return decay and input of the scan, each (B, T, N) complex)."""
        dtype = torch.promote_types(x.dtype, torch.float32)
        # |l| and the angle in float32 or wider: powers of l up to the length matter
        modulus, angle = (-self.decay.to(dtype).exp()).exp(), self.angle.to(dtype).exp()
        entering = torch.complex(*self.enter(x).to(dtype).chunk(2, dim=-1)) * self.scale.to(dtype).exp()
        decay = torch.complex(modulus * angle.cos(), modulus * angle.sin()).expand_as(entering)
        return kept(decay, entering, where)
