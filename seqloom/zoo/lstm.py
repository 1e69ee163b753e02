"""A stack of LSTMs."""

from typing import ClassVar

from seqloom.mixers.lstm import LSTM
from seqloom.model.mixer import MixerSpec
from seqloom.zoo.architecture import Architecture, directed


class LSTMStack(Architecture):
    """LSTMs in residual blocks; in both directions where the future may be seen."""

    family: ClassVar[str] = "recurrent"

    def pattern(self, causal: bool) -> tuple[MixerSpec, ...]:
        """Return the mixers, one a block."""
        return (directed(LSTM(), causal),) * self.layers
