"""A hybrid: recurrent layers feed attention."""

from typing import ClassVar

import pydantic

from seqloom.mixers.attention import Attention
from seqloom.mixers.gru import GRU
from seqloom.model.mixer import MixerSpec
from seqloom.zoo.architecture import Architecture, directed


class Hybrid(Architecture):
    """GRU and attention in turn, the recurrence first: it gives attention its order, attention gives it recall."""

    family: ClassVar[str] = "hybrid"
    heads: int = pydantic.Field(default=4, gt=0)  # parallel attentions
    window: int | None = pydantic.Field(default=None, gt=0)  # steps attention sees; None: all

    def pattern(self, causal: bool) -> tuple[MixerSpec, ...]:
        """Return the mixers, one a block."""
        pair = (directed(GRU(), causal), Attention(heads=self.heads, window=self.window, causal=causal))
        return (pair * self.layers)[: self.layers]
