"""What named models have in common, how they are brought to a size, and how one is built by name."""

import math
from collections.abc import Callable
from typing import Any, ClassVar, Self

import pydantic
import torch
from torch import nn

from seqloom.core.registry import nearest
from seqloom.core.spec import Spec, resolve
from seqloom.mixers.bidirectional import Bidirectional
from seqloom.model.backbone import Backbone
from seqloom.model.block import Channel
from seqloom.model.frontend import Frontend, Tokens
from seqloom.model.head import Head, NextToken
from seqloom.model.mixer import MixerSpec
from seqloom.model.model import Encoder, Model, ModelSpec

WIDTH_UNIT = 8  # widths are multiples of this: whole vectors

# the dial: parameters, token table aside -> blocks and heads; the width follows
SIZES = {
    "1m": (1_000_000, 4, 4),
    "10m": (10_000_000, 8, 8),
    "100m": (100_000_000, 12, 12),
    "1b": (1_000_000_000, 24, 16),
}


class Architecture(Spec):
    """A named model without its frontend and head; `pattern` says which mixers it stacks."""

    folder: ClassVar[str | None] = "zoo"
    family: ClassVar[str] = "recurrent"
    needs: ClassVar[str] = ""  # "future": it cannot be causal; "source": it reads one, which tasks must bring
    presets: ClassVar[dict[str, dict[str, Any]]] = {}  # published sizes by name: settings of the fields
    width: int = pydantic.Field(default=128, gt=0)  # of the vectors between blocks
    layers: int = pydantic.Field(default=2, gt=0)  # blocks
    channel: Channel = "swiglu"  # mixer along channels in each block
    expand: float = pydantic.Field(default=2.0, gt=0)  # its inner width / width
    dropout: float = pydantic.Field(default=0.0, ge=0, lt=1)  # on what blocks add, and where the source says

    @pydantic.model_validator(mode="after")
    def _heeded(self) -> Self:
        default = type(self).__pydantic_fields__["expand"].default  # type: ignore[attr-defined]
        if self.channel == "none" and self.expand != default:
            raise ValueError(f"expand={self.expand:g} widens channel mixers, and channel='none' has none: leave it out")
        return self

    def pattern(self, causal: bool) -> tuple[MixerSpec, ...]:
        """Return the mixers, one a block; they may see the future unless `causal`."""
        raise TypeError(f"{type(self).__name__} has no pattern")

    def staged(self, first: MixerSpec, setting: str, rest: MixerSpec) -> tuple[MixerSpec, ...]:
        """Return as many of the first mixer as a setting says, and behind them the rest, one a block.

        Raises:
            ValueError: no block is left for the rest.
        """
        count = getattr(self, setting)
        if count >= self.layers:
            raise ValueError(f"layers={self.layers} leave none behind {setting}={count}: give more layers")
        return (first,) * count + (rest,) * (self.layers - count)

    def backbone(self, causal: bool) -> Backbone:
        """Return the blocks."""
        return Backbone(pattern=self.pattern(causal), channel=self.channel, expand=self.expand, dropout=self.dropout)

    def model(self, frontend: Frontend, head: Head, causal: bool, source: Frontend | None = None) -> ModelSpec:
        """Return the whole model for a task's frontend and head.

        A task's source is read in front of the inputs, as one document, unless the architecture has an encoder for it.

        Raises:
            ValueError: the task is causal and the model sees the future, the model needs a source, or it has no encoder
                for a source that is not of the same tokens as the inputs.
        """
        if source is not None and source != frontend:
            raise ValueError(
                f"{self.name()} reads source and target as one text, and here they are of different kinds: take "
                "seq2seq or transformer"
            )
        if self.needs == "source":
            raise ValueError(f"{self.name()} reads a source, and this task has none: take gru, lstm or gpt")
        if causal and self.needs == "future":
            raise ValueError(f"{self.name()} sees the future, and this task is causal: take gpt, lstm or mamba2")
        return ModelSpec(frontend=frontend, backbone=self.backbone(causal), head=head, width=self.width)

    def reading(
        self, frontend: Frontend, head: Head, source: Frontend, reader: Backbone, writer: Backbone
    ) -> ModelSpec:
        """Return an encoder-decoder; a source of the same kind as the inputs shares their frontend."""
        own = None if source == frontend else source
        return ModelSpec(
            frontend=frontend,
            backbone=writer,
            head=head,
            width=self.width,
            encoder=Encoder(frontend=own, backbone=reader),
        )

    def dropped(self, frontend: Frontend) -> Frontend:
        """Return the frontend with dropout on its sum: the model's, or its own where that is more."""
        return frontend.replace(dropout=max(frontend.dropout, self.dropout))

    def standard(self, vocabulary: int) -> ModelSpec:
        """Return the model of text with a vocabulary: causal if it can be."""
        return self.model(Tokens(vocabulary=vocabulary), NextToken(vocabulary=vocabulary), self.needs != "future")

    def sized(self, preset: str, **settings: Any) -> "Architecture":
        """Return the architecture at a published size, or at one of SIZES, by the dial of blocks and heads.

        Settings go before the preset's; the width is then fitted to the size with them, and all widths are such that
        processes can share them.

        Raises:
            ValueError: no such preset or setting, or a width beside a size that it follows from.
        """
        if preset in self.presets:
            return self.replace(**{**self.presets[preset], **settings})
        if preset not in SIZES:
            known = [*self.presets, *SIZES]
            raise ValueError(f"{self.name()} has no preset '{preset}'{nearest(str(preset), known)}")
        if "width" in settings:
            raise ValueError(f"preset='{preset}' fits the width to its size: give width or preset, not both")
        parameters, layers, heads = SIZES[preset]
        heads_too = {"heads": heads} if "heads" in self.__dataclass_fields__ else {}
        found = self.replace(**{"layers": layers, **heads_too, **settings})
        return _fitted(found, lambda found: found.standard(256), parameters, inner_unit=WIDTH_UNIT)

    def unit(self) -> int:
        """Return what widths must be a multiple of: whole vectors, and heads of whole pairs."""
        return math.lcm(WIDTH_UNIT, 2 * getattr(self, "heads", 1))


