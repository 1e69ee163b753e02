"""Frontends: from what a task hands out to vectors (B, T, D), zero at padding."""

from typing import Annotated, Literal

import pydantic
import torch
from torch import Tensor, nn

from seqloom.core.cost import Cost
from seqloom.core.spec import Spec
from seqloom.core.types import Where
from seqloom.model.frontend_frames import Frames
from seqloom.model.frontend_words import Words
from seqloom.model.positions import PositionKind, Positions
from seqloom.ops.linear import Linear


class Tokens(Spec):
    """Token numbers (B, T) to learnt vectors, and what is added to them: positions, and BERT's kinds."""

    kind: Literal["tokens"] = "tokens"
    vocabulary: int = pydantic.Field(default=256, gt=0)
    dropout: float = pydantic.Field(default=0.0, ge=0, lt=1)  # on the sum
    positions: PositionKind = "none"  # added to the vectors; rotary positions and kin are attention's
    max_length: int = pydantic.Field(default=512, gt=0)  # of a document, with learnt positions
    kinds: int = pydantic.Field(default=0, ge=0)  # kinds of sentences, the first of which is added; 0: none
    norm: bool = False  # LayerNorm of the sum
    eps: float = pydantic.Field(default=1e-12, gt=0)  # of that norm
    scale: bool = False  # vectors times sqrt(D), as in the first Transformer

    def build(self, width: int) -> "TokensFrontend":
        """Return the module."""
        return TokensFrontend(self, width)


class Values(Spec):
    """Vectors of values (B, T, C) to (B, T, D) by a linear map."""

    kind: Literal["values"] = "values"
    channels: int = pydantic.Field(default=1, gt=0)
    dropout: float = pydantic.Field(default=0.0, ge=0, lt=1)  # on the sum
    positions: PositionKind = "none"  # added to the vectors
    max_length: int = pydantic.Field(default=512, gt=0)  # steps of a document, with learnt positions

    def build(self, width: int) -> "ValuesFrontend":
        """Return the module."""
        return ValuesFrontend(self, 1, width)


class Patches(Spec):
    """Stretches of `size` steps of values (B, T, C) to (B, T / size, D): shortens time before anything mixes along it.

    T must be a multiple of `size`, and so must the first step of each document.
    """

    kind: Literal["patches"] = "patches"
    channels: int = pydantic.Field(default=1, gt=0)
    size: int = pydantic.Field(default=8, gt=0)
    dropout: float = pydantic.Field(default=0.0, ge=0, lt=1)  # on the sum
    positions: PositionKind = "none"  # added to the vectors
    max_length: int = pydantic.Field(default=512, gt=0)  # patches of a document, with learnt positions

    def build(self, width: int) -> "ValuesFrontend":
        """Return the module."""
        return ValuesFrontend(self, self.size, width)


Frontend = Annotated[Tokens | Values | Patches | Words | Frames, pydantic.Field(discriminator="kind")]


class TokensFrontend(nn.Module):
    """Look token vectors up."""

    def __init__(self, spec: Tokens, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(spec.vocabulary, width)
        # small beside what training adds: a rare token's noise must not drown the frequent ones
        nn.init.normal_(self.embedding.weight, std=0.1)
        self.positions = Positions(spec.positions, width, spec.max_length)
        self.kinds = nn.Parameter(torch.zeros(spec.kinds, width)) if spec.kinds else None
        self.norm = nn.LayerNorm(width, eps=spec.eps) if spec.norm else None
        self.factor = width**0.5 if spec.scale else 1.0
        self.dropout = nn.Dropout(spec.dropout)

    def forward(self, inputs: Tensor, segment: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Map (B, T) int64 to (B, T, D)."""
        x = self.embedding(inputs)
        x = x * self.factor if self.factor != 1 else x
        return (x if segment is None else x * (segment != 0)[..., None]), segment

    def place(self, x: Tensor, where: Where | None) -> Tensor:
        """Add to (B, T, D) what depends on the place of each step."""
        x = self.positions(x, where)
        if self.kinds is not None:
            x = x + self.kinds[0]
        if self.norm is not None:
            x = self.norm(x)
        x = self.dropout(x)
        if where is None or (self.kinds is None and self.norm is None):
            return x
        return torch.where(where.real[..., None], x, 0.0)

    def cost(self, batch: int, length: int) -> Cost:
        """Return the cost of (B, T) steps: nothing, vectors are looked up."""
        return Cost()


class ValuesFrontend(nn.Module):
    """Project values, one step or one patch of steps at a time."""

    def __init__(self, spec: Values | Patches, size: int, width: int) -> None:
        super().__init__()
        self.size = size
        self.positions = None if spec.positions == "none" else Positions(spec.positions, width, spec.max_length)
        self.project = Linear(spec.channels * size, width)
        self.dropout = nn.Dropout(spec.dropout)

    def forward(self, inputs: Tensor, segment: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Map (B, T, C) to (B, T / size, D), and the segment alike.

        Raises:
            ValueError: T is no multiple of the patch size.
        """
        if self.size > 1:
            if inputs.shape[1] % self.size:
                raise ValueError(
                    f"{inputs.shape[1]} steps do not divide into patches of {self.size}: pad to a multiple, segment 0"
                )
            if segment is not None:
                # values at padding inside a patch count as zeros; a patch belongs to its last real document
                inputs = torch.where((segment != 0)[..., None], inputs, 0.0)
                segment = _last_real(segment.unflatten(1, (-1, self.size)))
            inputs = inputs.unflatten(1, (-1, self.size)).flatten(2)
        if segment is None:
            return self._projected(inputs), None
        # whatever the padding holds, also NaN, stays out
        real = (segment != 0)[..., None]
        return torch.where(real, self._projected(torch.where(real, inputs, 0.0)), 0.0), segment

    def place(self, x: Tensor, where: Where | None) -> Tensor:
        """Add to (B, T, D) what depends on the place of each step."""
        return self.dropout(x if self.positions is None else self.positions(x, where))

    def cost(self, batch: int, length: int) -> Cost:
        """Return the cost of (B, T) steps of the backbone."""
        weight = self.project.weight
        return Cost(flops=2 * batch * length * weight.numel(), bytes=weight.numel() * weight.element_size(), depth=1)

    def _projected(self, inputs: Tensor) -> Tensor:
        # what blocks add to keeps the parameters' precision, also under autocast
        return self.project(inputs).to(self.project.weight.dtype)


def _last_real(ids: Tensor) -> Tensor:
    """Return the last id that is not 0 of each patch, from (B, T / size, size); 0 for a patch of padding."""
    steps = torch.arange(1, ids.shape[2] + 1, device=ids.device)
    last = torch.where(ids != 0, steps, 0).amax(dim=2, keepdim=True)
    return ids.gather(2, (last - 1).clamp(min=0)).squeeze(2)
