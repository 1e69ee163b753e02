"""The minimal GRU: gates that do not look at the state, so that time becomes a scan."""

from typing import ClassVar

import pydantic
import torch
from torch import Tensor

from seqloom.core.types import Where
from seqloom.mixers._terms import ScannedMixer, kept
from seqloom.model.mixer import Cut, MixerSpec
from seqloom.ops.linear import Linear


class MinGRU(MixerSpec):
    """Minimal gated recurrent unit: h_t = (1 - z) h_{t-1} + z W_h x_t, z = sigmoid(W_z x_t).

    Linear in h, so a scan: work O(B T H D), depth O(log T) with a tree, state B H.
    """

    family: ClassVar[str] = "recurrent"
    source: ClassVar[tuple[str, ...]] = (
        "feng2024",
        "Feng, L. and others",
        "Were RNNs All We Needed?",
        "2024",
        "arXiv:2410.01201",
    )
    hidden: int | None = pydantic.Field(default=None, gt=0)  # units; None: the width

    def build(self, width: int) -> "MinGRUMixer":
        """Return the mixer for vectors of this width."""
        return MinGRUMixer(width, self.hidden or width)


class MinGRUMixer(ScannedMixer):
    """The scan between two projections. The state is (h,), h (B, H)."""

    split = {"enter.weight": Cut(0, parts=2), "enter.bias": Cut(0, parts=2), "out.weight": Cut(1), "out.bias": "once"}

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.enter = Linear(width, 2 * hidden)  # z | candidate
        self.out = Linear(hidden, width)

    def terms(self, x: Tensor, where: Where | None) -> tuple[Tensor, Tensor]:
        """Return decay and input of the scan, each (B, T, H))."""
        # the scan runs in float32 or wider: products of many decays
        z, candidate = self.enter(x).to(torch.promote_types(x.dtype, torch.float32)).chunk(2, dim=-1)
        return kept(torch.sigmoid(-z), torch.sigmoid(z) * candidate, where)
