"""Linear attention: the softmax replaced by a product of features, so that a sum of outer products is all its state."""

from typing import ClassVar

import pydantic
import torch
import torch.nn.functional as F
from torch import Tensor

from seqloom.core.cost import Cost
from seqloom.core.types import FRESH, State, Where
from seqloom.mixers._terms import silenced, starts
from seqloom.model.mixer import Cut, MixerSpec, SequenceMixer
from seqloom.ops.associative import associative, product_flops, stretch
from seqloom.ops.linear import Linear


class LinearAttention(MixerSpec):
    """Linear attention: y_t = f(q_t) S_t / f(q_t) n_t, S_t = sum_s f(k_s) v_s^T, n_t = sum_s f(k_s), f = elu + 1.

    In chunks of L: work O(B T H (L + K) V), depth O(log T), state B H K (V + 1) numbers.
    """

    family: ClassVar[str] = "attention"
    source: ClassVar[tuple[str, ...]] = (
        "katharopoulos2020",
        "Katharopoulos, A. and Vyas, A. and Pappas, N. and Fleuret, F.",
        "Transformers are RNNs: Fast Autoregressive Transformers with Linear Attention",
        "2020",
        "arXiv:2006.16236",
    )
    heads: int = pydantic.Field(default=4, gt=0)  # parallel attentions
    chunk: int = pydantic.Field(default=64, gt=0)  # steps treated at once

    def build(self, width: int) -> "LinearAttentionMixer":
        """Return the mixer for vectors of this width.

        Raises:
            ValueError: heads do not divide the width.
        """
        if width % self.heads:
            raise ValueError(f"LinearAttention(heads={self.heads}) needs a width that is a multiple of it, got {width}")
        return LinearAttentionMixer(self, width)


class LinearAttentionMixer(SequenceMixer):
    """The module. The state is (S,), (B, H, K, 1, V + 1), the last column n."""

    carry = "fold"

    def __init__(self, spec: LinearAttention, width: int) -> None:
        super().__init__()
        self.head_width, self.chunk = width // spec.heads, spec.chunk
        self.split = {
            "enter.weight": Cut(0, parts=3, each=self.head_width),
            "out.weight": Cut(1),
            "out.bias": "once",
        }
        self.enter = Linear(width, 3 * width, bias=False)  # q | k | v
        self.out = Linear(width, width)

    def forward(self, x: Tensor, state: State | None = None, where: Where | None = None) -> tuple[Tensor, State | None]:
        """Mix along time under the contract."""
        q, key, value = self._entries(x, where)
        before = state[0] if state else None
        answer, s = associative(features(q), key, value, None, starts(where), before, state is not None, self.chunk)
        total = answer[..., -1:]
        # at padding in front nothing has been seen; the slope of 1 / total must be finite, too
        y = answer[..., :-1] / torch.where(total < torch.finfo(total.dtype).tiny, 1.0, total)
        return self.out(y.flatten(2)), None if state is None else (s,)

    def summary(self, x: Tensor, where: Where | None = None, before: State = FRESH) -> State:
        """Return (whether what was before is kept, what the steps after the last begin of a document add)."""
        _, key, value = self._entries(x, where)
        return stretch(key, value, None, starts(where))

    def advance(self, state: State, summary: State) -> State:
        """Return keeps * S + what is added."""
        keeps, added = summary
        return (keeps * state[0] + added,) if state else (added,)

    def _entries(self, x: Tensor, where: Where | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries (B, T, H, K), features of keys (B, T, H, K) and values with a one behind (B, T, H, V + 1)."""
        q, k, v = self.enter(x).unflatten(2, (3, -1, self.head_width)).unbind(2)
        key, v = silenced(where, features(k), v)
        return q, key, torch.cat([v, torch.ones_like(v[..., :1])], dim=-1)

    def cost(self, batch: int, length: int) -> Cost:
        """Return the cost of the products, those inside chunks and between them among them."""
        weights = self.enter.weight.numel() + self.out.weight.numel()
        width, size = self.out.weight.shape[1], self.out.weight.element_size()
        heads, inner = width // self.head_width, self.head_width
        return Cost(
            flops=2 * batch * length * weights
            + product_flops(batch, length, heads, heads, inner, inner + 1, self.chunk),
            bytes=size * (weights + 6 * batch * length * width),
            state_bytes=batch * heads * inner * (inner + 1) * max(size, 4),
            depth=3 + max(-(-length // self.chunk) - 1, 0).bit_length(),
        )


def features(x: Tensor) -> Tensor:
    """Return elu(x) + 1, which is e^x below 0, without the cancellation of that sum."""
    return F.relu(x) + x.clamp(max=0.0).exp()
