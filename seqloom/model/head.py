"""Heads: from vectors (B, T, D) to answers. A head owns its loss and its scores, and says what a loss is of: its scope.

Scores are a numerator and a denominator a row, so that metrics merge over batches and ranks and can be bootstrapped.
"""

import math
from typing import Annotated, Literal

import pydantic
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqloom.core.spec import Spec
from seqloom.core.types import IGNORED
from seqloom.model.head_forecast import Forecast
from seqloom.model.head_span import Span
from seqloom.model.head_tags import Tags
from seqloom.model.head_transcript import Transcript
from seqloom.model.pooling import Scope, Scored, pooled, wide
from seqloom.ops.linear import Linear, linear


class Labels(Spec):
    """One of C classes for the whole row, from vectors pooled over time."""

    kind: Literal["labels"] = "labels"
    classes: int = pydantic.Field(default=10, gt=1)
    pool: Literal["mean", "max", "last"] = "mean"
    dropout: float = pydantic.Field(default=0.0, ge=0, lt=1)
    smoothing: float = pydantic.Field(default=0.0, ge=0, lt=1)  # label smoothing of the training loss

    def build(self, width: int) -> "LabelsHead":
        """Return the module."""
        return LabelsHead(self, width)


class NextToken(Spec):
    """One of V tokens at every step."""

    kind: Literal["next_token"] = "next_token"
    vocabulary: int = pydantic.Field(default=256, gt=0)
    unit: str = "token"  # names the metric: bits_per_<unit>
    tied: bool = False  # the frontend's token vectors are the map's rows (arXiv:1608.05859)
    bias: bool = False
    transform: bool = False  # a linear map, GELU and LayerNorm before, as in BERT
    eps: float = pydantic.Field(default=1e-12, gt=0)  # of that norm
    smoothing: float = pydantic.Field(default=0.0, ge=0, lt=1)  # label smoothing of the training loss
    dropout: float = pydantic.Field(default=0.0, ge=0, lt=1)  # on the vectors

    def build(self, width: int) -> "NextTokenHead":
        """Return the module."""
        return NextTokenHead(self, width)


class Hidden(Spec):
    """The vectors themselves, for others to work with; no loss."""

    kind: Literal["hidden"] = "hidden"
    pooler: bool = False  # keep BERT's map of the first vector: W tanh, read by `HiddenHead.pooled`

    def build(self, width: int) -> "HiddenHead":
        """Return the module."""
        return HiddenHead(self, width)


class Number(Spec):
    """One number for the whole row, from the last real vector."""

    kind: Literal["number"] = "number"

    def build(self, width: int) -> "NumberHead":
        """Return the module."""
        return NumberHead(width)


Head = Annotated[
    Labels | NextToken | Number | Hidden | Tags | Forecast | Transcript | Span, pydantic.Field(discriminator="kind")
]


