"""Additive attention: Bahdanau's, each step scores an encoder's output with a small network."""

from typing import ClassVar, NamedTuple

import pydantic
import torch
from torch import Tensor

from seqloom.core.cost import Cost
from seqloom.core.types import State, Where
from seqloom.mixers._memory import reading
from seqloom.model.mixer import Memory, MemoryMixer, MixerSpec
from seqloom.ops.linear import Linear


class Additive(MixerSpec):
    """Additive attention to a memory: c_t = sum_s softmax_s(v tanh(W q_t + U m_s)) m_s, y_t = W_out c_t.

    q_t is the step's vector, a decoder's hidden state. The context enters the layers above and not the next step of the
    recurrence below (no input feeding), so that all steps run at once. Work O(B T D (D + S)), depth O(1), memory
    O(B T S A), state 2 B S D.
    """

    family: ClassVar[str] = "attention"
    source: ClassVar[tuple[str, ...]] = (
        "bahdanau2015",
        "Bahdanau, D. and Cho, K. and Bengio, Y.",
        "Neural Machine Translation by Jointly Learning to Align and Translate",
        "2015",
        "arXiv:1409.0473",
    )
    hidden: int | None = pydantic.Field(default=None, gt=0)  # units that score; None: the width

    def build(self, width: int) -> "AdditiveMixer":
        """Return the mixer for vectors of this width."""
        return AdditiveMixer(width, self.hidden or width)


class AdditiveState(NamedTuple):
    """The memory, its part of the scores, and the last document of each row."""

    key: Tensor  # (B, S, A)
    value: Tensor  # (B, S, D)
    id: Tensor  # (B, S) int64, of the entries
    last: Tensor  # (B,) int64


class AdditiveMixer(MemoryMixer):
    """The module. A tensor axis leaves it whole: a softmax of sums over ranks would cost a message a step."""

    split = {
        "query.weight": "copy",
        "key.weight": "copy",
        "key.bias": "copy",
        "score.weight": "copy",
        "out.weight": "once",
    }

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.query = Linear(width, hidden, bias=False)
        self.key = Linear(width, hidden)
        self.score = Linear(hidden, 1, bias=False)
        self.out = Linear(width, width, bias=False)

    def forward(
        self, x: Tensor, state: State | None = None, where: Where | None = None, memory: Memory | None = None
    ) -> tuple[Tensor, State | None]:
        """Read the memory at every step under the contract."""
        entries: AdditiveState = state if state else self._entries(memory)
        reads, seen, last = reading(x, entries.id, entries.last, where)
        units = (self.query(x)[:, :, None] + entries.key[:, None].to(x.dtype)).tanh()
        scores = self.score(units)[..., 0]
        weights = scores.masked_fill(~seen, -torch.inf).softmax(dim=-1)
        context = weights @ entries.value.to(weights.dtype)
        # a step whose document has no entry reads nothing
        y = self.out(torch.where(reads, context, 0.0))
        return y, None if state is None else entries._replace(last=last)

    def cost(self, batch: int, length: int) -> Cost:
        """Return the cost for a memory as long as the steps."""
        weights = self.query.weight.numel() + self.key.weight.numel() + self.out.weight.numel()
        hidden, width = self.key.weight.shape
        size = self.out.weight.element_size()
        return Cost(
            flops=2 * batch * length * weights + 2 * batch * length * length * (hidden + width),
            bytes=size * (weights + 2 * batch * length * length * hidden),
            state_bytes=batch * (length * ((hidden + width) * size + 8) + 8),
            depth=4,
        )

    def _entries(self, memory: Memory | None) -> AdditiveState:
        if memory is None:
            raise ValueError(
                "additive attention needs a memory: give memory=model.encode(source); "
                "for text without a source take another model, such as gpt"
            )
        ids = memory.id
        return AdditiveState(self.key(memory.x), memory.x.clone(), ids.clone(), ids.new_zeros(ids.shape[0]))