def count_parameters(spec: ModelSpec, embeddings: bool = True) -> int:
    """Return the number of parameters without making them; `embeddings=False` leaves the frontend's tables out."""
    with torch.device("meta"):
        model = Model(spec)
    tables = [part.weight.numel() for part in model.frontend.modules() if isinstance(part, nn.Embedding)]
    return model.n_parameters - (0 if embeddings else sum(tables))


def fit_width(
    architecture: Architecture,
    frontend: Frontend,
    head: Head,
    causal: bool,
    parameters: int,
    source: Frontend | None = None,
) -> Architecture:
    """Return the architecture at the width, and then the `expand`, whose parameter count is nearest to `parameters`.

    The token table is left out: it is a look-up that costs no products. The width is a multiple of its `unit`; what
    that leaves over is made up by the inner width of the channel mixers, so that counts agree within a few per mille.

    Raises:
        ValueError: even the smallest width has more than twice that many parameters.
    """
    return _fitted(architecture, lambda found: found.model(frontend, head, causal, source), parameters)


def _fitted(
    architecture: Architecture, spec: Callable[[Architecture], ModelSpec], parameters: int, inner_unit: int = 1
) -> Architecture:
    unit = architecture.unit()

    def count(units: int) -> int:
        return count_parameters(spec(architecture.replace(width=units * unit)), embeddings=False)

    low, high = 1, 2
    while count(high) < parameters:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) < parameters else (low, middle)
    best = min((low, high), key=lambda units: abs(count(units) - parameters))
    if count(best) > 2 * parameters:
        raise ValueError(
            f"{architecture.name()} has {count(best)} parameters at its smallest width {best * unit}, "
            f"more than twice the {parameters} asked for: take fewer layers or more parameters"
        )
    fitted = architecture.replace(width=best * unit)
    if fitted.channel == "none":
        return fitted
    wider = fitted.replace(expand=fitted.expand + 1 / fitted.width)  # one more inner unit in each block
    step = count_parameters(spec(wider)) - count_parameters(spec(fitted))
    inner = round(fitted.expand * fitted.width) + round((parameters - count(best)) / max(step, 1))
    return fitted.replace(expand=max(round(inner / inner_unit), 1) * inner_unit / fitted.width)


def build(name: str, preset: str | None = None, vocabulary: int = 256, seed: int = 0, **settings: Any) -> Model:
    """Return a named model of text: `build("gpt", preset="10m", vocabulary=256)`.

    Args:
        name: of the architecture, as `seqloom list models` shows.
        preset: a size, "1m", "10m", "100m", "1b" parameters without the token table, or one of its published sizes.
        vocabulary: number of tokens.
        seed: of the initial weights.
        **settings: of the Architecture's fields, over the preset's; the width is fitted to a size with them.

    Raises:
        ValueError: unknown name, preset or setting, or sizes that do not divide.
    """
    if not isinstance(name, str):
        raise ValueError(f"build needs a model's name, such as 'gpt', got {name!r}: `seqloom list models` shows them")
    if not isinstance(vocabulary, int) or vocabulary < 1:
        raise ValueError(f"vocabulary={vocabulary!r}: a model of text needs at least one token")
    architecture = resolve(Architecture, {"name": name})
    architecture = architecture.replace(**settings) if preset is None else architecture.sized(preset, **settings)
    return architecture.standard(vocabulary).build(seed)


def directed(mixer: MixerSpec, causal: bool) -> MixerSpec:
    """Return the mixer itself, or in both directions where the future may be seen."""
    if causal:
        return mixer
    return Bidirectional(mixer=mixer)
