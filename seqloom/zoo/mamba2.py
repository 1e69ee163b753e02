"""Mamba-2: a stack of state space blocks and nothing else."""

from typing import ClassVar

import pydantic

from seqloom.mixers.ssd import SSD
from seqloom.model.backbone import Backbone
from seqloom.model.block import Channel
from seqloom.model.mixer import MixerSpec
from seqloom.zoo.architecture import Architecture, directed


class Mamba2(Architecture):
    """Mamba-2: x + SSD(norm x), without channel mixers: a block's own gate does their work.

    Work O(B T D (D + L + N)) a layer in chunks of L, depth O(log T), state B 2 D N numbers a layer whatever T.
    """

    family: ClassVar[str] = "recurrent"
    source: ClassVar[tuple[tuple[str, ...], ...]] = (
        (
            "dao2024",
            "Dao, T. and Gu, A.",
            "Transformers are SSMs: Generalized Models and Efficient Algorithms Through Structured State Space Duality",
            "2024",
            "arXiv:2405.21060",
        ),
    )
    channel: Channel = "none"
    heads: int = pydantic.Field(default=4, gt=0)  # each with a decay of its own
    state_size: int = pydantic.Field(default=64, gt=0)  # N

    def pattern(self, causal: bool) -> tuple[MixerSpec, ...]:
        """Return the mixers, one a block."""
        return (directed(SSD(heads=self.heads, state_size=self.state_size), causal),) * self.layers

    def backbone(self, causal: bool) -> Backbone:
        """Return the blocks; their norms are as precise as those inside."""
        return super().backbone(causal).replace(eps=1e-5)
