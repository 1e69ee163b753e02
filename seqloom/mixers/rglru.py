"""The recurrent block of Griffin: a gated branch beside a short convolution and a real-gated linear recurrence."""

import math
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import pydantic
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqloom.core.cost import Cost
from seqloom.core.types import FRESH, State, Where
from seqloom.mixers._terms import kept, last_state, scan_folded, stretch
from seqloom.model.mixer import Cut, MixerSpec, SequenceMixer
from seqloom.ops.linear import Linear, outputs
from seqloom.ops.scan import scan
from seqloom.ops.shortconv import last_steps, short_convolution, tail_after

SHARPNESS = 8.0  # the paper's c


class RGLRU(MixerSpec):
    """Real-gated linear recurrent unit: h_t = a_t h_{t-1} + sqrt(1 - a_t^2) (i_t u_t), a_t = a^(c r_t).

    u is the short convolution of one branch; r_t and i_t are sigmoids of u_t, in blocks of units, a = sigmoid(L) is
    learnt, c = 8. The output is W_out (gelu(W_g x) h). A scan: work O(B T R D), depth O(log T), state B R (k or more).
    """

    family: ClassVar[str] = "recurrent"
    source: ClassVar[tuple[str, ...]] = (
        "de2024",
        "De, S. and others",
        "Griffin: Mixing Gated Linear Recurrences with Local Attention for Efficient Language Models",
        "2024",
        "arXiv:2402.19427",
    )
    hidden: int | None = pydantic.Field(default=None, gt=0)  # units; None: the width
    heads: int = pydantic.Field(default=4, gt=0)  # blocks of units whose gates see each other
    kernel: int = pydantic.Field(default=4, gt=0)  # steps of the convolution

    def build(self, width: int) -> "RGLRUMixer":
        """Return the mixer for vectors of this width.

        Raises:
            ValueError: the units do not divide into the blocks.
        """
        hidden = self.hidden or width
        if hidden % self.heads:
            raise ValueError(f"RGLRU(heads={self.heads}) needs a number of units that is a multiple of it: {hidden}")
        return RGLRUMixer(width, hidden, self.heads, self.kernel)


class RGLRUState(NamedTuple):
    """The hidden units and the last steps of the convolution."""

    h: Tensor  # (B, R)
    tail: Tensor  # (B, k - 1, R)


