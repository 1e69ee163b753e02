"""A stack of GRUs."""

from typing import ClassVar

from seqloom.mixers.gru import GRU
from seqloom.model.mixer import MixerSpec
from seqloom.zoo.architecture import Architecture, directed


class GRUStack(Architecture):
    """GRUs in residual blocks: x + h(norm x), x + channel(norm x), h_t = (1 - z) n + z h_{t-1}.

    In both directions where the future may be seen. Work O(B T D D) a layer, depth T, state B D a layer.
    """

    family: ClassVar[str] = "recurrent"
    source: ClassVar[tuple[tuple[str, ...], ...]] = (
        (
            "cho2014",
            "Cho, K. and others",
            "Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine Translation",
            "2014",
            "arXiv:1406.1078",
        ),
    )

    def pattern(self, causal: bool) -> tuple[MixerSpec, ...]:
        """Return the mixers, one a block."""
        return (directed(GRU(), causal),) * self.layers
