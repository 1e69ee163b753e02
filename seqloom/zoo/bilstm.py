"""A stack of LSTMs in both directions."""

from typing import ClassVar

from seqloom.mixers.bidirectional import Bidirectional
from seqloom.mixers.lstm import LSTM
from seqloom.model.mixer import MixerSpec
from seqloom.zoo.architecture import Architecture


class BiLSTM(Architecture):
    """LSTMs ahead and back in time in residual blocks: x + ahead(norm x) + back(norm x), x + channel(norm x).

    Each direction has a last map of its own; it reads the whole before it answers. Work O(B T D D) a layer, depth T,
    both directions at once.
    """

    family: ClassVar[str] = "recurrent"
    needs: ClassVar[str] = "future"
    source: ClassVar[tuple[tuple[str, ...], ...]] = (
        (
            "schuster1997",
            "Schuster, M. and Paliwal, K. K.",
            "Bidirectional Recurrent Neural Networks",
            "1997",
            "doi:10.1109/78.650093",
        ),
    )

    def pattern(self, causal: bool) -> tuple[MixerSpec, ...]:
        """Return the mixers, one a block."""
        return (Bidirectional(mixer=LSTM()),) * self.layers
