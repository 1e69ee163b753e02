"""A residual block: norm, mixer along time, norm, mixer along channels."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from seqloom.core.cost import Cost
from seqloom.core.types import State, Where
from seqloom.model.mixer import SequenceMixer

Channel = Literal["swiglu", "gelu", "none"]


class ChannelMixer(nn.Module):
    """Mix channels at each step: W_out (act(W_gate x) * W_in x), or W_out act(W_in x).

    Source: Shazeer 2020, arXiv 2002.05202 (swiglu); Hendrycks and Gimpel 2016, arXiv 1606.08415 (gelu).
    """

    def __init__(self, width: int, kind: Channel, expand: float) -> None:
        super().__init__()
        self.kind = kind
        inner = max(1, round(expand * width))
        self.enter = nn.Linear(width, 2 * inner if kind == "swiglu" else inner, bias=False)
        self.leave = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, D), each step alone."""
        inner = self.enter(x)
        if self.kind == "swiglu":
            gate, value = inner.chunk(2, dim=-1)
            return self.leave(F.silu(gate) * value)
        return self.leave(F.gelu(inner))

    def cost(self, batch: int, length: int) -> Cost:
        """Return the cost over (B, T)."""
        weights = self.enter.weight.numel() + self.leave.weight.numel()
        return Cost(flops=2 * batch * length * weights, bytes=weights * self.enter.weight.element_size(), depth=2)


class Block(nn.Module):
    """x + mixer(norm x), then x + channel(norm x)."""

    def __init__(self, mixer: SequenceMixer, width: int, channel: Channel, expand: float, dropout: float) -> None:
        super().__init__()
        self.mixer = mixer
        self.mixer_norm = nn.RMSNorm(width, eps=1e-6)
        self.channel = None if channel == "none" else ChannelMixer(width, channel, expand)
        self.channel_norm = None if channel == "none" else nn.RMSNorm(width, eps=1e-6)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, state: State | None = None, where: Where | None = None) -> tuple[Tensor, State | None]:
        """Map (B, T, D) to (B, T, D) under the mixer contract."""
        mixed, after = self.mixer(self.mixer_norm(x), state, where)
        x = x + self.dropout(mixed)
        if self.channel is not None and self.channel_norm is not None:
            x = x + self.dropout(self.channel(self.channel_norm(x)))
        return x, after

    def cost(self, batch: int, length: int) -> Cost:
        """Return the cost over (B, T)."""
        cost = self.mixer.cost(batch, length)
        return cost if self.channel is None else cost + self.channel.cost(batch, length)
