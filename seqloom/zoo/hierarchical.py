"""The hierarchical attention network: words to sentences to a document."""

from typing import ClassVar

import pydantic

from seqloom.mixers.hierarchical import Hierarchical as Levels
from seqloom.model.mixer import MixerSpec
from seqloom.zoo.architecture import Architecture


class Hierarchical(Architecture):
    """A GRU h both ways in pieces of a document, s = sum softmax(c tanh(W h)) h, a GRU over s: W_out [h_t, GRU(s)].

    Departs from the source: pieces are of `size` steps, there sentences, and attention sums up the steps of a piece,
    there the sentences of a document, too: the task's head pools. In residual blocks with a channel mixer. Work
    O(B T D D) a layer; depth is that of one piece and of the number of pieces, size + T / size, instead of T.
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
