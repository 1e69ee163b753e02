"""A stack of minimal GRUs."""

from typing import ClassVar

from seqloom.mixers.mingru import MinGRU
from seqloom.model.mixer import MixerSpec
from seqloom.zoo.architecture import Architecture, directed


class MinGRUStack(Architecture):
    """Minimal GRUs in residual blocks: recurrences that run as scans."""

    family: ClassVar[str] = "recurrent"

    def pattern(self, causal: bool) -> tuple[MixerSpec, ...]:
        """Return the mixers, one a block."""
        return (directed(MinGRU(), causal),) * self.layers
