"""The Elman recurrence."""

from typing import ClassVar, Literal

import pydantic

from seqloom.mixers._recurrent import RecurrentMixer
from seqloom.model.mixer import MixerSpec


class RNN(MixerSpec):
    """Elman network: h_t = act(W x_t + U h_{t-1} + b).

    Work O(B T H (D + H)), depth T, state B H.
    """

    family: ClassVar[str] = "recurrent"
    source: ClassVar[tuple[str, ...]] = (
        "elman1990",
        "Elman, J. L.",
        "Finding Structure in Time",
        "1990",
        "doi:10.1207/s15516709cog1402_1",
    )
    activation: Literal["tanh", "relu"] = "tanh"  # act
    hidden: int | None = pydantic.Field(default=None, gt=0)  # units; None: the width

    def build(self, width: int) -> RecurrentMixer:
        """Return the mixer for vectors of this width."""
        return RecurrentMixer(self.activation, width, self.hidden or width)
