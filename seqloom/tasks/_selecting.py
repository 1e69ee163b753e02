"""Answer selection: which of a question's candidates answer it, from a table of pairs."""

import functools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch

from seqloom.data.batches import Packed
from seqloom.data.questions import Candidates, Grouped, read_candidates
from seqloom.data.records import Reject
from seqloom.data.splits import keys
from seqloom.measure.answers import rankings
from seqloom.measure.scores import Scores
from seqloom.model.frontend import Words
from seqloom.model.head import Labels
from seqloom.tasks._asked import FEATURES, QUESTION_SHARE, Asked, Pieces, pieces, split
from seqloom.tasks.task import Coding, Opened, evaluate

_WORDS, _FEWEST, _PAIRS_A_WORD = 20_000, 64, 50  # few pairs teach few words: more are learnt by heart
_BATCH = 64  # pairs at a time, where a user asks
_DRAWS = 20  # random rankings that chance is told by


def open_selection(task: Any, seed: int) -> Opened:
    """Read the tables, keep each question's candidates in one split, learn the words, and encode all pairs.

    Raises:
        ValueError: a table cannot be read; no question of a split has both a right and a wrong candidate.
    """
    tables = [_read(task, path) for path in (task.data, task.dev, task.test) if path is not None]
    text = [(q, c) for table in tables for q, c in zip(table.question, table.candidate, strict=True)]
    right = np.concatenate([table.right for table in tables])
    cut = {part: pieces(part) for pair in text for part in pair}
    asked_of = keys(" ".join(cut[question].words) for question, _ in text)
    pair_key = keys(" ".join([*cut[question].words, "\0", *cut[candidate].words]) for question, candidate in text)
    files = np.split(np.arange(len(text)), np.cumsum([len(table.right) for table in tables])[:-1])
    parts, dropped = split(task, files, asked_of, pair_key, seed, "questions")
    for name, rows in zip(("training", "validation", "test"), parts, strict=True):
        _check_both(task, name, right[rows], asked_of[rows])
    train = parts[0]
    asked = Asked.learn(
        [cut[candidate] for candidate in sorted({text[row][1] for row in train})],
        [cut[question] for question in sorted({text[row][0] for row in train})],
        task.vocabulary or min(_WORDS, max(_FEWEST, len(train) // _PAIRS_A_WORD)),
        reach=None,
    )
    steps = [_steps(asked, cut[question], cut[candidate], task.max_length) for question, candidate in text]
    group = np.unique(asked_of, return_inverse=True)[1]
    examples = Grouped(Packed.of(steps, right), group)
    splits = dict(zip(("train", "validation", "test"), (examples.select(rows) for rows in parts), strict=True))
    shared = np.array([asked.shared(cut[question], cut[candidate]) for question, candidate in text])
    decides = "map" if task.ranking == "clean" else "map_all"
    return Opened(
        task=task,
        title=f"Answers among candidates of {PurePath(task.data).name}",
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        frontend=Words(vocabulary=asked.vocabulary, width=16, features=FEATURES, feature_width=8, dropout=0.3),
        head=Labels(classes=2, pool="max", dropout=0.3),
        causal=False,
        floor=_value(decides, shared, right, asked_of, parts[2]),
        floor_of="ranking by the share of the question's words in the candidate, weighed by their rarity",
        facts={
            "source": task.data,
            "rows_in": sum(table.table.rows_in for table in tables),
            "rows_used": len(text),  # also those that are dropped as equal
            "rows_rejected": sum(len(table.table.rejects) for table in tables),
            "duplicates_dropped": dropped,
            "digests": [table.table.digest for table in tables],
            **{name: len(split) for name, split in splits.items()},
            **{f"{name}_questions": len(np.unique(split.group)) for name, split in splits.items()},
            "ranking": f"{decides}: {_CONVENTIONS[task.ranking]}",
            "right_share": float(right[train].mean()),
            "vocabulary": asked.vocabulary,
            "floor_by_chance": _chance(decides, right, asked_of, parts[2]),
        },
        labels=("no", "yes"),
        rejects=[
            {"file": str(table.table.path), "line": line, "reason": reason}
            for table in tables
            for line, reason in table.table.rejects
        ],
        defaults={"batch_size": 32, "learning_rate": 2e-3},
        architecture={"dropout": 0.3},
        parameters=30_000,
        decides=decides,
        scorer=score_rankings,
        coding=selection_coding(task, {"asked": asked.to_data()}),
        encoding={"kind": "select", "asked": asked.to_data()},
    )


_CONVENTIONS = {
    "clean": "the mean over questions with both right and wrong candidates",
    "all": "the mean over all questions, those without a right candidate counting 0",
}


def score_rankings(model: Any, examples: Any, *, limit: int | None = None) -> Scores:
    """Rank each question's candidates by the model, and score the rankings: one row a question."""
    chosen = examples.spread(limit)
    logits = evaluate(model, chosen, judge=_judge).parts
    return Scores(rankings(logits["score"][:, 0], logits["right"][:, 0], chosen.group))


def selection_coding(task: Any, encoding: dict[str, Any]) -> Coding:
    """Return what ranks a user's candidates."""
    asked = Asked(**encoding["asked"])
    return Coding(
        answers=functools.partial(_answers, asked, task.max_length),
        items=functools.partial(_items, task),
    )


def _judge(model: Any, batch: Any, output: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"score": (output[:, 1] - output[:, 0])[:, None], "right": batch.target[:, None]}


def _steps(asked: Asked, question: Pieces, candidate: Pieces, longest: int) -> np.ndarray:
    return asked.steps(question.first(longest // QUESTION_SHARE), candidate)[:longest].astype(np.uint16)


def _read(task: Any, path: str) -> Candidates:
    return read_candidates(
        path,
        task.question,
        task.candidate,
        task.label,
        encoding=task.encoding,
        header=task.header,
        delimiter=task.delimiter,
        allow_rejects=task.allow_rejects,
    )


def _check_both(task: Any, name: str, right: np.ndarray, group: np.ndarray) -> None:
    group = np.unique(group, return_inverse=True)[1]
    held = np.bincount(group, right)
    if not ((held > 0) & (held < np.bincount(group))).any():
        raise ValueError(
            f"no question of the {name} split of '{task.data}' has both a right and a wrong candidate, so that nothing "
            f"can be ranked; is column '{task.label}' 1 for right answers, and does a question stand in several rows?"
        )


def _value(decides: str, score: np.ndarray, right: np.ndarray, group: np.ndarray, rows: np.ndarray) -> float:
    return Scores(rankings(score[rows], right[rows], group[rows])).value(decides)


def _chance(decides: str, right: np.ndarray, group: np.ndarray, rows: np.ndarray) -> float:
    drawn = np.random.default_rng(0).random((_DRAWS, len(right)))
    return float(np.mean([_value(decides, score, right, group, rows) for score in drawn]))


def _items(task: Any, path: Path) -> Iterator[dict[str, Any] | Reject]:
    """Give {"question", "candidates"} of each question in a table, behind its rows that cannot be used.

    Rows of a question need not stand together.
    """
    table = read_candidates(
        path,
        task.question,
        task.candidate,
        None,
        encoding=task.encoding,
        header=task.header,
        delimiter=task.delimiter,
        allow_rejects=True,
    )
    yield from table.table.rejects
    found: dict[str, list[str]] = {}
    for question, candidate in zip(table.question, table.candidate, strict=True):
        found.setdefault(question, []).append(candidate)
    for question, candidates in found.items():
        yield {"question": question, "candidates": candidates}


def _answers(asked: Asked, longest: int, model: Any, items: Sequence[Any]) -> list[dict[str, Any]]:
    return [_ranked(asked, longest, model, *_candidates(item)) for item in items]


def _ranked(asked: Asked, longest: int, model: Any, question: str, candidates: list[str]) -> dict[str, Any]:
    cut = pieces(question)
    steps = [_steps(asked, cut, pieces(candidate), longest) for candidate in candidates]
    examples = Packed.of(steps, np.zeros(len(steps), np.int64))
    device = next(model.parameters()).device
    chances: list[float] = []
    for start in range(0, len(steps), _BATCH):
        batch = examples.batch(np.arange(start, min(start + _BATCH, len(steps)))).to(device)
        output = model(batch.inputs, segment=batch.segment)[0]
        chances += output.float().softmax(dim=-1)[:, 1].tolist()
    order = sorted(range(len(chances)), key=lambda i: -chances[i])
    ranked = [{"candidate": candidates[i], "probability": chances[i]} for i in order]
    return {"question": question, "answer": ranked[0]["candidate"], "ranked": ranked}


def _candidates(item: Any) -> tuple[str, list[str]]:
    shape = 'give {"question": "...", "candidates": ["...", "..."]}'
    if isinstance(item, str):
        try:
            item = json.loads(item)
        except json.JSONDecodeError as error:
            raise ValueError(f"'{item[:60]}' is not JSON ({error.msg}); {shape}") from None
    question, candidates = (item.get(name) if isinstance(item, dict) else None for name in ("question", "candidates"))
    fits = isinstance(question, str) and question.strip() and isinstance(candidates, list) and candidates
    if not fits or not all(isinstance(one, str) and one.strip() for one in candidates):  # type: ignore[union-attr]
        raise ValueError(f"{str(item)[:80]} is no question with candidates; {shape}")
    return question, candidates  # type: ignore[return-value]
