"""Griffin: gated linear recurrences with local attention, two to one."""

from typing import ClassVar

import pydantic

from seqloom.mixers.attention import Attention
from seqloom.mixers.rglru import RGLRU
from seqloom.model.mixer import MixerSpec
from seqloom.zoo.architecture import Architecture, directed


class Griffin(Architecture):
    """Griffin: x + mixer(norm x), x + channel(norm x), the mixers RG-LRU, RG-LRU, local attention, and again.

    Attention has one head of keys and values. Departs from the source in sizes: channel mixers are SwiGLU of inner
    width 2 D (`expand`), there GeGLU of 3 D, and the recurrence has D units, there 4 D / 3. Work O(B T D (D + W)) a
    layer, depth O(log T), state 4 B D a layer of recurrence and 2 B W K one of attention, whatever T.
    """

    family: ClassVar[str] = "hybrid"
    source: ClassVar[tuple[tuple[str, ...], ...]] = (
        (
            "de2024",
            "De, S. and others",
            "Griffin: Mixing Gated Linear Recurrences with Local Attention for Efficient Language Models",
            "2024",
            "arXiv:2402.19427",
        ),
    )
    layers: int = pydantic.Field(default=3, gt=0)
    heads: int = pydantic.Field(default=4, gt=0)  # of attention, and blocks of the recurrence's gates
    window: int = pydantic.Field(default=1024, gt=0)  # steps that attention sees

    def pattern(self, causal: bool) -> tuple[MixerSpec, ...]:
        """Return the mixers, one a block."""
        recurrent = directed(RGLRU(heads=self.heads), causal)
        local = Attention(heads=self.heads, kv_heads=1, window=self.window, causal=causal)
        return tuple(local if i % 3 == 2 else recurrent for i in range(self.layers))
