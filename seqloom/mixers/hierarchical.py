"""Two levels of recurrence with attention between: words to sentences to a document."""

from typing import Any, ClassVar

import pydantic
import torch
from torch import Tensor

from seqloom.core.cost import Cost
from seqloom.core.types import State, Where, fresh_place, locate
from seqloom.model.mixer import MixerSpec, SequenceMixer, refuse_state
from seqloom.ops.linear import Linear

_BOTH_WAYS: Any = {"name": "bidirectional", "mixer": "gru"}


class Hierarchical(MixerSpec):
    """A mixer within pieces of `size` steps, attention that sums each piece up, and a mixer over the sums.

    h = lower(x) in each piece; a = softmax over the piece of c tanh(W h); s = sum a h; y_t = W_out [h_t, upper(s)] with
    the sum of t's own piece. Depth size + T / size for recurrences; it sees the future.
    """

    family: ClassVar[str] = "hybrid"
    source: ClassVar[tuple[str, ...]] = (
        "yang2016",
        "Yang, Z. and others",
        "Hierarchical Attention Networks for Document Classification",
        "2016",
        "doi:10.18653/v1/N16-1174",
    )
    size: int = pydantic.Field(default=16, gt=0)  # real steps of a piece
    lower: MixerSpec = pydantic.Field(default=_BOTH_WAYS)  # within a piece
    upper: MixerSpec = pydantic.Field(default=_BOTH_WAYS)  # over the pieces of a document

    def build(self, width: int) -> "HierarchicalMixer":
        """Return the mixer for vectors of this width."""
        return HierarchicalMixer(self.size, self.lower.build(width), self.upper.build(width), width)


class HierarchicalMixer(SequenceMixer):
    """The module."""

    causal = False

    def __init__(self, size: int, lower: SequenceMixer, upper: SequenceMixer, width: int) -> None:
        super().__init__()
        self.size = size
        self.lower = lower
        self.upper = upper
        self.project = Linear(width, width)  # W
        self.score = Linear(width, 1, bias=False)  # c
        self.out = Linear(2 * width, width)

    def forward(self, x: Tensor, state: State | None = None, where: Where | None = None) -> tuple[Tensor, State | None]:
        """Mix along time under the contract, without a state."""
        refuse_state(self, state)
        batch, length = x.shape[0], x.shape[1]
        if where is None:
            where, _ = locate(None, fresh_place(batch, x.device), batch, length)
        if length == 0:
            return self.out(torch.cat([x, x], dim=2)), None
        first = where.real & (where.position % self.size == 0)
        piece = (first.cumsum(dim=1) - 1).clamp(min=0)  # of each step, counted in its row
        # a compiler cannot look how many pieces there are: at most one a step
        n = length if torch.compiler.is_compiling() or not batch else int(piece.amax()) + 1
        inside, _ = locate(torch.where(where.real, piece + 1, 0), fresh_place(batch, x.device), batch, length)
        h, _ = self.lower(x, None, inside)
        sums = self._summed(h, piece, where.real, n)
        # a piece belongs to the document of its steps
        ids = torch.zeros((batch, n), dtype=torch.int64, device=x.device).scatter_reduce(1, piece, where.id, "amax")
        above, _ = locate(ids, fresh_place(batch, x.device), batch, n)
        over, _ = self.upper(sums, None, above)
        own = over.gather(1, piece[:, :, None].expand(-1, -1, x.shape[2]))
        return self.out(torch.cat([h, own], dim=2)), None

    def cost(self, batch: int, length: int) -> Cost:
        """Return the cost of both levels, one after the other."""
        pieces = -(-length // self.size)
        weights = self.project.weight.numel() + self.score.weight.numel() + self.out.weight.numel()
        cost = self.lower.cost(batch, length) + self.upper.cost(batch, pieces)
        own = Cost(flops=2 * batch * length * weights, bytes=weights * self.out.weight.element_size(), depth=3)
        shorter = self.lower.cost(batch, min(self.size, length)).depth
        total = cost + own
        return Cost(
            flops=total.flops,
            bytes=total.bytes,
            depth=shorter + self.upper.cost(batch, pieces).depth + own.depth,
        )

    def _summed(self, h: Tensor, piece: Tensor, real: Tensor, n: int) -> Tensor:
        """Return the weighted sums of the steps of each piece, (B, n, D); zeros where there is none."""
        score = self.score(self.project(h).tanh())[..., 0].to(torch.promote_types(h.dtype, torch.float32))
        score = score.masked_fill(~real, -torch.inf)
        highest = score.new_full((h.shape[0], n), -torch.inf).scatter_reduce(1, piece, score.detach(), "amax")
        weight = (score - highest.gather(1, piece)).masked_fill(~real, -torch.inf).exp()
        total = torch.zeros_like(highest).scatter_add(1, piece, weight)
        share = (weight / total.gather(1, piece).clamp(min=1e-30)).to(h.dtype)
        sums = h.new_zeros((h.shape[0], n, h.shape[2]))
        return sums.scatter_add(
            1, piece[:, :, None].expand_as(h), share[..., None] * torch.where(real[..., None], h, 0.0)
        )