class RGLRUMixer(SequenceMixer):
    """The module."""

    carry = "fold"

    def __init__(self, width: int, hidden: int, heads: int, kernel: int) -> None:
        super().__init__()
        block = hidden // heads
        self.enter = Linear(width, 2 * hidden)  # gate | recurrent branch
        self.conv_weight = nn.Parameter(torch.empty(hidden, kernel))
        self.conv_bias = nn.Parameter(torch.zeros(hidden))
        self.gate_weight = nn.Parameter(torch.empty(heads, block, 2 * block))  # r | i of each block
        self.gate_bias = nn.Parameter(torch.zeros(heads, 2 * block))
        self.decay = nn.Parameter(torch.empty(hidden))  # L
        self.out = Linear(hidden, width)
        nn.init.uniform_(self.conv_weight, -1 / math.sqrt(kernel), 1 / math.sqrt(kernel))
        nn.init.normal_(self.gate_weight, std=1 / math.sqrt(block))
        # a^c lies between 0.9 and 0.999
        with torch.no_grad():
            a = torch.empty(hidden).uniform_(0.9, 0.999) ** (1 / SHARPNESS)
            self.decay.copy_(a.log() - torch.log1p(-a))
        self.split = {
            "enter.weight": Cut(0, parts=2),
            "enter.bias": Cut(0, parts=2),
            "conv_weight": Cut(0),
            "conv_bias": Cut(0),
            "gate_weight": Cut(0),
            "gate_bias": Cut(0),
            "decay": Cut(0),
            "out.weight": Cut(1),
            "out.bias": "once",
        }

    def forward(self, x: Tensor, state: State | None = None, where: Where | None = None) -> tuple[Tensor, State | None]:
        """Mix along time under the contract."""
        gate, branch = self.enter(x).chunk(2, dim=-1)
        u, tail = short_convolution(branch, self.conv_weight, self.conv_bias, state.tail if state else None, where)
        before = state.h if state else None
        h = scan(*self._terms(u, where), before)
        y = self.out(F.gelu(gate) * h.to(gate.dtype))
        return y, None if state is None else RGLRUState(last_state(h, before), tail)

    def edge(self, x: Tensor, where: Where | None = None) -> State:
        """Return (the stretch's own tail, by how many places it moves the one before)."""
        steps, own, moved = last_steps(x, self.conv_weight.shape[1] - 1, where)
        tail = torch.where(own[..., None], self._branch(steps), 0.0)
        return tail.to(torch.promote_types(x.dtype, torch.float32)), moved

    def advance_edge(self, state: State, edge: State) -> State:
        """Return the state with the tail after a stretch."""
        past: RGLRUState | None = state or None
        tail = tail_after(past.tail if past else None, *edge)
        return RGLRUState(past.h if past else tail.new_zeros((tail.shape[0], tail.shape[2])), tail)

    def summary(self, x: Tensor, where: Where | None = None, before: State = FRESH) -> State:
        """Return (product of decays, hidden units from zeros), each (B, R)."""
        tail = before.tail if before else None
        u, _ = short_convolution(self._branch(x), self.conv_weight, self.conv_bias, tail, where)
        return stretch(*self._terms(u, where))

    def folded(self, x: Tensor, where: Where, before: State, tell: Callable[[State], State]) -> Tensor:
        """Mix a stretch; projections, convolution and gates are computed once."""
        gate, branch = self.enter(x).chunk(2, dim=-1)
        tail = before.tail if before else None
        u, _ = short_convolution(branch, self.conv_weight, self.conv_bias, tail, where)
        h = scan_folded(*self._terms(u, where), tell)
        return self.out(F.gelu(gate) * h.to(gate.dtype))

    def advance(self, state: State, summary: State) -> State:
        """Return the state with decay * h + entering."""
        past: RGLRUState = state
        decay, entering = summary
        return RGLRUState(decay * past.h + entering, past.tail)

    def _branch(self, x: Tensor) -> Tensor:
        """Return what enters the convolution, (B, T, R)."""
        return outputs(self.enter, x, slice(self.conv_weight.shape[0], None))

    def cost(self, batch: int, length: int) -> Cost:
        """Return the cost; scan and convolution are elementwise and count as traffic."""
        weights = self.enter.weight.numel() + self.out.weight.numel() + self.gate_weight.numel()
        hidden, kernel = self.conv_weight.shape
        size = self.out.weight.element_size()
        return Cost(
            flops=2 * batch * length * weights,
            bytes=size * (weights + 6 * batch * length * hidden),
            state_bytes=batch * hidden * kernel * max(size, 4),
            depth=4 + max(length - 1, 0).bit_length(),
        )

    def _terms(self, u: Tensor, where: Where | None) -> tuple[Tensor, Tensor]:
        heads, block = self.gate_weight.shape[:2]
        by_head = u.unflatten(2, (heads, block)).flatten(0, 1).transpose(0, 1)  # (heads, B T, K)
        gates = torch.baddbmm(self.gate_bias[:, None], by_head, self.gate_weight)
        gates = gates.transpose(0, 1).unflatten(0, u.shape[:2])
        # the scan runs in float32 or wider: products of many decays
        dtype = torch.promote_types(u.dtype, torch.float32)
        r, i = (part.flatten(2).to(dtype).sigmoid() for part in gates.chunk(2, dim=-1))
        log_a = SHARPNESS * r * F.logsigmoid(self.decay).to(dtype)
        # where a gate is closed a = 1, and the root's slope would be infinite
        left = (-torch.expm1(2 * log_a)).clamp(min=torch.finfo(dtype).tiny)
        entering = left.sqrt() * i * u.to(dtype)
        return kept(log_a.exp(), entering, where)
