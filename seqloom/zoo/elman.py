"""A stack of Elman networks."""

from typing import ClassVar

from seqloom.mixers.rnn import RNN
from seqloom.model.mixer import MixerSpec
from seqloom.zoo.architecture import Architecture, directed


class Elman(Architecture):
    """Elman networks in residual blocks: x + h(norm x), x + channel(norm x), h_t = tanh(W x_t + U h_{t-1} + b).

    In both directions where the future may be seen. Work O(B T D D) a layer, depth T, state B D a layer.
    """

    family: ClassVar[str] = "recurrent"
    source: ClassVar[tuple[tuple[str, ...], ...]] = (
        (
            "elman1990",
            "Elman, J. L.",
            "Finding Structure in Time",
            "1990",
            "doi:10.1207/s15516709cog1402_1",
        ),
    )

    def pattern(self, causal: bool) -> tuple[MixerSpec, ...]:
        """Return the mixers, one a block."""
        return (directed(RNN(), causal),) * self.layers
