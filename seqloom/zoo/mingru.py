"""A stack of minimal GRUs."""

from typing import ClassVar

from seqloom.mixers.mingru import MinGRU
from seqloom.model.mixer import MixerSpec
from seqloom.zoo.architecture import Architecture, directed


class MinGRUStack(Architecture):
    """Minimal GRUs in residual blocks: x + h(norm x), x + channel(norm x), h_t = (1 - z) h_{t-1} + z W_h x_t.

    z looks at x_t alone, so that the recurrence runs as a scan; in both directions where the future may be seen. Work
    O(B T D D) a layer, depth O(log T), state B D a layer.
    """

    family: ClassVar[str] = "recurrent"
    source: ClassVar[tuple[tuple[str, ...], ...]] = (
        (
            "feng2024",
            "Feng, L. and others",
            "Were RNNs All We Needed?",
            "2024",
            "arXiv:2410.01201",
        ),
    )

    def pattern(self, causal: bool) -> tuple[MixerSpec, ...]:
        """Return the mixers, one a block."""
        return (directed(MinGRU(), causal),) * self.layers
