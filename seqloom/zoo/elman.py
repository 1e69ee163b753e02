"""A stack of Elman networks."""

from typing import ClassVar

from seqloom.mixers.rnn import RNN
from seqloom.model.mixer import MixerSpec
from seqloom.zoo.architecture import Architecture, directed


class Elman(Architecture):
    """Elman networks in residual blocks; in both directions where the future may be seen."""

    family: ClassVar[str] = "recurrent"

    def pattern(self, causal: bool) -> tuple[MixerSpec, ...]:
        """Return the mixers, one a block."""
        return (directed(RNN(), causal),) * self.layers
