"""The Transformer: encoder and decoder as published, or one of them for tasks without a source."""

from typing import Any, ClassVar

import pydantic

from seqloom.mixers.attention import Attention
from seqloom.mixers.cross import Cross
from seqloom.model.backbone import Backbone
from seqloom.model.block import Channel
from seqloom.model.frontend import Frontend, Tokens
from seqloom.model.head import Head, NextToken
from seqloom.model.mixer import MixerSpec
from seqloom.model.model import Encoder, ModelSpec
from seqloom.zoo.architecture import Architecture


class Transformer(Architecture):
    """Transformer: encoder and decoder of 2017, norm(x + attention(x)), from `build`; on a task, one stack of today's.

    Two architectures. `build` gives the first (`standard`): it reads a source, with norms behind, sines for positions,
    ReLU, one table for source, target and head; for text alone take gpt. A task gets the second (`model`): one stack,
    causal as the task needs, or an encoder and a decoder where the task has a source: x + attention(norm x),
    x + channel(norm x), rotary positions, SwiGLU. Work O(B T D (D + T)) a layer, depth O(1) in T, state 2 B T D a
    layer.
    """

    family: ClassVar[str] = "attention"
    source: ClassVar[tuple[tuple[str, ...], ...]] = (
        (
            "vaswani2017",
            "Vaswani, A. and others",
            "Attention Is All You Need",
            "2017",
            "arXiv:1706.03762",
        ),
        (
            "su2021",
            "Su, J. and others",
            "RoFormer: Enhanced Transformer with Rotary Position Embedding",
            "2021",
            "arXiv:2104.09864",
        ),
    )
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "small": {"width": 256, "layers": 4, "heads": 4, "expand": 4.0},
        "base": {"width": 512, "layers": 6, "heads": 8, "expand": 4.0},
        "big": {"width": 1024, "layers": 6, "heads": 16, "expand": 4.0},
    }
    channel: Channel | None = None  # mixer along channels; None: relu as published, swiglu in a task's stack
    heads: int = pydantic.Field(default=4, gt=0)  # parallel attentions
    window: int | None = pydantic.Field(default=None, gt=0)  # steps seen; None: all

    def pattern(self, causal: bool) -> tuple[MixerSpec, ...]:
        """Return the mixers, one a block."""
        return (Attention(heads=self.heads, window=self.window, causal=causal),) * self.layers

    def backbone(self, causal: bool) -> Backbone:
        """Return the blocks of a task's stack."""
        channel = self.channel or "swiglu"
        return Backbone(pattern=self.pattern(causal), channel=channel, expand=self.expand, dropout=self.dropout)

    def model(self, frontend: Frontend, head: Head, causal: bool, source: Frontend | None = None) -> ModelSpec:
        """Return a task's stack; with a source an encoder that reads it and a decoder, both of today's blocks."""
        if source is None:
            return super().model(frontend, head, causal)
        channel = self.channel or "swiglu"
        blocks = {"channel": channel, "expand": self.expand, "dropout": self.dropout}
        writing = (Attention(heads=self.heads, window=self.window), Cross(heads=self.heads))
        writer = Backbone(pattern=writing * self.layers, joined=True, **blocks)
        reader = Backbone(pattern=self.pattern(causal=False), **blocks)
        return self.reading(self.dropped(frontend), head, self.dropped(source), reader, writer)

    def standard(self, vocabulary: int) -> ModelSpec:
        """Return encoder and decoder of 2017 between texts of one vocabulary."""
        heads, past = self.heads, {"rotary": None, "bias": True}
        reading = Attention(heads=heads, causal=False, window=self.window, **past)
        writing = (Attention(heads=heads, window=self.window, **past), Cross(heads=heads, bias=True))
        return ModelSpec(
            frontend=Tokens(vocabulary=vocabulary, positions="sinusoidal", scale=True, dropout=self.dropout),
            backbone=self._published(writing * self.layers),
            head=NextToken(vocabulary=vocabulary, tied=True),
            width=self.width,
            encoder=Encoder(backbone=self._published((reading,) * self.layers)),
        )

    def _published(self, pattern: tuple[MixerSpec, ...]) -> Backbone:
        return Backbone(
            pattern=pattern,
            channel=self.channel or "relu",
            expand=self.expand,
            dropout=self.dropout,
            norm="layer",
            placement="post",
            eps=1e-5,
            bias=True,
            joined=True,
        )
