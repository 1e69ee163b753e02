"""The head of transcripts: labels in order, fewer than steps and at places that nobody has told."""

from typing import Literal

import pydantic
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqloom.core.spec import Spec
from seqloom.core.types import IGNORED
from seqloom.model.ctc import BLANK
from seqloom.model.pooling import Scope, Scored
from seqloom.ops.linear import Linear

_NEVER = -1e9  # a logit whose probability is exactly 0 in any precision, and whose gradient is finite


class Transcript(Spec):
    """A label or a blank at every step; what is left of them without repeats and blanks is the transcript."""

    kind: Literal["transcript"] = "transcript"
    symbols: int = pydantic.Field(default=27, gt=0)  # labels 1 to this; 0 is the blank
    dropout: float = pydantic.Field(default=0.0, ge=0, lt=1)

    def build(self, width: int) -> "TranscriptHead":
        """Return the module."""
        return TranscriptHead(self, width)


class TranscriptHead(nn.Module):
    """A linear map to logits (B, T, 1 + symbols), with the loss of connectionist temporal classification (CTC).

    A step of padding can only be blank, with probability 1: it is in every path and changes no path's probability, so
    that no lengths are needed. Padding before and behind a row changes nothing; inside one it parts what stands on its
    two sides, as silence does.

    Source: Graves et al. 2006, Connectionist Temporal Classification, doi:10.1145/1143844.1143891.
    """

    scope: Scope = "whole"

    def __init__(self, spec: Transcript, width: int) -> None:
        super().__init__()
        self.spec = spec
        self.dropout = nn.Dropout(spec.dropout)
        self.project = Linear(width, 1 + spec.symbols)

    def forward(self, x: Tensor, segment: Tensor | None, table: Tensor | None = None) -> Tensor:
        """Map (B, T, D) to logits (B, T, 1 + symbols)."""
        logits = self.project(self.dropout(x))
        if segment is None:
            return logits
        padding = torch.full_like(logits[0, 0], _NEVER)
        padding[BLANK] = 0.0
        return torch.where((segment != 0)[..., None], logits, padding)

    def matrices(self, table: Tensor | None) -> list[Tensor]:
        """Return the matrices that a step or a row is multiplied with; `table` are the frontend's token vectors."""
        return [self.project.weight]

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return -log P(labels), summed over rows, in nats a label; target (B, S) from 1, padded right with IGNORED.

        It is infinite for a row with more labels, and blanks between equal ones, than steps.
        """
        return _surprise(output.float(), target).sum() / (target != IGNORED).sum().clamp(min=1)

    def scores(self, output: Tensor, target: Tensor) -> Scored:
        """Return the loss, in nats a label, by row."""
        return {"loss": (_surprise(output.double(), target), (target != IGNORED).sum(dim=1).double())}


def _surprise(output: Tensor, target: Tensor) -> Tensor:
    """Return -log P(labels) of each row (B,). Work O(B T S), depth T."""
    steps = torch.full((len(output),), output.shape[1], dtype=torch.int64)
    labels = (target != IGNORED).sum(dim=1)
    chances = output.log_softmax(dim=-1).transpose(0, 1)
    return F.ctc_loss(chances, target.clamp(min=1), steps, labels.cpu(), blank=BLANK, reduction="none")
