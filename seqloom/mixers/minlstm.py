"""The minimal LSTM: gates that do not look at the state, so that time becomes a scan."""

from typing import ClassVar

import pydantic
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqloom.core.cost import Cost
from seqloom.core.types import State, Where
from seqloom.mixers._terms import kept, last_state
from seqloom.model.mixer import Cut, MixerSpec, SequenceMixer
from seqloom.ops.linear import Linear
from seqloom.ops.scan import scan


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


class MinLSTMMixer(SequenceMixer):
    """The scan between two projections. The state is (h,), h (B, H)."""

    carry = "fold"
    split = {"enter.weight": Cut(0, parts=3), "enter.bias": Cut(0, parts=3), "out.weight": Cut(1), "out.bias": "once"}

    def __init__(self, width: int, hidden: int, forget_bias: float) -> None:
        super().__init__()
        self.enter = Linear(width, 3 * hidden)  # f | i | candidate
        self.out = Linear(hidden, width)
        nn.init.constant_(self.enter.bias[:hidden], forget_bias)

    def forward(self, x: Tensor, state: State | None = None, where: Where | None = None) -> tuple[Tensor, State | None]:
        """Mix along time under the contract."""
        before: Tensor | None = state[0] if state else None
        h = scan(*self._terms(x, where), before)
        return self.out(h.to(x.dtype)), None if state is None else (last_state(h, before),)

    def summary(self, x: Tensor, where: Where | None = None) -> State:
        """Return (product of decays, state from zeros), each (B, H)."""
        decay, entering = self._terms(x, where)
        return decay.prod(dim=1), last_state(scan(decay, entering, None), None)

    def advance(self, state: State, summary: State) -> State:
        """Return decay * h + entering."""
        decay, entering = summary
        return (decay * state[0] + entering,) if state else (entering,)

    def cost(self, batch: int, length: int) -> Cost:
        """Return the cost; the scan's own work is elementwise and counts as traffic."""
        weights = self.enter.weight.numel() + self.out.weight.numel()
        hidden, size = self.out.weight.shape[1], self.out.weight.element_size()
        return Cost(
            flops=2 * batch * length * weights,
            bytes=size * (weights + 3 * batch * length * hidden),
            state_bytes=batch * hidden * max(size, 4),
            depth=2 + max(length - 1, 0).bit_length(),
        )

    def _terms(self, x: Tensor, where: Where | None) -> tuple[Tensor, Tensor]:
        # the scan runs in float32 or wider: products of many decays
        f, i, candidate = self.enter(x).to(torch.promote_types(x.dtype, torch.float32)).chunk(3, dim=-1)
        # f / (f + i) = sigmoid(log f - log i)
        ahead = F.logsigmoid(f) - F.logsigmoid(i)
        return kept(torch.sigmoid(ahead), torch.sigmoid(-ahead) * candidate, where)
