"""The head of tags: a class for every step, such that neighbours make whole entities; linear, or a random field."""

import functools
from typing import Literal, Self

import pydantic
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqloom.core.spec import Spec
from seqloom.core.types import IGNORED
from seqloom.model.crf import best_path, log_partition, path_score
from seqloom.model.pooling import Scope, Scored
from seqloom.ops.linear import Linear

OUTSIDE = "O"
_PARTS = ("B", "I", "E", "S")  # of an entity: its first step, those between, its last; or its only one
_FORBIDDEN = -1e4  # score of what the scheme forbids: no sum of scores makes up for it, and it is finite


class Tags(Spec):
    """One tag of BIOES at every step of a row, which holds one document.

    Whatever the vectors, the tags that `decode` gives are well formed: they are the best of all such sequences.
    """

    kind: Literal["tags"] = "tags"
    tags: tuple[str, ...] = (OUTSIDE, "B-X", "I-X", "E-X", "S-X")  # names of the classes; O, and four of each label
    crf: bool = True  # learn scores of moves between tags too; the loss is then of whole sequences
    dropout: float = pydantic.Field(default=0.0, ge=0, lt=1)

    @pydantic.model_validator(mode="after")
    def _whole(self) -> Self:
        labels = {tag[2:] for tag in self.tags if tag != OUTSIDE}
        wanted = {OUTSIDE, *(f"{part}-{label}" for label in labels for part in _PARTS)}
        if not labels or self.tags[0] != OUTSIDE or len(self.tags) != len(wanted) or set(self.tags) != wanted:
            raise ValueError(f"tags {self.tags}: give O first, and then B-, I-, E- and S- of each label")
        return self

    def build(self, width: int) -> "TagsHead":
        """Return the module."""
        return TagsHead(self, width)


