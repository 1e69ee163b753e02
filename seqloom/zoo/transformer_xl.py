"""Transformer-XL: attention that remembers the segments before."""

from typing import ClassVar

import pydantic

from seqloom.mixers.relative import Relative
from seqloom.model.backbone import Backbone
from seqloom.model.block import Channel
from seqloom.model.frontend import Frontend
from seqloom.model.head import Head
from seqloom.model.mixer import MixerSpec
from seqloom.model.model import ModelSpec
from seqloom.zoo.architecture import Architecture


class TransformerXL(Architecture):
    """Transformer-XL: norm(x + attention(x)), norm(x + W_2 relu(W_1 x)), relative, to `memory` steps back.

    Attention looks back exactly so far, across segments. The state is the memory of every layer, so that the context
    reaches layers x memory steps. Weights do not depend on `memory`: evaluate with a longer one than was trained with.
    Work O(B T D (D + T + M)) a layer, depth O(1) in T, state 2 B M D.
    """

    family: ClassVar[str] = "attention"
    source: ClassVar[tuple[tuple[str, ...], ...]] = (
        (
            "dai2019",
            "Dai, Z. and others",
            "Transformer-XL: Attentive Language Models beyond a Fixed-Length Context",
            "2019",
            "arXiv:1901.02860",
        ),
    )
    channel: Channel = "relu"
    expand: float = pydantic.Field(default=4.0, gt=0)
    heads: int = pydantic.Field(default=4, gt=0)  # parallel attentions
    memory: int | None = pydantic.Field(default=128, ge=0)  # steps seen besides the step itself; None: all

    def pattern(self, causal: bool) -> tuple[MixerSpec, ...]:
        """Return the mixers, one a block."""
        return (Relative(heads=self.heads, memory=self.memory, causal=causal),) * self.layers

    def backbone(self, causal: bool) -> Backbone:
        """Return the blocks."""
        return Backbone(
            pattern=self.pattern(causal),
            channel=self.channel,
            expand=self.expand,
            dropout=self.dropout,
            norm="layer",
            placement="post",
            eps=1e-5,
            bias=True,
        )

    def model(self, frontend: Frontend, head: Head, causal: bool, source: Frontend | None = None) -> ModelSpec:
        """Return the whole model for a task's frontend and head."""
        return super().model(self.dropped(frontend), head, causal, source and self.dropped(source))
