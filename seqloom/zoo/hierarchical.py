"""The hierarchical attention network: words to sentences to a document."""

from typing import ClassVar

import pydantic

from seqloom.mixers.hierarchical import Hierarchical as Levels
from seqloom.model.mixer import MixerSpec
from seqloom.zoo.architecture import Architecture


class Hierarchical(Architecture):
    """A recurrence within pieces of a document, attention that sums each piece up, and a recurrence over the pieces.

    Depth is that of one piece and of the number of pieces, size + T / size, instead of T.
    """

    family: ClassVar[str] = "hybrid"
    needs: ClassVar[str] = "future"
    source: ClassVar[tuple[tuple[str, ...], ...]] = (
        (
            "yang2016",
            "Yang, Z. and others",
            "Hierarchical Attention Networks for Document Classification",
            "2016",
            "doi:10.18653/v1/N16-1174",
        ),
    )
    layers: int = pydantic.Field(default=1, gt=0)
    size: int = pydantic.Field(default=16, gt=0)  # steps of a piece, its "sentence"

    def pattern(self, causal: bool) -> tuple[MixerSpec, ...]:
        """Return the mixers, one a block."""
        return (Levels(size=self.size),) * self.layers