class TagsHead(nn.Module):
    """A linear map to scores (B, T, C); scores of moves say which tags may follow which."""

    _label: Tensor  # (C,) number of the tag's label, 0 of O
    _opens: Tensor  # (C,) whether the tag is an entity's first
    _closes: Tensor  # (C,) whether it is an entity's last
    _starts: Tensor  # (C,) whether a row may start with the tag
    _ends: Tensor  # (C,) whether it may end with it
    _follows: Tensor  # (C, C) whether the second tag may follow the first

    def __init__(self, spec: Tags, width: int) -> None:
        super().__init__()
        self.scope: Scope = "whole" if spec.crf else "step"
        self.crf = spec.crf
        self.dropout = nn.Dropout(spec.dropout)
        self.project = Linear(width, len(spec.tags))
        count = len(spec.tags) if spec.crf else 0
        self.move = nn.Parameter(torch.zeros(count, count))
        self.first = nn.Parameter(torch.zeros(count))
        self.last = nn.Parameter(torch.zeros(count))
        keep = functools.partial(self.register_buffer, persistent=False)
        names = list(dict.fromkeys(tag[2:] for tag in spec.tags))  # that of O is ""
        label = torch.tensor([names.index(tag[2:]) for tag in spec.tags])
        starts, ends, opens, closes = (
            torch.tensor([tag[0] in parts for tag in spec.tags]) for parts in ("OBS", "OES", "BS", "ES")
        )
        keep("_label", label)
        keep("_opens", opens)
        keep("_closes", closes)
        keep("_starts", starts)
        keep("_ends", ends)
        # behind an end anything may start; inside an entity it goes on, or ends
        keep("_follows", torch.where(ends[:, None], starts, ~starts & (label[:, None] == label)))

    def forward(self, x: Tensor, segment: Tensor | None, table: Tensor | None = None) -> Tensor:
        """Map (B, T, D) to the scores (B, T, C) of each step's tags."""
        return self.project(self.dropout(x))

    def matrices(self, table: Tensor | None) -> list[Tensor]:
        """Return the matrices that a step is multiplied with; `table` are the frontend's token vectors."""
        return [self.project.weight]

    def decode(self, output: Tensor, segment: Tensor | None = None) -> Tensor:
        """Return the best well-formed tags of scores (B, T, C): classes (B, T), 0 at padding. Work O(B T C C)."""
        real = torch.ones(output.shape[:2], dtype=torch.bool, device=output.device) if segment is None else segment != 0
        order, packed = _left(real)
        path = best_path(_taken(output.float(), order), *self._moves(output.float()), packed)
        return path if order is None else path.gather(1, order.argsort(dim=1)).masked_fill(~real, 0)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean over the targets that are not ignored, in nats; target (B, T).

        With a random field: minus the log-likelihood of each row's whole sequence of targets.
        """
        if not self.crf:
            return F.cross_entropy(output.float().flatten(0, 1), target.flatten(), ignore_index=IGNORED)
        return self._surprise(output.float(), target).sum() / (target != IGNORED).sum()

    def scores(self, output: Tensor, target: Tensor) -> Scored:
        """Return what entities' precision, recall and F1 are ratios of, likewise of labelled tokens, and the loss.

        An entity is right if its first step, its last and its label are. Sums over the targets that are not ignored.
        """
        real = target != IGNORED
        gold, found = target.masked_fill(~real, 0), self.decode(output, real.long())  # padding counts as O
        same = self._label[gold] == self._label[found]
        closing = self._next_close(gold) == self._next_close(found)
        hits = _count(self._opens[gold] & self._opens[found] & same & closing)
        entities, answers = _count(self._opens[gold]), _count(self._opens[found])
        labelled = _count(gold != 0) + _count(found != 0)
        return {
            "f1": (2 * hits, entities + answers),
            "precision": (hits, answers),
            "recall": (hits, entities),
            "token_f1": (2 * _count((gold != 0) & same), labelled),
            "accuracy": (_count((gold == found) & real), _count(real)),
            "loss": (self._surprise(output.float(), target).double(), _count(real)),
        }

    def _next_close(self, path: Tensor) -> Tensor:
        """Return for each step of (B, T) the step that closes the entity it is in, if it is in one."""
        steps = torch.arange(path.shape[1], device=path.device)
        closing = torch.where(self._closes[path], steps, path.shape[1])
        return closing.flip(1).cummin(dim=1).values.flip(1) if path.shape[1] else closing

    def _surprise(self, output: Tensor, target: Tensor) -> Tensor:
        """Return minus the log-likelihood of each row's targets, (B,)."""
        real = target != IGNORED
        if not self.crf:
            return F.cross_entropy(output.transpose(1, 2), target, ignore_index=IGNORED, reduction="none").sum(dim=1)
        order, packed = _left(real)
        step, path = _taken(output, order), target if order is None else target.gather(1, order)
        moves = self._moves(output)
        return log_partition(step, *moves, packed) - path_score(step, *moves, packed, path)

    def _moves(self, output: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the scores of moves (C, C), of first tags (C,) and of last ones (C,)."""
        allowed = (self._follows, self._starts, self._ends)
        if not self.crf:
            return tuple(torch.where(rule, 0.0, _FORBIDDEN) for rule in allowed)  # type: ignore[return-value]
        learnt = (self.move, self.first, self.last)
        return tuple(  # type: ignore[return-value]
            weight.to(output.dtype).masked_fill(~rule, _FORBIDDEN) for weight, rule in zip(learnt, allowed, strict=True)
        )


def _count(which: Tensor) -> Tensor:
    return which.sum(dim=1).double()


def _left(real: Tensor) -> tuple[Tensor | None, Tensor]:
    """Return the order (B, T) that puts padding right, None if it stands there, and `real` in that order."""
    if not bool((real[:, 1:] & ~real[:, :-1]).any()):
        return None, real
    order = (~real).to(torch.int8).argsort(dim=1, stable=True)
    return order, real.gather(1, order)


def _taken(output: Tensor, order: Tensor | None) -> Tensor:
    return output if order is None else output.gather(1, order[..., None].expand_as(output))
