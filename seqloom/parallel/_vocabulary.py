"""Tokens in parts: each process of a tensor axis has some rows of the token vectors, and some of the logits.

Source: Shoeybi et al. 2019, arXiv 1909.08053, section 3 (the loss from sums, without the logits of others).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqloom.core.types import IGNORED
from seqloom.model.head import NextTokenHead, wide
from seqloom.model.mixer import Cut, Split
from seqloom.parallel._door import Axis, copied, summed


def in_vocabulary(model: Any, degree: int) -> Split:
    """Return the parameters of a whole model that are cut along the vocabulary: none where it does not divide."""
    head = model.head
    if not isinstance(head, NextTokenHead) or head.spec.vocabulary % degree:
        return {}
    names = ["frontend.embedding.weight" if head.project is None else "head.project.weight"]
    return {name: Cut(0) for name in [*names, *(["head.bias"] if head.bias is not None else [])]}


def cut_vocabulary(model: Any, axis: Axis) -> None:
    """Put modules that know of their part in the place of a model's token vectors and head; parameters are cut."""
    head = model.head
    split = in_vocabulary(model, axis.size)
    for name in split:
        owner, _, last = name.rpartition(".")
        place = model.get_submodule(owner)
        part = getattr(place, last).detach().chunk(axis.size)[axis.index].clone()
        setattr(place, last, nn.Parameter(part))
    if "frontend.embedding.weight" in split:
        model.frontend.embedding = TokensInParts(model.frontend.embedding.weight, axis)
    if split:
        model.head = LogitsInParts(head, axis)


class TokensInParts(nn.Module):
    """Look up token vectors of which this process has the rows from `index V / P` on."""

    def __init__(self, weight: nn.Parameter, axis: Axis) -> None:
        super().__init__()
        self.weight, self.axis = weight, axis

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (B, T) int64 to (B, T, D), the same on all of the axis."""
        at, here = _here(inputs, len(self.weight), self.axis)
        return summed(F.embedding(at, self.weight) * here[..., None], self.axis)


class LogitsInParts(nn.Module):
    """A head whose logits (B, T, V / P) are this process's part.

    Args:
        inner: the head, with its part of the parameters.
        axis: along which the vocabulary is cut.
    """

    def __init__(self, inner: NextTokenHead, axis: Axis) -> None:
        super().__init__()
        self.inner, self.axis, self.scope = inner, axis, inner.scope
        self.enter = copied  # what vectors pass on their way to the logits' parts

    def forward(self, x: Tensor, segment: Tensor | None, table: Tensor | None = None) -> Tensor:
        """Map (B, T, D) to this process's logits; `table` is its part of the token vectors."""
        x = self.enter(self.inner.vectors(x), self.axis)
        weight = table if self.inner.project is None else self.inner.project.weight
        assert weight is not None
        return F.linear(x, weight, self.inner.bias)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean cross-entropy in nats over targets (B, T) that are not ignored, the same on all."""
        logits = wide(output)
        wanted = target != IGNORED
        at, here = _here(target, logits.shape[-1], self.axis)
        highest = self.axis.largest(logits.detach().amax(dim=-1))
        total = summed((logits - highest[..., None]).exp().sum(dim=-1), self.axis)
        asked = summed(logits.gather(-1, at[..., None])[..., 0] * here, self.axis)
        normal = highest + total.log()
        nats = normal - asked
        smoothing = self.inner.spec.smoothing
        if smoothing:
            mean = summed(logits.sum(dim=-1), self.axis) / self.inner.spec.vocabulary
            nats = (1 - smoothing) * nats + smoothing * (normal - mean)
        return torch.where(wanted, nats, 0.0).sum() / wanted.sum()


def _here(tokens: Tensor, rows: int, axis: Axis) -> tuple[Tensor, Tensor]:
    """Return (which row each token is in, whether it is one of this process's; elsewhere row 0)."""
    at = tokens - axis.index * rows
    here = (at >= 0) & (at < rows)
    return torch.where(here, at, 0), here
