"""Intents: what a question wants, whether it wants anything known, and the known questions that are nearest to it.

One model does it all: its pooled vectors are mapped to intents, the chance of the likeliest intent tells how far a
question is known (Hendrycks and Gimpel 2017, arXiv 1610.02136), and cosines of the vectors find known questions.
"""

import json
from collections import Counter
from functools import partial
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pydantic

from seqloom.core.types import IGNORED
from seqloom.data.batches import Packed, shuffled, stream
from seqloom.data.splits import conflicting, grouped, without
from seqloom.data.tokens import tokenizer_from_json, truncated
from seqloom.model.frontend import Tokens
from seqloom.model.head import Labels
from seqloom.tasks._desk import Desk, judge, score
from seqloom.tasks._questions import Asked, Questions, learn_tokens, read_items, read_more, read_questions
from seqloom.tasks.task import Coding, Opened, Watch, evaluate, sample_rows

_SHOWN = 5  # intents that a message names
_HELD_OUT = 0.1  # of the intents, where no question is out of scope


class Intents(Questions):
    """Settings of learning intents."""

    oos: str = "oos"  # the intent of questions that want nothing known (out of scope): never learnt, to be detected
    oos_data: str | None = None  # more such questions: one a line, or a table with the column of the questions
    held_out: float | None = pydantic.Field(default=None, ge=0, lt=1)  # share of intents not learnt, to stand for such
    threshold: float = pydantic.Field(default=0.5, ge=0, le=1)  # a question whose likeliest intent has less is taken so
    known: int = pydantic.Field(default=20_000, gt=0)  # training questions that are kept to be retrieved, at most


def open_intents(task: Intents, seed: int) -> Opened:
    """Read the tables, split the rows, learn the tokens from the training rows, and encode all.

    Raises:
        ValueError: a table cannot be read, or its intents cannot be learnt, split or tested.
    """
    asked = read_questions(task)
    if task.oos_data is not None:
        asked = asked.beside(read_more(task, Path(task.oos_data)), task.oos, task)
    names, held, target, parts = _split(task, asked, seed)
    tokenizer = learn_tokens(task, [asked.questions[row] for row in parts[0]])
    steps, offsets = tokenizer.encode_batch(asked.questions)
    examples = Packed(*truncated(steps, offsets, task.max_length), target)
    train, validation, test = (examples.select(rows) for rows in parts)
    known = parts[0][sample_rows(len(parts[0]), task.known)]
    inside = target[parts[2]][target[parts[2]] != IGNORED]
    most = int(np.bincount(target[parts[0]]).argmax())
    encoding = {
        "tokenizer": json.loads(tokenizer.to_json()),
        "names": names,
        "known": [[asked.questions[row], int(target[row]), asked.answers[row]] for row in known],
    }
    return Opened(
        task=task,
        title=f"{'Intents' if task.intent is not None else 'Answers'} of {PurePath(task.data).name}"
        + (f", {len(held)} of {len(names) + len(held)} held out" if held else ""),
        train=train,
        validation=validation,
        test=test,
        frontend=Tokens(vocabulary=tokenizer.vocabulary, dropout=0.5),
        head=Labels(classes=len(names), pool="mean", dropout=0.2),
        causal=False,
        floor=float(np.mean(inside == most)),
        floor_of=f"always answering '{names[most][:60]}', the most frequent in training",
        facts={
            **asked.facts(task),
            "train": len(train),
            "validation": len(validation),
            "test": len(test),
            "duplicates_dropped": len(asked.questions) - sum(map(len, parts)),
            "conflicting_intents": conflicting(asked.keys, np.unique(asked.intents, return_inverse=True)[1]),
            "intents": len(names),
            "held_out_intents": held,
            "out_of_scope_validation": int(np.sum(target[parts[1]] == IGNORED)),
            "out_of_scope_test": int(np.sum(target[parts[2]] == IGNORED)),
            "known_questions": len(known),
            "vocabulary": tokenizer.vocabulary,
            "length_median": float(np.median(np.diff(offsets))),
            "truncated_share": float(np.mean(np.diff(offsets) > task.max_length)),
        },
        labels=tuple(names),
        rejects=asked.rejects(),
        defaults={"batch_size": 32, "learning_rate": 3e-3},
        architecture={"dropout": 0.2},
        scorer=partial(score, examples.select(known)),
        watch=Watch("accuracy", "higher", partial(evaluate, judge=judge)),
        coding=intents_coding(task, encoding),
        encoding=encoding,
    )


