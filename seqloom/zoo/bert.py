"""BERT: a Transformer encoder that learns from masked tokens."""

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


class BERT(Architecture):
    """BERT: norm(x + attention(x)), norm(x + W_2 gelu(W_1 x)), learnt positions, a head for masked tokens, tied.

    Work O(B T D (D + T)) a layer, depth O(1) in T; it sees the future, so that it answers all at once or not at all.
    """

    family: ClassVar[str] = "attention"
    needs: ClassVar[str] = "future"
    source: ClassVar[tuple[tuple[str, ...], ...]] = (
        (
            "devlin2018",
            "Devlin, J. and others",
            "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding",
            "2018",
            "arXiv:1810.04805",
        ),
    )
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "base": {"width": 768, "layers": 12, "heads": 12},
        "large": {"width": 1024, "layers": 24, "heads": 16},
    }
    channel: Channel = "gelu"
    expand: float = pydantic.Field(default=4.0, gt=0)
    heads: int = pydantic.Field(default=4, gt=0)  # parallel attentions
    max_length: int = pydantic.Field(default=512, gt=0)  # positions learnt

    def pattern(self, causal: bool) -> tuple[MixerSpec, ...]:
        """Return the mixers, one a block."""
        attention = Attention(heads=self.heads, causal=False, rotary=None, bias=True, dropout=self.dropout)
        return (attention,) * self.layers

    def backbone(self, causal: bool) -> Backbone:
        """Return the blocks."""
        return Backbone(
            pattern=self.pattern(causal),
            channel=self.channel,
            expand=self.expand,
            dropout=self.dropout,
            norm="layer",
            placement="post",
            eps=1e-12,
            bias=True,
        )

    def model(self, frontend: Frontend, head: Head, causal: bool, source: Frontend | None = None) -> ModelSpec:
        """Return the whole model for a task's frontend and head."""
        placed = self.dropped(frontend).replace(positions="learned", max_length=self.max_length)
        if isinstance(placed, Tokens):
            placed = placed.replace(kinds=2, norm=True)
        spec = super().model(placed, head, causal, placed if source == frontend else source)
        if isinstance(head, NextToken) and isinstance(frontend, Tokens) and head.vocabulary == frontend.vocabulary:
            return spec.replace(head=head.replace(tied=True, bias=True, transform=True))
        return spec
