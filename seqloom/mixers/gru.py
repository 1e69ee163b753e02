"""The gated recurrent unit."""

from typing import ClassVar

import pydantic

from seqloom.mixers._recurrent import RecurrentMixer
from seqloom.model.mixer import MixerSpec


class GRU(MixerSpec):
    """Gated recurrent unit: h_t = (1 - z) n + z h_{t-1}, n = tanh(W_n x + r (U_n h_{t-1} + b)).

    Work O(3 B T H (D + H)), depth T, state B H. The variant of torch and cuDNN (reset after the product).
    """

    family: ClassVar[str] = "recurrent"
    source: ClassVar[tuple[str, ...]] = (
        "cho2014",
        "Cho, K. and others",
        "Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine Translation",
        "2014",
        "arXiv:1406.1078",
    )
    hidden: int | None = pydantic.Field(default=None, gt=0)  # units; None: the width

    def build(self, width: int) -> RecurrentMixer:
        """Return the mixer for vectors of this width."""
        return RecurrentMixer("gru", width, self.hidden or width)
