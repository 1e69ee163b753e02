"""A residual block: mixer along time, mixer along channels, with norms before or behind them."""

from collections.abc import Callable
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from seqloom.core.cost import Cost
from seqloom.core.types import State, Where
from seqloom.model.mixer import Memory, SequenceMixer
from seqloom.ops.linear import Linear
from seqloom.ops.rmsnorm import RMSNorm
from seqloom.ops.swiglu import swiglu
from seqloom.ops.tape import Tape, Unrecorded, Vector

Channel = Literal["swiglu", "gelu", "gelu_tanh", "relu", "none"]
Norm = Literal["rms", "layer"]
Placement = Literal["pre", "post", "bare"]

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
}


def make_norm(kind: Norm, width: int, eps: float) -> nn.Module:
    """Return a norm over the width: RMSNorm (arXiv 1910.07467) or LayerNorm (arXiv 1607.06450)."""
    return RMSNorm(width, eps=eps) if kind == "rms" else nn.LayerNorm(width, eps=eps)


class ChannelMixer(nn.Module):
    """Mix channels at each step: W_out (act(W_gate x) * W_in x), or W_out act(W_in x).

    Source: Shazeer 2020, arXiv 2002.05202 (swiglu); Hendrycks and Gimpel 2016, arXiv 1606.08415 (gelu).
    """

    def __init__(self, width: int, kind: Channel, expand: float, bias: bool = False) -> None:
        super().__init__()
        self.kind = kind
        inner = max(1, round(expand * width))
        self.enter = Linear(width, 2 * inner if kind == "swiglu" else inner, bias=bias)
        self.leave = Linear(inner, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, D), each step alone."""
        inner = self.enter(x)
        if self.kind == "swiglu":
            return self.leave(swiglu(inner))
        return self.leave(_ACTIVATIONS[self.kind](inner))

    def record(self, tape: Tape, x: Vector, into: Vector) -> None:
        """Write one step to a tape, its answer added to a vector."""
        if self.kind == "swiglu":
            both = tape.linear(self.enter, x)
            half = both.size // 2
            inner = tape.gate(both.part(0, half), both.part(half, 2 * half), "silu")
        else:
            inner = tape.linear(self.enter, x, self.kind)
        tape.linear(self.leave, inner, into=into)

    def cost(self, batch: int, length: int) -> Cost:
        """Return the cost over (B, T)."""
        weights = self.enter.weight.numel() + self.leave.weight.numel()
        return Cost(flops=2 * batch * length * weights, bytes=weights * self.enter.weight.element_size(), depth=2)


class Block(nn.Module):
    """pre: x + mixer(norm x), x + channel(norm x); post: norm(x + mixer x), norm(x + channel x); bare: mixer(x).

    Source: Vaswani et al. 2017, arXiv 1706.03762 (post); Xiong et al. 2020, arXiv 2002.04745 (pre).
    """

    def __init__(
        self,
        mixer: SequenceMixer,
        width: int,
        channel: Channel,
        expand: float,
        dropout: float,
        norm: Norm = "rms",
        placement: Placement = "pre",
        eps: float = 1e-6,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.placement = placement
        self.mixer = mixer
        self.mixer_norm = nn.Identity() if placement == "bare" else make_norm(norm, width, eps)
        self.channel = None if channel == "none" else ChannelMixer(width, channel, expand, bias)
        self.channel_norm = None if channel == "none" else make_norm(norm, width, eps)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, state: State | None = None, where: Where | None = None, memory: Memory | None = None
    ) -> tuple[Tensor, State | None]:
        """Map (B, T, D) to (B, T, D) under the mixer contract; the memory goes to a mixer that reads one."""
        pre = self.placement == "pre"
        entering = self.mixer_norm(x) if pre else x
        extra = (memory,) if self.mixer.reads else ()
        mixed, after = self.mixer(entering, state, where, *extra)
        if self.placement == "bare":
            return self.dropout(mixed), after
        x = x + self.dropout(mixed)
        if not pre:
            x = self.mixer_norm(x)
        if self.channel is not None and self.channel_norm is not None:
            x = x + self.dropout(self.channel(self.channel_norm(x) if pre else x))
            if not pre:
                x = self.channel_norm(x)
        return x, after

    def record(self, tape: Tape, x: Vector, state: State) -> Vector:
        """Write one step of one row to a tape; the sums of a pre-norm block are made in x itself."""
        if self.placement != "pre":
            raise Unrecorded("Only blocks with norms before have a native step.")
        self.mixer.record(tape, tape.norm(self.mixer_norm, x), state, into=x)
        if self.channel is not None and self.channel_norm is not None:
            self.channel.record(tape, tape.norm(self.channel_norm, x), into=x)
        return x

    def cost(self, batch: int, length: int) -> Cost:
        """Return the cost over (B, T)."""
        cost = self.mixer.cost(batch, length)
        return cost if self.channel is None else cost + self.channel.cost(batch, length)