class LabelsHead(nn.Module):
    """Pool, then a linear map to logits (B, C)."""

    scope: Scope = "row"

    def __init__(self, spec: Labels, width: int) -> None:
        super().__init__()
        self.spec = spec
        self.dropout = nn.Dropout(spec.dropout)
        self.project = Linear(width, spec.classes)

    def forward(self, x: Tensor, segment: Tensor | None, table: Tensor | None = None) -> Tensor:
        """Map (B, T, D) to logits (B, C)."""
        return self.project(self.dropout(pooled(x, segment, self.spec.pool)))

    def matrices(self, table: Tensor | None) -> list[Tensor]:
        """Return the matrices that a step or a row is multiplied with; `table` are the frontend's token vectors."""
        return [self.project.weight]

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean cross-entropy in nats; target (B,)."""
        return F.cross_entropy(wide(output), target, label_smoothing=self.spec.smoothing)

    def scores(self, output: Tensor, target: Tensor) -> Scored:
        """Return accuracy and loss (nats), by row."""
        ones = torch.ones_like(target, dtype=torch.float64)
        right = (output.argmax(dim=-1) == target).double()
        return {"accuracy": (right, ones), "loss": (F.cross_entropy(output.double(), target, reduction="none"), ones)}


class NextTokenHead(nn.Module):
    """A linear map to logits (B, T, V), its own or the frontend's token vectors."""

    scope: Scope = "step"

    def __init__(self, spec: NextToken, width: int) -> None:
        super().__init__()
        self.spec = spec
        self.dropout = nn.Dropout(spec.dropout)
        self.project = None if spec.tied else Linear(width, spec.vocabulary, bias=False)
        self.bias = nn.Parameter(torch.zeros(spec.vocabulary)) if spec.bias else None
        self.transform = Linear(width, width) if spec.transform else None
        self.norm = nn.LayerNorm(width, eps=spec.eps) if spec.transform else None

    def forward(self, x: Tensor, segment: Tensor | None, table: Tensor | None = None) -> Tensor:
        """Map (B, T, D) to logits (B, T, V); `table` (V, D) are the frontend's token vectors."""
        x = self.vectors(x)
        if self.project is None:
            assert table is not None
            return linear(x, table, self.bias)
        y = self.project(x)  # the module itself, which an adapter may have replaced
        return y if self.bias is None else y + self.bias

    def vectors(self, x: Tensor) -> Tensor:
        """Return what the map to logits is given, (B, T, D)."""
        x = self.dropout(x)
        if self.transform is not None and self.norm is not None:
            x = self.norm(F.gelu(self.transform(x)))
        return x

    def matrices(self, table: Tensor | None) -> list[Tensor]:
        """Return the matrices that a step is multiplied with; `table` are the frontend's token vectors."""
        weight = table if self.project is None else self.project.weight
        found = (weight, None if self.transform is None else self.transform.weight)
        return [matrix for matrix in found if matrix is not None]

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean cross-entropy in nats over the targets that are not ignored; target (B, T)."""
        return F.cross_entropy(
            wide(output).flatten(0, 1),
            target.flatten(),
            ignore_index=IGNORED,
            label_smoothing=self.spec.smoothing,
        )

    def scores(self, output: Tensor, target: Tensor) -> Scored:
        """Return bits per unit and accuracy, by row, summed over the targets that are not ignored."""
        wanted = target != IGNORED
        nats = F.cross_entropy(wide(output).transpose(1, 2), target, ignore_index=IGNORED, reduction="none")
        count = wanted.sum(dim=1).double()
        right = ((output.argmax(dim=-1) == target) & wanted).sum(dim=1).double()
        bits = nats.sum(dim=1).double() / math.log(2)
        return {f"bits_per_{self.spec.unit}": (bits, count), "accuracy": (right, count)}


class NumberHead(nn.Module):
    """The last real vector to one number (B,)."""

    scope: Scope = "row"

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project = Linear(width, 1)

    def forward(self, x: Tensor, segment: Tensor | None, table: Tensor | None = None) -> Tensor:
        """Map (B, T, D) to (B,)."""
        return self.project(pooled(x, segment, "last"))[:, 0]

    def matrices(self, table: Tensor | None) -> list[Tensor]:
        """Return the matrices that a step or a row is multiplied with; `table` are the frontend's token vectors."""
        return [self.project.weight]

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean squared error; target (B,)."""
        return F.mse_loss(wide(output), wide(target))

    def scores(self, output: Tensor, target: Tensor) -> Scored:
        """Return the squared error, by row."""
        squared = (output.double() - target.double()).square()
        return {"mse": (squared, torch.ones_like(squared))}


class HiddenHead(nn.Module):
    """The vectors (B, T, D) as they are."""

    scope: Scope = "whole"

    def __init__(self, spec: Hidden, width: int) -> None:
        super().__init__()
        self.pooler = Linear(width, width) if spec.pooler else None

    def forward(self, x: Tensor, segment: Tensor | None, table: Tensor | None = None) -> Tensor:
        """Return (B, T, D)."""
        return x

    def pooled(self, x: Tensor) -> Tensor:
        """Return tanh(W x_1), (B, D), of vectors (B, T, D) whose first step is real.

        Raises:
            ValueError: the head was built without a pooler.
        """
        if self.pooler is None:
            raise ValueError("this head has no pooler: build it with Hidden(pooler=True)")
        return self.pooler(x[:, 0]).tanh()

    def matrices(self, table: Tensor | None) -> list[Tensor]:
        """Return the matrices that a step or a row is multiplied with; `table` are the frontend's token vectors."""
        return []

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Refuse: vectors have no target."""
        raise ValueError("a head of kind 'hidden' has no loss: give the model another head to train it")

    def scores(self, output: Tensor, target: Tensor) -> Scored:
        """Refuse: vectors have no target."""
        raise ValueError("a head of kind 'hidden' has no scores: give the model another head to score it")
