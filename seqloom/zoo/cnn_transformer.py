"""Convolutions feed a Transformer: for images read in rows, speech and other signals."""

from typing import ClassVar

import pydantic

from seqloom.mixers.attention import Attention
from seqloom.mixers.conv import Conv
from seqloom.model.mixer import MixerSpec
from seqloom.zoo.architecture import Architecture, directed


class CNNTransformer(Architecture):
    """Gated convolutions gather what is near, then attention what is far: x + mixer(norm x), x + channel(norm x).

    A task's patches shorten time before. The source has a convolution in every block, here the first blocks are theirs.
    Work O(B T D D) a layer of convolution and O(B T D (D + T)) one of attention, depth O(1) in T, state B (k - 1) D and
    2 B T D.
    """

    family: ClassVar[str] = "hybrid"
    source: ClassVar[tuple[tuple[str, ...], ...]] = (
        (
            "gulati2020",
            "Gulati, A. and others",
            "Conformer: Convolution-augmented Transformer for Speech Recognition",
            "2020",
            "arXiv:2005.08100",
        ),
    )
    heads: int = pydantic.Field(default=4, gt=0)  # parallel attentions
    convolutions: int = pydantic.Field(default=1, gt=0)  # blocks of convolutions, the first ones
    kernel: int = pydantic.Field(default=5, gt=0)  # steps each sees, in each direction it may look

    def pattern(self, causal: bool) -> tuple[MixerSpec, ...]:
        """Return the mixers, one a block."""
        near = directed(Conv(kernel=self.kernel), causal)
        return self.staged(near, "convolutions", Attention(heads=self.heads, causal=causal))
