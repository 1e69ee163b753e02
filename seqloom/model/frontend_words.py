"""The frontend of words: a vector of the word, of its spelling's kind, and of its characters."""

from typing import Literal

import pydantic
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqloom.core.cost import Cost
from seqloom.core.spec import Spec
from seqloom.core.types import Where
from seqloom.model.positions import PositionKind, Positions
from seqloom.ops.linear import Linear


class Words(Spec):
    """Numbers of words (B, T, 1 + F + L) to vectors (B, T, D).

    A step holds the word's number, F small numbers about it, and L characters, 0 behind the last of a shorter word. The
    characters become one vector by a convolution and the largest value of each filter.

    Source: Ma and Hovy 2016, arXiv 1603.01354; Chiu and Nichols 2016, arXiv 1511.08308 (the small numbers).
    """

    kind: Literal["words"] = "words"
    vocabulary: int = pydantic.Field(default=256, gt=0)  # words
    width: int = pydantic.Field(default=100, gt=0)  # of a word's vector
    features: tuple[int, ...] = ()  # how many values each small number has
    feature_width: int = pydantic.Field(default=10, gt=0)  # of its vector
    characters: int = pydantic.Field(default=0, ge=0)  # how many, the 0 of none among them; 0: not read
    letters: int = pydantic.Field(default=20, gt=0)  # L at most, for the cost
    character_width: int = pydantic.Field(default=25, gt=0)  # of a character's vector
    filters: int = pydantic.Field(default=50, gt=0)  # of the convolution
    kernel: int = pydantic.Field(default=3, gt=0)  # characters that a filter sees
    dropout: float = pydantic.Field(default=0.0, ge=0, lt=1)  # on the vectors, before they are mapped to D
    positions: PositionKind = "none"  # added to what they are mapped to
    max_length: int = pydantic.Field(default=512, gt=0)  # steps of a document, with learnt positions

    def build(self, width: int) -> "WordsFrontend":
        """Return the module."""
        return WordsFrontend(self, width)


class WordsFrontend(nn.Module):
    """Look words, small numbers and characters up, and map all to one vector a step."""

    def __init__(self, spec: Words, width: int) -> None:
        super().__init__()
        self.spec = spec
        self.words = _table(spec.vocabulary, spec.width)
        self.features = nn.ModuleList(_table(values, spec.feature_width) for values in spec.features)
        self.characters = _table(spec.characters, spec.character_width) if spec.characters else None
        self.convolve = Linear(spec.kernel * spec.character_width, spec.filters) if spec.characters else None
        whole = spec.width + len(spec.features) * spec.feature_width + (spec.filters if spec.characters else 0)
        self.dropout = nn.Dropout(spec.dropout)
        self.project = Linear(whole, width)
        self.positions = Positions(spec.positions, width, spec.max_length)

    def forward(self, inputs: Tensor, segment: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Map (B, T, 1 + F + L) int64 to (B, T, D)."""
        count = 1 + len(self.features)
        parts = [self.words(inputs[..., 0])]
        parts += [table(inputs[..., 1 + i]) for i, table in enumerate(self.features)]
        if self.characters is not None:
            parts.append(self._spelling(inputs[..., count:]))
        x = self.project(self.dropout(torch.cat(parts, dim=-1))).to(self.project.weight.dtype)
        return (x if segment is None else torch.where((segment != 0)[..., None], x, 0.0)), segment

    def place(self, x: Tensor, where: Where | None) -> Tensor:
        """Add to (B, T, D) what depends on the place of each step."""
        return self.positions(x, where)

    def cost(self, batch: int, length: int) -> Cost:
        """Return the cost of (B, T) steps; look-ups count nothing."""
        cost = _products(self.project, batch * length)
        return cost if self.convolve is None else cost + _products(self.convolve, batch * length * self.spec.letters)

    def _spelling(self, characters: Tensor) -> Tensor:
        """Map characters (B, T, L) to (B, T, filters): the largest answer of each filter at any of them."""
        assert self.characters is not None and self.convolve is not None
        reach = self.spec.kernel - 1
        real = characters != 0
        x = self.characters(characters) * real[..., None]
        x = F.pad(x, (0, 0, reach // 2, reach - reach // 2))
        windows = x.unfold(2, self.spec.kernel, 1).transpose(-1, -2).flatten(-2)  # (B, T, L, kernel * width)
        found = self.convolve(windows).masked_fill(~real[..., None], -torch.inf).amax(dim=2)
        return found.masked_fill(~real.any(dim=2)[..., None], 0.0)


def _products(layer: nn.Linear, rows: int) -> Cost:
    weight = layer.weight
    return Cost(flops=2 * rows * weight.numel(), bytes=weight.numel() * weight.element_size(), depth=1)


def _table(count: int, width: int) -> nn.Embedding:
    table = nn.Embedding(count, width)
    nn.init.normal_(table.weight, std=0.1)  # as of tokens: rare words' noise must not drown the frequent ones
    return table