def intents_coding(task: Intents, encoding: Any) -> Coding:
    """Return how questions become tokens and are answered.

    Raises:
        ValueError: the encoding is not one of `open_intents`.
    """
    try:
        tokenizer = tokenizer_from_json(json.dumps(encoding["tokenizer"]))
        known = [(str(question), int(number), str(answer)) for question, number, answer in encoding["known"]]
        names = list(map(str, encoding["names"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"no encoding of converse: {error!r}") from None
    what = "intent" if task.intent is not None else "answer"
    desk = Desk(tokenizer, known, names, what, task.threshold, task.max_length)
    return Coding(encode=lambda line: desk.encode([line])[0], answers=desk.answers, items=partial(read_items, task))


def _split(task: Intents, asked: Asked, seed: int) -> tuple[list[str], list[str], np.ndarray, list[np.ndarray]]:
    """Return (intents to learn, those held out, each row's intent or IGNORED, rows of training, validation and test).

    Out of scope is what has that intent, and what is held out; it is for validation and test alone. Questions that are
    equal stand in one split; of those in both tables the table to test on keeps its own.
    """
    n, share = asked.learnt, task.validation
    known = Counter(name for name in asked.intents[:n] if name != task.oos)
    _check_known(task, asked, known)
    held = _held(task, sorted(known), task.oos in asked.intents, seed)
    names = [name for name in sorted(known) if name not in held]
    numbers = {name: number for number, name in enumerate(names)}
    target = np.array([numbers.get(name, IGNORED) for name in asked.intents])
    kept = without(asked.keys[:n], asked.keys[n:])
    inside, outside = kept[target[kept] != IGNORED], kept[target[kept] == IGNORED]
    outside = outside[without(asked.keys[outside], asked.keys[inside])]
    shares = (1 - 2 * share, share, share) if task.test is None else (1 - share, share)
    _check_counts(task, asked, names, inside, target)
    parts = [inside[rows] for rows in grouped(asked.keys[inside], target[inside], shares, seed)]
    given = np.arange(n, len(target))
    halves = [outside, outside[:0]]
    # a table to test on that has such questions keeps to them
    if not (target[given] == IGNORED).any() and len(np.unique(asked.keys[outside])) > 1:
        halves = [outside[rows] for rows in grouped(asked.keys[outside], None, (0.5, 0.5), seed)]
    tested = parts[2] if task.test is None else given
    return names, held, target, [parts[0], _both(parts[1], halves[0]), _both(tested, halves[1])]


def _both(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.sort(np.concatenate([one, other]))


def _held(task: Intents, names: list[str], marked: bool, seed: int) -> list[str]:
    """Return the intents that are not learnt, to stand for what is out of scope; none where questions are marked so."""
    share = task.held_out if task.held_out is not None else (0.0 if marked or task.intent is None else _HELD_OUT)
    if share == 0:
        return []
    count = max(1, round(share * len(names)))
    if len(names) - count < 2:
        if task.held_out is None:
            return []
        raise ValueError(
            f"held_out = {task.held_out} takes {count} of {len(names)} intents away, and 2 must be left: hold less out"
        )
    return sorted(names[i] for i in shuffled(stream(seed), len(names))[:count])


def _check_known(task: Intents, asked: Asked, known: Counter[str]) -> None:
    what = "intents" if task.intent is not None else "answers"
    if len(known) < 2:
        raise ValueError(
            f"'{task.data}' has {len(known)} different {what} in column "
            f"'{task.intent if task.intent is not None else task.answer}'; to tell them apart needs two or more"
        )
    strange = [name for name in dict.fromkeys(asked.intents[asked.learnt :]) if name not in known and name != task.oos]
    if strange:
        raise ValueError(
            f"'{task.test}' has {what} that '{task.data}' never shows: {_named(strange)}; correct them, add such rows "
            f"for training, or if they are out of scope write '{task.oos}'"
        )


def _check_counts(task: Intents, asked: Asked, names: list[str], rows: np.ndarray, target: np.ndarray) -> None:
    need = 2 if task.test is not None else 3
    different = np.unique(np.stack([asked.keys[rows], target[rows].astype(np.uint64)], axis=1), axis=0)
    counts = np.bincount(different[:, 1].astype(np.int64), minlength=len(names))
    rare = [name for name, count in zip(names, counts, strict=True) if count < need]
    if not rare:
        return
    what, fix = "intents", "add questions, or take these out"
    if task.intent is None:
        what, fix = "answers", "name a column of intents, or learn to write answers with --objective generate"
    raise ValueError(
        f"'{task.data}': {len(rare)} of {len(names)} {what} have fewer than {need} different questions, one for each "
        f"split: {_named(rare)}; {fix}"
    )


def _named(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(f"'{name[:40]}'" for name in names[:_SHOWN]) + more
