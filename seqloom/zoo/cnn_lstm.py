"""Convolutions feed LSTMs: for images read in rows, speech and other signals."""

from typing import ClassVar

import pydantic

from seqloom.mixers.conv import Conv
from seqloom.mixers.lstm import LSTM
from seqloom.model.mixer import MixerSpec
from seqloom.zoo.architecture import Architecture, directed


class CNNLSTM(Architecture):
    """Gated convolutions gather what is near, then LSTMs what is far: x + mixer(norm x), x + channel(norm x).

    A task's patches shorten time before. The source convolves over time and frequency, here each channel over time.
    Work O(B T D D) a layer, depth O(1) of convolutions and T of LSTMs, state B (k - 1) D and 2 B D.
    """

    family: ClassVar[str] = "hybrid"
    source: ClassVar[tuple[tuple[str, ...], ...]] = (
        (
            "sainath2015",
            "Sainath, T. N. and others",
            "Convolutional, Long Short-Term Memory, Fully Connected Deep Neural Networks",
            "2015",
            "doi:10.1109/ICASSP.2015.7178838",
        ),
    )
    convolutions: int = pydantic.Field(default=1, gt=0)  # blocks of convolutions, the first ones
    kernel: int = pydantic.Field(default=5, gt=0)  # steps each sees, in each direction it may look

    def pattern(self, causal: bool) -> tuple[MixerSpec, ...]:
        """Return the mixers, one a block."""
        near = directed(Conv(kernel=self.kernel), causal)
        return self.staged(near, "convolutions", directed(LSTM(), causal))
