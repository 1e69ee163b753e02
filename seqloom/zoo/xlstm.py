"""xLSTM: blocks of matrix LSTMs."""

from typing import ClassVar

import pydantic

from seqloom.mixers.mlstm import MLSTM
from seqloom.model.mixer import MixerSpec
from seqloom.zoo.architecture import Architecture, directed


class XLSTM(Architecture):
    """xLSTM of matrix memories alone, parallel over time: x + mLSTM(norm x), x + channel(norm x).

    Departs from the first source's xLSTM[1:0]: no projection up around the memory and no short convolution, but a
    channel mixer of its own (SwiGLU); nearest to xLSTM 7B, the second. Work O(B T D (D + L + K)) a layer in chunks of
    L, depth O(log T), state B D K numbers a layer whatever T.
    """

    family: ClassVar[str] = "recurrent"
    source: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("beck2024", "Beck, M. and others", "xLSTM: Extended Long Short-Term Memory", "2024", "arXiv:2405.04517"),
        (
            "beck2025",
            "Beck, M. and others",
            "xLSTM 7B: A Recurrent LLM for Fast and Efficient Inference",
            "2025",
            "arXiv:2503.13427",
        ),
    )
    heads: int = pydantic.Field(default=4, gt=0)  # memories

    def pattern(self, causal: bool) -> tuple[MixerSpec, ...]:
        """Return the mixers, one a block."""
        return (directed(MLSTM(heads=self.heads), causal),) * self.layers
