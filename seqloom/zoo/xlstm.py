"""xLSTM: blocks of matrix LSTMs."""

from typing import ClassVar

import pydantic

from seqloom.mixers.mlstm import MLSTM
from seqloom.model.mixer import MixerSpec
from seqloom.zoo.architecture import Architecture, directed


class XLSTM(Architecture):
    """xLSTM[1:0]: x + mLSTM(norm x), x + channel(norm x): the variant of matrix memories alone, parallel over time.

    Work O(B T D (D + L + K)) a layer in chunks of L, depth O(log T), state B D K numbers a layer whatever T.
    """

    family: ClassVar[str] = "recurrent"
    source: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("beck2024", "Beck, M. and others", "xLSTM: Extended Long Short-Term Memory", "2024", "arXiv:2405.04517"),
    )
    heads: int = pydantic.Field(default=4, gt=0)  # memories

    def pattern(self, causal: bool) -> tuple[MixerSpec, ...]:
        """Return the mixers, one a block."""
        return (directed(MLSTM(heads=self.heads), causal),) * self.layers
