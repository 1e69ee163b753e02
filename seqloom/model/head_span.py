"""The head of spans: where in the document an answer begins and where it ends."""

import math
from typing import Literal

import pydantic
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqloom.core.spec import Spec
from seqloom.model.pooling import Scope, Scored
from seqloom.ops.linear import Linear


class Span(Spec):
    """The first and the last step of a stretch of the document. Source: Vinyals et al. 2015 (arXiv 1506.03134)."""

    kind: Literal["span"] = "span"
    dropout: float = pydantic.Field(default=0.0, ge=0, lt=1)

    def build(self, width: int) -> "SpanHead":
        """Return the module."""
        return SpanHead(self, width)


class SpanHead(nn.Module):
    """A linear map of each step to the logits of being the first and the last, (B, T, 2)."""

    scope: Scope = "whole"

    def __init__(self, spec: Span, width: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout(spec.dropout)
        self.project = Linear(width, 2)

    def forward(self, x: Tensor, segment: Tensor | None, table: Tensor | None = None) -> Tensor:
        """Map (B, T, D) to logits (B, T, 2), the least number there is at padding."""
        y = self.project(self.dropout(x)).float()
        if segment is None:
            return y
        # finite, so that a row of padding alone gives no NaN
        return torch.where((segment != 0)[..., None], y, torch.finfo(y.dtype).min)

    def matrices(self, table: Tensor | None) -> list[Tensor]:
        """Return the matrices that a step or a row is multiplied with; `table` are the frontend's token vectors."""
        return [self.project.weight]

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean over rows of the cross-entropy of first and last step, in nats; target (B, 2) of steps."""
        return F.cross_entropy(output.transpose(1, 2).flatten(0, 1), target.flatten())

    def scores(self, output: Tensor, target: Tensor) -> Scored:
        """Return how often both ends are right, and the loss (nats), by row."""
        ones = torch.ones(len(target), dtype=torch.float64, device=output.device)
        logits = output.double().transpose(1, 2)
        loss = F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none").view_as(target).mean(dim=1)
        return {"both_ends": ((logits.argmax(dim=2) == target).all(dim=1).double(), ones), "loss": (loss, ones)}


def best_spans(chances: Tensor, allowed: Tensor, longest: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the likeliest span of each row: (first step (B,), last step (B,), log probability (B,)).

    Args:
        chances: (B, T, 2) log probabilities of being the first and the last step.
        allowed: (B, T) which steps a span may begin and end with.
        longest: steps of a span at most. Work O(B T longest).

    A row without an allowed step has log probability -inf.
    """
    first, last = chances.masked_fill(~allowed[..., None], -math.inf).unbind(dim=2)
    best = first.new_full((len(first),), -math.inf)
    start = torch.zeros_like(best, dtype=torch.int64)
    end = start.clone()
    for more in range(min(longest, first.shape[1])):
        value, at = (first[:, : first.shape[1] - more] + last[:, more:]).max(dim=1)
        better = value > best
        best = torch.where(better, value, best)
        start, end = torch.where(better, at, start), torch.where(better, at + more, end)
    return start, end, best
