"""GPT-2: a causal Transformer with learnt positions."""

from typing import Any, ClassVar

import pydantic

from seqloom.mixers.attention import Attention
from seqloom.model.backbone import Backbone
from seqloom.model.block import Channel
from seqloom.model.frontend import Frontend, Tokens
from seqloom.model.head import Head, NextToken
from seqloom.model.mixer import MixerSpec
from seqloom.model.model import ModelSpec
from seqloom.zoo.architecture import Architecture


class GPT(Architecture):
    """GPT-2: x + attention(norm x), x + W_2 gelu(W_1 norm x), LayerNorm before, learnt positions, head and table tied.

    Work O(B T D (D + T)) a layer, depth O(1) in T, state 2 B T D a layer.
    """

    family: ClassVar[str] = "attention"
    source: ClassVar[tuple[tuple[str, ...], ...]] = (
        (
            "radford2019",
            "Radford, A. and others",
            "Language Models are Unsupervised Multitask Learners",
            "2019",
            "OpenAI technical report",
        ),
    )
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "small": {"width": 768, "layers": 12, "heads": 12},
        "medium": {"width": 1024, "layers": 24, "heads": 16},
        "large": {"width": 1280, "layers": 36, "heads": 20},
        "xl": {"width": 1600, "layers": 48, "heads": 25},
    }
    channel: Channel = "gelu_tanh"
    expand: float = pydantic.Field(default=4.0, gt=0)
    heads: int = pydantic.Field(default=4, gt=0)  # parallel attentions
    max_length: int = pydantic.Field(default=1024, gt=0)  # positions learnt

    def pattern(self, causal: bool) -> tuple[MixerSpec, ...]:
        """Return the mixers, one a block."""
        attention = Attention(heads=self.heads, causal=causal, rotary=None, bias=True, dropout=self.dropout)
        return (attention,) * self.layers

    def backbone(self, causal: bool) -> Backbone:
        """Return the blocks."""
        return Backbone(
            pattern=self.pattern(causal),
            channel=self.channel,
            expand=self.expand,
            dropout=self.dropout,
            norm="layer",
            eps=1e-5,
            bias=True,
        )

    def model(self, frontend: Frontend, head: Head, causal: bool, source: Frontend | None = None) -> ModelSpec:
        """Return the whole model for a task's frontend and head."""
        placed = self.dropped(frontend).replace(positions="learned", max_length=self.max_length)
        spec = super().model(placed, head, causal, placed if source == frontend else source)
        if isinstance(head, NextToken) and isinstance(frontend, Tokens) and head.vocabulary == frontend.vocabulary:
            return spec.replace(head=head.replace(tied=True))
        return spec
