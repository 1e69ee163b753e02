"""A service desk: questions read by a model, scored on a split, and answered one by one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seqloom.core.types import IGNORED
from seqloom.data.batches import Batch, Examples, Packed
from seqloom.data.tokens import Tokenizer, truncated
from seqloom.measure.detection import auroc, counted
from seqloom.measure.scores import Scores
from seqloom.model.pooling import pooled
from seqloom.tasks.task import judging, sample_rows

_CUTS = (1, 5, 10)
_RETRIEVED = 3  # known questions that an answer shows
_ROWS = 64  # at a time


def _read(model: Any, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return (logits (B, C), the pooled vectors that they come of, of length 1 (B, D))."""
    x, _, segment = model.hidden(batch.inputs, None, batch.segment)
    vectors = pooled(x, segment, model.head.spec.pool)
    return model.head(x, segment, model.table).float(), F.normalize(vectors.float(), dim=-1)


def _gathered(model: Any, examples: Examples) -> tuple[Tensor, Tensor]:
    """Return (vectors (n, D), targets (n,)) of a split, on the model's device."""
    device = next(model.parameters()).device
    order = np.argsort(examples.lengths, kind="stable")
    batches = [examples.batch(order[start : start + _ROWS]).to(device) for start in range(0, len(order), _ROWS)]
    vectors = torch.cat([_read(model, batch)[1] for batch in batches])
    back = torch.from_numpy(np.argsort(order)).to(device)
    return vectors[back], torch.cat([batch.target for batch in batches])[back]


def judge(model: Any, batch: Batch, output: Tensor) -> dict[str, Tensor]:
    """Return the parts of accuracy, over questions in scope."""
    inside = batch.target != IGNORED
    return {"accuracy": torch.stack([(output.argmax(dim=-1) == batch.target) & inside, inside], dim=-1)}


def score(known: Examples, model: Any, examples: Examples, *, limit: int | None = None) -> Scores:
    """Score intents and retrieval on questions that are in scope, and detection between these and the others.

    recall@k: a question of the same intent is among the k known ones with the highest cosine. oos_auroc: the chance
    that one in scope has a likeliest intent that is likelier than that of one out of scope; left out where all are of
    one kind. Questions of training find themselves.

    Work: one pass over `known`, one over the examples, and a product of their vectors.
    """
    rows = sample_rows(len(examples), limit)
    order = np.argsort(examples.lengths[rows], kind="stable")
    found: dict[str, list[Tensor]] = {}
    device = next(model.parameters()).device
    with judging(model):
        vectors, intents = _gathered(model, known)
        for start in range(0, len(rows), _ROWS):
            batch = examples.batch(rows[order[start : start + _ROWS]]).to(device)
            logits, mine = _read(model, batch)
            nearest = (mine @ vectors.T).topk(min(max(_CUTS), len(vectors)), dim=-1).indices
            right = intents[nearest] == batch.target[:, None]
            for name, part in {
                **judge(model, batch, logits),
                **{f"recall@{k}": right[:, :k].any(dim=-1)[:, None] for k in _CUTS},
                "odds": _log_odds(logits)[:, None],
            }.items():
                found.setdefault(name, []).append(part)
    back = np.argsort(order)
    parts = {name: torch.cat(pieces).double().cpu().numpy()[back] for name, pieces in found.items()}
    inside = parts["accuracy"][:, 1]
    parts |= {f"recall@{k}": np.stack([parts[f"recall@{k}"][:, 0] * inside, inside], axis=1) for k in _CUTS}
    odds = parts.pop("odds")[:, 0]
    if 0 < inside.sum() < len(inside):
        parts["oos_auroc"] = counted(odds, inside > 0)
    return Scores(parts, {"oos_auroc": auroc})


def _log_odds(logits: Tensor) -> Tensor:
    """Return log(p / (1 - p)) of the likeliest intent's chance p, (B,), without loss where p is near 1."""
    top, likeliest = logits.double().max(dim=-1, keepdim=True)
    return top[:, 0] - logits.double().scatter(1, likeliest, -torch.inf).logsumexp(dim=-1)


@dataclass
class Desk:
    """Answers questions: with an intent, how sure it is, and the known questions that are nearest."""

    tokenizer: Tokenizer
    known: list[tuple[str, int, str]]  # question, number of its intent, answer or ""
    names: list[str]  # of the intents
    what: str  # "intent", or "answer" where these are told apart
    threshold: float
    max_length: int
    _kept: tuple[Any, Tensor] | None = field(default=None, repr=False)  # a model, and its vectors of what is known

    def encode(self, lines: Sequence[str]) -> list[np.ndarray]:
        """Return the tokens of each question."""
        tokens, offsets = truncated(*self.tokenizer.encode_batch(lines), self.max_length)
        return np.split(tokens, offsets[1:-1])

    def answers(self, model: Any, items: Sequence[Any]) -> list[dict[str, Any]]:
        """Return the answers to questions, JSON values; an empty question is refused."""
        lines = [str(item).strip() for item in items]
        if "" in lines:
            raise ValueError(f"question {lines.index('') + 1} is empty; ask something")
        with judging(model):
            if self._kept is None or self._kept[0] is not model:
                self._kept = (model, _gathered(model, self._examples([question for question, _, _ in self.known]))[0])
            vectors = self._kept[1]
            examples, found = self._examples(lines), []
            for start in range(0, len(lines), _ROWS):
                rows = np.arange(start, min(start + _ROWS, len(lines)))
                logits, mine = _read(model, examples.batch(rows).to(vectors.device))
                chances = logits.softmax(dim=-1).max(dim=-1)
                near = (mine @ vectors.T).clamp(-1, 1).topk(min(_RETRIEVED, len(vectors)), dim=-1)
                lists = (part.tolist() for part in (chances.indices, chances.values, near.indices, near.values))
                found += [self._answer(*row) for row in zip(*lists, strict=True)]
        return found

    def _examples(self, lines: Sequence[str]) -> Packed:
        return Packed.of(self.encode(lines), np.zeros(len(lines), dtype=np.int64))

    def _answer(self, number: int, chance: float, nearest: list[int], cosines: list[float]) -> dict[str, Any]:
        retrieved: list[dict[str, Any]] = []
        for row, cosine in zip(nearest, cosines, strict=True):
            question, known, answer = self.known[row]
            said = {"answer": answer} if answer else {}
            retrieved.append({"question": question, self.what: self.names[known], **said, "similarity": cosine})
        return {
            self.what: self.names[number],
            "probability": chance,
            "out_of_scope": chance < self.threshold,
            "retrieved": retrieved,
        }
