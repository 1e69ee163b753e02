"""The vision Transformer: patches of an image, or of any signal, as the steps of an encoder."""

from typing import Any, ClassVar

import pydantic

from seqloom.mixers.attention import Attention
from seqloom.model.backbone import Backbone
from seqloom.model.block import Channel
from seqloom.model.frontend import Frontend
from seqloom.model.head import Head
from seqloom.model.mixer import MixerSpec
from seqloom.model.model import ModelSpec
from seqloom.zoo.architecture import Architecture


class ViT(Architecture):
    """ViT: x + attention(norm x), x + W_2 gelu(W_1 norm x) over patches, or a task's steps, with learnt positions.

    Departs from the source: no class token, the head pools over the patches. Work O(B T D (D + T)) a layer, depth O(1)
    in T.
    """

    family: ClassVar[str] = "attention"
    needs: ClassVar[str] = "future"
    source: ClassVar[tuple[tuple[str, ...], ...]] = (
        (
            "dosovitskiy2020",
            "Dosovitskiy, A. and others",
            "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale",
            "2020",
            "arXiv:2010.11929",
        ),
    )
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "base": {"width": 768, "layers": 12, "heads": 12},
        "large": {"width": 1024, "layers": 24, "heads": 16},
    }
    channel: Channel = "gelu"
    expand: float = pydantic.Field(default=4.0, gt=0)
    heads: int = pydantic.Field(default=4, gt=0)  # parallel attentions
    max_length: int = pydantic.Field(default=1024, gt=0)  # positions learnt

    def pattern(self, causal: bool) -> tuple[MixerSpec, ...]:
        """Return the mixers, one a block."""
        return (Attention(heads=self.heads, causal=False, rotary=None, bias=True),) * self.layers

    def backbone(self, causal: bool) -> Backbone:
        """Return the blocks."""
        return Backbone(
            pattern=self.pattern(causal),
            channel=self.channel,
            expand=self.expand,
            dropout=self.dropout,
            norm="layer",
            bias=True,
        )

    def model(self, frontend: Frontend, head: Head, causal: bool, source: Frontend | None = None) -> ModelSpec:
        """Return the whole model for a task's frontend and head."""
        placed = self.dropped(frontend).replace(positions="learned", max_length=self.max_length)
        return super().model(placed, head, causal, placed if source == frontend else source)
