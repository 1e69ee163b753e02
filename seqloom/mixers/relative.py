"""Attention with relative positions and a memory of fixed length: Transformer-XL's."""

from typing import ClassVar

import pydantic
import torch
from torch import Tensor, nn

from seqloom.core.cost import Cost
from seqloom.core.types import FRESH, State, Where
from seqloom.mixers._entries import Entries, appended, attend, joined, placed, visible
from seqloom.model.mixer import Cut, MixerSpec, SequenceMixer, refuse_state
from seqloom.model.positions import sinusoids
from seqloom.ops.linear import Linear


class Relative(MixerSpec):
    """Relative attention: softmax(((q_t + u) k_s + (q_t + w) W_r r_{t-s}) / sqrt(K)) v_s, r sines of the distance.

    A step looks back exactly `memory` steps, however the stream is cut; parameters do not depend on it, so that a model
    may be built again with a longer memory than it was trained with. Work O(B T D (D + S)), depth O(1) in T, state
    2 B M D.
    """

    family: ClassVar[str] = "attention"
    source: ClassVar[tuple[str, ...]] = (
        "dai2019",
        "Dai, Z. and others",
        "Transformer-XL: Attentive Language Models beyond a Fixed-Length Context",
        "2019",
        "arXiv:1901.02860",
    )
    heads: int = pydantic.Field(default=4, gt=0)  # parallel attentions
    causal: bool = True  # whether a step sees only itself and the past
    memory: int | None = pydantic.Field(default=None, ge=0)  # steps seen besides the step itself; None: all

    def build(self, width: int) -> "RelativeMixer":
        """Return the mixer for vectors of this width.

        Raises:
            ValueError: heads do not divide the width.
        """
        if width % self.heads:
            raise ValueError(f"Relative(heads={self.heads}) needs a width that is a multiple of it, got {width}")
        return RelativeMixer(self, width)


class RelativeMixer(SequenceMixer):
    """The module. The state is Entries: keys and values of the last `memory` steps."""

    carry = "fold"

    def __init__(self, spec: Relative, width: int) -> None:
        super().__init__()
        self.causal, self.memory = spec.causal, spec.memory
        self.head_width = width // spec.heads
        self.split = {
            "enter.weight": Cut(0, parts=3, each=self.head_width),
            "distance.weight": Cut(0),
            "content": Cut(0),
            "place": Cut(0),
            "out.weight": Cut(1),
            "out.bias": "once",
        }
        self.enter = Linear(width, 3 * width, bias=False)  # q | k | v
        self.distance = Linear(width, width, bias=False)  # W_r
        self.content = nn.Parameter(torch.zeros(width))  # u
        self.place = nn.Parameter(torch.zeros(width))  # w
        self.out = Linear(width, width)

    def forward(self, x: Tensor, state: State | None = None, where: Where | None = None) -> tuple[Tensor, State | None]:
        """Mix along time under the contract."""
        refuse_state(self, state)
        past: Entries | None = state or None
        where = placed(x, past, where)
        query, new = self._entries(x, where)
        entries = new if past is None else appended(past, new)
        after = None if state is None else self._kept(joined(past, new, self.memory))
        if x.shape[1] == 0:
            return self.out(x.new_zeros((x.shape[0], 0, self.out.weight.shape[1]))), after
        u, w = (bias.unflatten(0, (-1, self.head_width)) for bias in (self.content, self.place))
        seen = visible(new, entries, self.causal, None if self.memory is None else self.memory + 1)
        mask = self._distances(query + w, new, entries).masked_fill(~seen[:, None], -torch.inf)
        y = attend(query + u, entries.key, entries.value, mask, False)
        return self.out(y.flatten(2)), after

    def summary(self, x: Tensor, where: Where | None = None, before: State = FRESH) -> State:
        """Return the stretch's keys and values."""
        return self._entries(x, placed(x, None, where))[1]

    def advance(self, state: State, summary: State) -> State:
        """Return the state with the summary's entries appended, and trimmed to the memory."""
        return self._kept(joined(state or None, summary, self.memory))

    def cost(self, batch: int, length: int) -> Cost:
        """Return the cost: the projections, those of the distances, scores of both kinds, and sums."""
        weights = self.enter.weight.numel() + self.out.weight.numel()
        width, size = self.out.weight.shape[1], self.out.weight.element_size()
        far = length if self.causal else 2 * length - 1
        kept = length if self.memory is None else min(length, self.memory)
        return Cost(
            flops=2 * batch * length * weights
            + 2 * far * self.distance.weight.numel()
            + 4 * batch * length * length * width
            + 2 * batch * length * far * width,
            bytes=size * (weights + 6 * batch * length * width),
            state_bytes=batch * kept * (2 * width * size + 16),
            depth=5,
        )

    def _entries(self, x: Tensor, where: Where) -> tuple[Tensor, Entries]:
        query, key, value = self.enter(x).unflatten(2, (3, -1, self.head_width)).unbind(2)
        return query, Entries(key, value, where.id, where.position)

    def _kept(self, entries: Entries) -> Entries:
        # a window of no steps keeps none
        return Entries(*(entry[:, :0] for entry in entries)) if self.memory == 0 else entries

    def _distances(self, query: Tensor, new: Entries, entries: Entries) -> Tensor:
        """Return (q + w) W_r r / sqrt(K) for every pair of steps, (B, H, T, S)."""
        n = entries.id.shape[1]
        lowest = 0 if self.causal else 1 - n
        far = torch.arange(lowest, n, device=query.device)
        rays = self.distance(sinusoids(far[None], self.distance.weight.shape[1])[0].to(query.dtype))
        rays = rays.unflatten(1, (-1, self.head_width))
        scores = torch.einsum("bthk,shk->bhts", query, rays) * self.head_width**-0.5
        apart = new.position[:, :, None] - entries.position[:, None, :]
        at = (apart - lowest).clamp(min=0, max=far.shape[0] - 1)
        return scores.gather(3, at[:, None].expand(-1, scores.shape[1], -1, -1))
