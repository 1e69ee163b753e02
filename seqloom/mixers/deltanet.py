"""Gated DeltaNet: a decaying memory that is corrected rather than added to."""

import math
from typing import ClassVar, NamedTuple

import pydantic
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqloom.core.cost import Cost
from seqloom.core.types import FRESH, State, Where
from seqloom.mixers._terms import silenced, small_steps, starts
from seqloom.model.mixer import Cut, MixerSpec, SequenceMixer
from seqloom.ops.delta import delta, product_flops
from seqloom.ops.linear import Linear, outputs
from seqloom.ops.shortconv import last_steps, short_convolution, tail_after


class DeltaNet(MixerSpec):
    """Gated delta rule: S_t = a_t (I - b_t k k^T) S_{t-1} + b_t k v^T, y_t = q S_t; W_out (norm(y) silu(W_g x)).

    q, k and v are silu of short convolutions of projections, q and k of length 1; b = sigmoid, a = exp(-A softplus),
    one number a head. In chunks of L: work O(B T H (L + K) (K + V)), depth T / L, state B H K V and tails.
    """

    family: ClassVar[str] = "recurrent"
    source: ClassVar[tuple[str, ...]] = (
        "yang2024",
        "Yang, S. and Kautz, J. and Hatamizadeh, A.",
        "Gated Delta Networks: Improving Mamba2 with Delta Rule",
        "2024",
        "arXiv:2412.06464",
    )
    heads: int = pydantic.Field(default=4, gt=0)  # memories
    kernel: int = pydantic.Field(default=4, gt=0)  # steps of the convolutions
    gated: bool = True  # whether the memory decays; False: DeltaNet, arXiv:2406.06484
    chunk: int = pydantic.Field(default=64, gt=0)  # steps treated at once

    def build(self, width: int) -> "DeltaNetMixer":
        """Return the mixer for vectors of this width.

        Raises:
            ValueError: heads do not divide the width.
        """
        if width % self.heads:
            raise ValueError(f"DeltaNet(heads={self.heads}) needs a width that is a multiple of it, got {width}")
        return DeltaNetMixer(self, width)


class DeltaNetState(NamedTuple):
    """The memories and the last steps of the convolutions."""

    s: Tensor  # (B, H, K, V)
    tail: Tensor  # (B, k - 1, 3 D)


