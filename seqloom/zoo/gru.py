"""A stack of GRUs."""

from typing import ClassVar

from seqloom.mixers.gru import GRU
from seqloom.model.mixer import MixerSpec
from seqloom.zoo.architecture import Architecture, directed


class GRUStack(Architecture):
    """GRUs in residual blocks; in both directions where the future may be seen."""

    family: ClassVar[str] = "recurrent"

    def pattern(self, causal: bool) -> tuple[MixerSpec, ...]:
        """Return the mixers, one a block."""
        return (directed(GRU(), causal),) * self.layers
