"""A hybrid: recurrent layers feed attention."""

from typing import ClassVar

import pydantic

from seqloom.mixers.attention import Attention
from seqloom.mixers.gru import GRU
from seqloom.model.mixer import MixerSpec
from seqloom.zoo.architecture import Architecture, directed


class Hybrid(Architecture):
    """GRU and attention in turn, each in residual blocks: x + mixer(norm x), x + channel(norm x).

    The recurrence first: it gives attention its order, attention gives it recall. The sources are of the parts; the
    pattern is ours. Work O(B T D (D + T)) a layer, depth T, state B D a layer of GRU and 2 B T D of attention.
    """

    family: ClassVar[str] = "hybrid"
    source: ClassVar[tuple[tuple[str, ...], ...]] = (
        (
            "de2024",
            "De, S. and others",
            "Griffin: Mixing Gated Linear Recurrences with Local Attention for Efficient Language Models",
            "2024",
            "arXiv:2402.19427",
        ),
        (
            "cho2014",
            "Cho, K. and others",
            "Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine Translation",
            "2014",
            "arXiv:1406.1078",
        ),
        (
            "vaswani2017",
            "Vaswani, A. and others",
            "Attention Is All You Need",
            "2017",
            "arXiv:1706.03762",
        ),
        (
            "su2021",
            "Su, J. and others",
            "RoFormer: Enhanced Transformer with Rotary Position Embedding",
            "2021",
            "arXiv:2104.09864",
        ),
    )
    heads: int = pydantic.Field(default=4, gt=0)  # parallel attentions
    window: int | None = pydantic.Field(default=None, gt=0)  # steps attention sees; None: all

    def pattern(self, causal: bool) -> tuple[MixerSpec, ...]:
        """Return the mixers, one a block."""
        pair = (directed(GRU(), causal), Attention(heads=self.heads, window=self.window, causal=causal))
        return (pair * self.layers)[: self.layers]