class DeltaNetMixer(SequenceMixer):
    """The module."""

    carry = "fold"

    def __init__(self, spec: DeltaNet, width: int) -> None:
        super().__init__()
        self.head_width, self.chunk, self.gated = width // spec.heads, spec.chunk, spec.gated
        self.enter = Linear(width, 3 * width, bias=False)  # q | k | v
        self.gate = Linear(width, width, bias=False)
        self.beta = Linear(width, spec.heads, bias=False)
        self.conv_weight = nn.Parameter(torch.empty(3 * width, spec.kernel))
        self.norm = nn.Parameter(torch.ones(self.head_width))
        self.out = Linear(width, width, bias=False)
        bound = 1 / math.sqrt(spec.kernel)
        nn.init.uniform_(self.conv_weight, -bound, bound)
        self.split = {
            "enter.weight": Cut(0, parts=3),
            "gate.weight": Cut(0),
            "beta.weight": Cut(0),
            "conv_weight": Cut(0, parts=3),
            "norm": "copy",
            "out.weight": Cut(1),
        }
        if spec.gated:
            self.decay = Linear(width, spec.heads)
            self.log_a = nn.Parameter(torch.empty(spec.heads).uniform_(1, 16).log())
            with torch.no_grad():
                self.decay.bias.copy_(small_steps(spec.heads))
            self.split |= {"decay.weight": Cut(0), "decay.bias": Cut(0), "log_a": Cut(0)}

    def forward(self, x: Tensor, state: State | None = None, where: Where | None = None) -> tuple[Tensor, State | None]:
        """Mix along time under the contract."""
        past: DeltaNetState | None = state or None
        entering, tail = short_convolution(self.enter(x), self.conv_weight, None, past.tail if past else None, where)
        q, k, v = F.silu(entering).unflatten(2, (3, -1, self.head_width)).unbind(2)
        k, v, beta, log_decay = self._corrections(x, k, v, where)
        q = F.normalize(q.to(k.dtype), dim=-1, eps=1e-6) / math.sqrt(self.head_width)
        before = past.s if past else None
        y, s = delta(q, k, v, beta, log_decay, starts(where), before, state is not None, self.chunk)
        y = (F.rms_norm(y, (self.head_width,), eps=1e-6).to(x.dtype) * self.norm).flatten(2)
        y = self.out(y * F.silu(self.gate(x)))
        return y, None if state is None else DeltaNetState(s, tail)

    def edge(self, x: Tensor, where: Where | None = None) -> State:
        """Return (the stretch's own tail, by how many places it moves the one before)."""
        steps, own, moved = last_steps(x, self.conv_weight.shape[1] - 1, where)
        tail = torch.where(own[..., None], self.enter(steps), 0.0)
        return tail.to(torch.promote_types(x.dtype, torch.float32)), moved

    def advance_edge(self, state: State, edge: State) -> State:
        """Return the state with the tail after a stretch."""
        past: DeltaNetState | None = state or None
        tail = tail_after(past.tail if past else None, *edge)
        heads = tail.shape[2] // (3 * self.head_width)
        empty = tail.new_zeros((tail.shape[0], heads, self.head_width, self.head_width))
        return DeltaNetState(past.s if past else empty, tail)

    def summary(self, x: Tensor, where: Where | None = None, before: State = FRESH) -> State:
        """Return (A, memories from zeros), each (B, H, K, K): A, a product of a (I - b k k^T), is what is kept.

        A is what becomes of the unit matrix while nothing is written, and goes through the steps beside the memories:
        the work of answers and states is twice that of a memory alone.
        """
        width = self.out.weight.shape[1]
        tail = before.tail[..., width:] if before else None
        entering = outputs(self.enter, x, slice(width, None))
        entering, _ = short_convolution(entering, self.conv_weight[width:], None, tail, where)
        k, v = F.silu(entering).unflatten(2, (2, -1, self.head_width)).unbind(2)
        k, v, beta, log_decay = self._corrections(x, k, v, where)
        both = torch.cat([torch.zeros_like(k), v], dim=-1)
        unit = torch.eye(self.head_width, 2 * self.head_width, dtype=k.dtype, device=k.device)
        first = unit.expand(x.shape[0], k.shape[2], -1, -1)
        _, after = delta(k, k, both, beta, log_decay, starts(where), first, True, self.chunk)
        assert after is not None
        return tuple(after.chunk(2, dim=-1))

    def advance(self, state: State, summary: State) -> State:
        """Return the state with A S + what is added."""
        past: DeltaNetState = state
        kept, added = summary
        with torch.autocast(added.device.type, enabled=False):  # a state is float32 or wider
            return DeltaNetState(kept @ past.s + added, past.tail)

    def _corrections(
        self, x: Tensor, k: Tensor, v: Tensor, where: Where | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Return k of length 1 and v, (B, T, H, K), b and log a (B, T, H), silent at padding."""
        # gates in float32 or wider: decays are multiplied along time
        dtype = torch.promote_types(x.dtype, torch.float32)
        k = F.normalize(k.to(dtype), dim=-1, eps=1e-6)
        k, v, beta = silenced(where, k, v.to(dtype), self.beta(x).to(dtype).sigmoid())
        log_decay = None
        if self.gated:
            (log_decay,) = silenced(where, -self.log_a.to(dtype).exp() * F.softplus(self.decay(x).to(dtype)))
        return k, v, beta, log_decay

    def cost(self, batch: int, length: int) -> Cost:
        """Return the cost of the products, without the triangular systems of each chunk."""
        linears = [self.enter, self.gate, self.beta, self.out, *([self.decay] if self.gated else [])]
        weights = sum(linear.weight.numel() for linear in linears)
        width, size = self.out.weight.shape[1], self.out.weight.element_size()
        heads, kernel = width // self.head_width, self.conv_weight.shape[1]
        inner = self.head_width
        return Cost(
            flops=2 * batch * length * weights + product_flops(batch, length, heads, inner, inner, self.chunk),
            bytes=size * (weights + 8 * batch * length * width),
            state_bytes=batch * (width * inner + (kernel - 1) * 3 * width) * max(size, 4),
            depth=6 + -(-length // self.chunk),
        )
