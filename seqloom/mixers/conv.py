"""A short causal convolution as a mixer: the companion of recurrences that have none of their own."""

import math
from typing import ClassVar

import pydantic
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqloom.core.cost import Cost
from seqloom.core.types import FRESH, State, Where
from seqloom.model.mixer import Cut, MixerSpec, SequenceMixer
from seqloom.ops.linear import Linear, outputs
from seqloom.ops.shortconv import last_steps, short_convolution, tail_after


class Conv(MixerSpec):
    """Gated short convolution: y = W_out (gelu(W_g x) conv(W_in x)), each channel over its last k steps.

    Work O(B T D D), depth O(1), state B (k - 1) D numbers.
    """

    family: ClassVar[str] = "convolution"
    source: ClassVar[tuple[str, ...]] = (
        "dauphin2017",
        "Dauphin, Y. N. and Fan, A. and Auli, M. and Grangier, D.",
        "Language Modeling with Gated Convolutional Networks",
        "2017",
        "arXiv:1612.08083",
    )
    kernel: int = pydantic.Field(default=4, gt=0)  # steps seen, the step itself included

    def build(self, width: int) -> "ConvMixer":
        """Return the mixer for vectors of this width."""
        return ConvMixer(width, self.kernel)


class ConvMixer(SequenceMixer):
    """The module. The state is (tail,), the last k - 1 entering steps, (B, k - 1, D)."""

    carry = "fold"
    split = {
        "enter.weight": Cut(0, parts=2),
        "conv_weight": Cut(0),
        "conv_bias": Cut(0),
        "out.weight": Cut(1),
        "out.bias": "once",
    }

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.enter = Linear(width, 2 * width, bias=False)  # gate | branch
        self.conv_weight = nn.Parameter(torch.empty(width, kernel).uniform_(-1, 1) / math.sqrt(kernel))
        self.conv_bias = nn.Parameter(torch.zeros(width))
        self.out = Linear(width, width)

    def forward(self, x: Tensor, state: State | None = None, where: Where | None = None) -> tuple[Tensor, State | None]:
        """Mix along time under the contract."""
        gate, branch = self.enter(x).chunk(2, dim=-1)
        y, tail = short_convolution(branch, self.conv_weight, self.conv_bias, state[0] if state else None, where)
        return self.out(F.gelu(gate) * y), None if state is None else (tail,)

    def edge(self, x: Tensor, where: Where | None = None) -> State:
        """Return (the stretch's own tail, by how many places it moves the one before)."""
        steps, own, moved = last_steps(x, self.conv_weight.shape[1] - 1, where)
        tail = outputs(self.enter, steps, slice(self.conv_weight.shape[0], None))
        return torch.where(own[..., None], tail, 0.0).to(torch.promote_types(x.dtype, torch.float32)), moved

    def advance_edge(self, state: State, edge: State) -> State:
        """Return the state after a stretch: the edge tells all of it."""
        return (tail_after(state[0] if state else None, *edge),)

    def summary(self, x: Tensor, where: Where | None = None, before: State = FRESH) -> State:
        """Return nothing more."""
        return ()

    def advance(self, state: State, summary: State) -> State:
        """Return the state as it is."""
        return state

    def cost(self, batch: int, length: int) -> Cost:
        """Return the cost; the convolution is elementwise and counts as traffic."""
        weights = self.enter.weight.numel() + self.out.weight.numel()
        width, kernel = self.conv_weight.shape
        size = self.out.weight.element_size()
        return Cost(
            flops=2 * batch * length * weights,
            bytes=size * (weights + 4 * batch * length * width),
            state_bytes=batch * (kernel - 1) * width * max(size, 4),
            depth=3,
        )
