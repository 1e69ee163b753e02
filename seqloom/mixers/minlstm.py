"""The minimal LSTM: gates that do not look at the state, so that time becomes a scan."""

from typing import ClassVar

import pydantic
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqloom.core.types import Where
from seqloom.mixers._terms import ScannedMixer, kept
from seqloom.model.mixer import Cut, MixerSpec
from seqloom.ops.linear import Linear


class MinLSTM(MixerSpec):
    """Minimal long short-term memory: h_t = f' h_{t-1} + i' W_h x_t, f' = f / (f + i), i' = i / (f + i).

    f and i are sigmoids of x_t alone, so a scan: work O(B T H D), depth O(log T) with a tree, state B H.
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
    forget_bias: float = 1.0  # where the forget gate's bias begins

    def build(self, width: int) -> "MinLSTMMixer":
        """Return the mixer for vectors of this width."""
        return MinLSTMMixer(width, self.hidden or width, self.forget_bias)


class MinLSTMMixer(ScannedMixer):
    """The scan between two projections. The state is (h,), h (B, H)."""

    split = {"enter.weight": Cut(0, parts=3), "enter.bias": Cut(0, parts=3), "out.weight": Cut(1), "out.bias": "once"}

    def __init__(self, width: int, hidden: int, forget_bias: float) -> None:
        super().__init__()
        self.enter = Linear(width, 3 * hidden)  # f | i | candidate
        self.out = Linear(hidden, width)
        nn.init.constant_(self.enter.bias[:hidden], forget_bias)

    def terms(self, x: Tensor, where: Where | None) -> tuple[Tensor, Tensor]:
        """Return decay and input of the scan, each (B, T, H))."""
        # the scan runs in float32 or wider: products of many decays
        f, i, candidate = self.enter(x).to(torch.promote_types(x.dtype, torch.float32)).chunk(3, dim=-1)
        # f / (f + i) = sigmoid(log f - log i)
        ahead = F.logsigmoid(f) - F.logsigmoid(i)
        return kept(torch.sigmoid(ahead), torch.sigmoid(-ahead) * candidate, where)
