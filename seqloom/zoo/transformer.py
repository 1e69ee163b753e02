"""The Transformer, as an encoder or a decoder."""

from typing import ClassVar

import pydantic

from seqloom.mixers.attention import Attention
from seqloom.model.mixer import MixerSpec
from seqloom.zoo.architecture import Architecture


class Transformer(Architecture):
    """Transformer: attention with rotary positions in residual blocks; causal or not as the task needs."""

    family: ClassVar[str] = "attention"
    source: ClassVar[tuple[tuple[str, ...], ...]] = (
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
    window: int | None = pydantic.Field(default=None, gt=0)  # steps seen; None: all

    def pattern(self, causal: bool) -> tuple[MixerSpec, ...]:
        """Return the mixers, one a block."""
        return (Attention(heads=self.heads, window=self.window, causal=causal),) * self.layers
