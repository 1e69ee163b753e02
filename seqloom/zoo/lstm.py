"""A stack of LSTMs."""

from typing import ClassVar

from seqloom.mixers.lstm import LSTM
from seqloom.model.mixer import MixerSpec
from seqloom.zoo.architecture import Architecture, directed


class LSTMStack(Architecture):
    """LSTMs in residual blocks: x + h(norm x), x + channel(norm x), c_t = f c_{t-1} + i g, h_t = o tanh(c_t).

    In both directions where the future may be seen. Work O(B T D D) a layer, depth T, state 2 B D a layer.
    """

    family: ClassVar[str] = "recurrent"
    source: ClassVar[tuple[tuple[str, ...], ...]] = (
        (
            "hochreiter1997",
            "Hochreiter, S. and Schmidhuber, J.",
            "Long Short-Term Memory",
            "1997",
            "doi:10.1162/neco.1997.9.8.1735",
        ),
    )

    def pattern(self, causal: bool) -> tuple[MixerSpec, ...]:
        """Return the mixers, one a block."""
        return (directed(LSTM(), causal),) * self.layers
