"""Cross attention: each step reads an encoder's output."""

from typing import ClassVar, NamedTuple

import pydantic
import torch
from torch import Tensor

from seqloom.core.cost import Cost
from seqloom.core.types import State, Where
from seqloom.mixers._entries import attend
from seqloom.mixers._memory import reading
from seqloom.model.mixer import Cut, Memory, MemoryMixer, MixerSpec
from seqloom.ops.linear import Linear


class Cross(MixerSpec):
    """Multi-head attention to a memory: softmax(q k / sqrt(K)) v over the entries of the step's own document.

    Work O(B T D (D + S)), depth O(1), state 2 B S D, all of it from the memory: it does not grow.
    """

    family: ClassVar[str] = "attention"
    source: ClassVar[tuple[str, ...]] = (
        "vaswani2017",
        "Vaswani, A. and others",
        "Attention Is All You Need",
        "2017",
        "arXiv:1706.03762",
    )
    heads: int = pydantic.Field(default=4, gt=0)  # parallel attentions
    bias: bool = False  # of the projections to queries, keys and values

    def build(self, width: int) -> "CrossMixer":
        """Return the mixer for vectors of this width.

        Raises:
            ValueError: heads do not divide the width.
        """
        if width % self.heads:
            raise ValueError(f"Cross(heads={self.heads}) needs a width that is a multiple of it, got {width}")
        return CrossMixer(self, width)


class CrossState(NamedTuple):
    """The memory's keys and values, and the last document of each row."""

    key: Tensor  # (B, S, H, K)
    value: Tensor  # (B, S, H, K)
    id: Tensor  # (B, S) int64, of the entries
    last: Tensor  # (B,) int64


class CrossMixer(MemoryMixer):
    """The module."""

    def __init__(self, spec: Cross, width: int) -> None:
        super().__init__()
        self.head_width = width // spec.heads
        self.query = Linear(width, width, bias=spec.bias)
        self.enter = Linear(width, 2 * width, bias=spec.bias)  # k | v, of the memory
        self.out = Linear(width, width)
        self.split = {
            "query.weight": Cut(0, each=self.head_width),
            "enter.weight": Cut(0, parts=2, each=self.head_width),
            "out.weight": Cut(1),
            "out.bias": "once",
        }
        if spec.bias:
            self.split |= {"query.bias": Cut(0), "enter.bias": Cut(0, parts=2)}

    def forward(
        self, x: Tensor, state: State | None = None, where: Where | None = None, memory: Memory | None = None
    ) -> tuple[Tensor, State | None]:
        """Read the memory at every step under the contract."""
        entries: CrossState = state if state else self._entries(memory)
        ids, seen, last = reading(x, entries.id, entries.last, where)
        query = self.query(x).unflatten(2, (-1, self.head_width))
        y = attend(query, entries.key, entries.value, seen[:, None], False)
        # a step whose document has no entry reads nothing
        y = self.out(torch.where(ids, y.flatten(2), 0.0))
        return y, None if state is None else entries._replace(last=last)

    def cost(self, batch: int, length: int) -> Cost:
        """Return the cost for a memory as long as the steps."""
        weights = self.query.weight.numel() + self.enter.weight.numel() + self.out.weight.numel()
        width, size = self.out.weight.shape[1], self.out.weight.element_size()
        return Cost(
            flops=2 * batch * length * weights + 4 * batch * length * length * width,
            bytes=size * (weights + 6 * batch * length * width),
            state_bytes=batch * (length * (2 * width * size + 8) + 8),
            depth=4,
        )

    def _entries(self, memory: Memory | None) -> CrossState:
        if memory is None:
            raise ValueError(
                "cross attention needs a memory: give memory=model.encode(source); "
                "for text without a source take another model, such as gpt"
            )
        key, value = self.enter(memory.x).unflatten(2, (2, -1, self.head_width)).unbind(2)
        return CrossState(key, value, memory.id.clone(), memory.id.new_zeros(memory.id.shape[0]))
