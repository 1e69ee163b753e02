"""What named models have in common, and how they are brought to equal size."""

from typing import ClassVar

import pydantic
import torch

from seqloom.core.spec import Spec
from seqloom.mixers.bidirectional import Bidirectional
from seqloom.model.backbone import Backbone
from seqloom.model.block import Channel
from seqloom.model.frontend import Frontend
from seqloom.model.head import Head
from seqloom.model.mixer import MixerSpec
from seqloom.model.model import Model, ModelSpec

WIDTH_UNIT = 8  # widths are multiples of this: whole vectors, and heads of whole pairs


class Architecture(Spec):
    """A named model without its frontend and head; `pattern` says which mixers it stacks."""

    folder: ClassVar[str | None] = "zoo"
    family: ClassVar[str] = "recurrent"
    width: int = pydantic.Field(default=128, gt=0)  # of the vectors between blocks
    layers: int = pydantic.Field(default=2, gt=0)  # blocks
    channel: Channel = "swiglu"  # mixer along channels in each block
    expand: float = pydantic.Field(default=2.0, gt=0)  # its inner width / width
    dropout: float = pydantic.Field(default=0.0, ge=0, lt=1)  # on what each block adds

    def pattern(self, causal: bool) -> tuple[MixerSpec, ...]:
        """Return the mixers, one a block; they may see the future unless `causal`."""
        raise TypeError(f"{type(self).__name__} has no pattern")

    def model(self, frontend: Frontend, head: Head, causal: bool) -> ModelSpec:
        """Return the whole model for a task's frontend and head."""
        backbone = Backbone(
            pattern=self.pattern(causal), channel=self.channel, expand=self.expand, dropout=self.dropout
        )
        return ModelSpec(frontend=frontend, backbone=backbone, head=head, width=self.width)


def count_parameters(spec: ModelSpec, embeddings: bool = True) -> int:
    """Return the number of parameters without making them; `embeddings=False` leaves the token table out."""
    with torch.device("meta"):
        model = Model(spec)
    table = spec.frontend.vocabulary * spec.width if spec.frontend.kind == "tokens" and not embeddings else 0
    return model.n_parameters - table


def fit_width(
    architecture: Architecture, frontend: Frontend, head: Head, causal: bool, parameters: int
) -> Architecture:
    """Return the architecture at the width, and then the `expand`, whose parameter count is nearest to `parameters`.

    The token table is left out: it is a look-up that costs no products. The width is a multiple of WIDTH_UNIT; what
    that leaves over is made up by the inner width of the channel mixers, so that counts agree within a few per mille.

    Raises:
        ValueError: even the smallest width has more than twice that many parameters.
    """

    def count(units: int) -> int:
        candidate = architecture.replace(width=units * WIDTH_UNIT)
        return count_parameters(candidate.model(frontend, head, causal), embeddings=False)

    low, high = 1, 2
    while count(high) < parameters:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) < parameters else (low, middle)
    best = min((low, high), key=lambda units: abs(count(units) - parameters))
    if count(best) > 2 * parameters:
        raise ValueError(
            f"{architecture.name()} has {count(best)} parameters at its smallest width {best * WIDTH_UNIT}, "
            f"more than twice the {parameters} asked for: take fewer layers or more parameters"
        )
    fitted = architecture.replace(width=best * WIDTH_UNIT)
    if fitted.channel == "none":
        return fitted
    wider = fitted.replace(expand=fitted.expand + 1 / fitted.width)  # one more inner unit in each block
    step = count_parameters(wider.model(frontend, head, causal)) - count_parameters(
        fitted.model(frontend, head, causal)
    )
    inner = round(fitted.expand * fitted.width) + round((parameters - count(best)) / max(step, 1))
    return fitted.replace(expand=max(inner, 1) / fitted.width)


def directed(mixer: MixerSpec, causal: bool) -> MixerSpec:
    """Return the mixer itself, or in both directions where the future may be seen."""
    if causal:
        return mixer
    return Bidirectional(mixer=mixer)
