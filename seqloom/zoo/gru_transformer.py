"""GRUs feed a Transformer: the recurrence carries the order, so that attention needs no positions."""

from typing import ClassVar

import pydantic

from seqloom.mixers.attention import Attention
from seqloom.mixers.gru import GRU
from seqloom.model.mixer import MixerSpec
from seqloom.zoo.architecture import Architecture, directed


class GRUTransformer(Architecture):
    """GRU layers first, then attention without position codes: x + mixer(norm x), x + channel(norm x).

    The first source has a recurrence over a short window in every layer, here the first layers are recurrent. Work
    O(B T D (D + T)), depth T from the recurrent layers, state 2 B T D a layer of attention.
    """

    family: ClassVar[str] = "hybrid"
    source: ClassVar[tuple[tuple[str, ...], ...]] = (
        (
            "wang2019",
            "Wang, Z. and Ma, Y. and Liu, Z. and Tang, J.",
            "R-Transformer: Recurrent Neural Network Enhanced Transformer",
            "2019",
            "arXiv:1907.05572",
        ),
        ("vaswani2017", "Vaswani, A. and others", "Attention Is All You Need", "2017", "arXiv:1706.03762"),
    )
    heads: int = pydantic.Field(default=4, gt=0)  # parallel attentions
    recurrent: int = pydantic.Field(default=1, gt=0)  # blocks of the GRU; the rest is attention

    def pattern(self, causal: bool) -> tuple[MixerSpec, ...]:
        """Return the mixers, one a block."""
        attention = Attention(heads=self.heads, rotary=None, causal=causal)
        return self.staged(directed(GRU(), causal), "recurrent", attention)
