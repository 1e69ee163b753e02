"""The long short-term memory."""

from typing import ClassVar

import pydantic

from seqloom.mixers._recurrent import RecurrentMixer
from seqloom.model.mixer import MixerSpec


class LSTM(MixerSpec):
    """Long short-term memory: a cell state c with input, forget and output gates.

    c_t = f c_{t-1} + i g; h_t = o tanh(c_t). Work O(4 B T H (D + H)), depth T, state 2 B H.
    """

    family: ClassVar[str] = "recurrent"
    source: ClassVar[tuple[str, ...]] = (
        "hochreiter1997",
        "Hochreiter, S. and Schmidhuber, J.",
        "Long Short-Term Memory",
        "1997",
        "doi:10.1162/neco.1997.9.8.1735",
    )
    hidden: int | None = pydantic.Field(default=None, gt=0)  # units; None: the width
    forget_bias: float = 1.0  # where the forget gate's bias begins

    def build(self, width: int) -> RecurrentMixer:
        """Return the mixer for vectors of this width."""
        return RecurrentMixer("lstm", width, self.hidden or width, forget_bias=self.forget_bias)
