"""Extractive question answering: the stretch of a passage that answers a question."""

import functools
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np
import torch

from seqloom.data.batches import Packed
from seqloom.data.inputs import BLANK, Line, read_lines
from seqloom.data.questions import Grouped, Passages, Question, read_passages
from seqloom.data.records import Reject
from seqloom.data.splits import keys
from seqloom.measure.answers import match_characters, match_words
from seqloom.measure.scores import Scores
from seqloom.model.frontend import Words
from seqloom.model.head_span import Span, best_spans
from seqloom.tasks._asked import (
    FEATURES,
    PASSAGE,
    Asked,
    Pieces,
    Window,
    by_characters,
    cut_windows,
    pieces,
    span_in,
    split,
)
from seqloom.tasks.task import Coding, Opened, evaluate, respond

_REACH = 12  # steps to each side in which words of the question count as near
_SENTENCE = re.compile(r"[^.!?。！？；\n]+[.!?。！？；\n]*")
_BATCH = 32  # windows at a time, where a user asks
_MATCHES = {"words": match_words, "characters": match_characters}


class _Read(NamedTuple):
    """All questions of all files, and what they were cut into."""

    questions: list[Question]  # their passages numbered over all files
    passages: list[str]
    cut: list[Pieces]  # of each passage
    asked: list[Pieces]  # of each question
    file: np.ndarray  # (n,) which file each question is of


def open_extraction(task: Any, seed: int) -> Opened:
    """Read the files, keep each passage in one split, learn the words, and cut passages into windows.

    Raises:
        ValueError: a file cannot be read, or a split has no question.
    """
    files = [read_passages(path, task.encoding, task.allow_rejects) for path in _paths(task)]
    read = _gathered(files)
    parts, dropped = _split(task, read, seed)
    train = [i for i in parts[0] if read.questions[i].spans or not read.questions[i].answers]
    if not train:
        raise ValueError(
            f"no question of '{task.data}' has an answer that stands in its passage; nothing can be learnt"
        )
    not_learnable, parts[0] = len(parts[0]) - len(train), np.array(train)
    used = sorted({read.questions[i].passage for i in train})
    asked = Asked.learn(
        [read.cut[p] for p in used], [read.asked[i] for i in train], task.vocabulary or 20_000, reach=_REACH
    )
    windows, group, target = _windows(task, asked, read, np.concatenate(parts))
    examples = Grouped(Packed.of([window.steps for window in windows], target), group)
    splits = {
        name: examples.select(np.flatnonzero(np.isin(group, rows)))
        for name, rows in zip(("train", "validation", "test"), parts, strict=True)
    }
    match = "characters" if by_characters(read.passages[p] for p in used) else "words"
    none = any(not read.questions[i].answers for i in train)
    encoding = {"kind": "extract", "asked": asked.to_data(), "none": none}
    return Opened(
        task=task,
        title=f"Answers in passages of {PurePath(task.data).name}",
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        frontend=Words(vocabulary=asked.vocabulary, width=64, features=FEATURES, feature_width=8, dropout=0.3),
        head=Span(dropout=0.2),
        causal=False,
        floor=_floor(asked, read, parts[2], match),
        floor_of="the sentence that holds most of the question's words, weighed by their rarity",
        facts={
            **_account(task, files, read, parts),
            **{name: len(split) for name, split in splits.items()},
            "duplicates_dropped": dropped,
            "not_learnable": not_learnable,  # training questions whose answers stand nowhere in their passage
            "match": match,
            "vocabulary": asked.vocabulary,
            "no_answer_is_an_answer": none,
        },
        rejects=[
            {"file": str(file.path), "line": line, "reason": reason} for file in files for line, reason in file.rejects
        ],
        defaults={"batch_size": 16, "learning_rate": 2e-3},
        architecture={"dropout": 0.2},
        parameters=200_000,
        decides="f1",
        scorer=functools.partial(score_spans, read=read, windows=windows, task=task, match=match, none=none),
        coding=extraction_coding(task, encoding),
        encoding=encoding,
    )


def score_spans(
    model: Any,
    examples: Any,
    *,
    limit: int | None = None,
    read: Any,
    windows: Sequence[Window],
    task: Any,
    match: str,
    none: bool,
) -> Scores:
    """Answer each question by the likeliest span of all its windows, and score the answers: one row a question."""
    chosen = examples.spread(limit)
    judge = functools.partial(_judge, task.max_answer)
    kept = evaluate(model, chosen, judge=lambda model, batch, output: judge(output, batch)).parts["span"]
    rows: dict[int, list[int]] = {}
    for row, question in enumerate(chosen.group.tolist()):
        rows.setdefault(question, []).append(row)
    parts = {name: np.ones((len(rows), 2)) for name in ("exact", "f1")}
    for place, (question, mine) in enumerate(rows.items()):
        asked = read.questions[question]
        found = _best(kept[mine], [windows[chosen.number[row]] for row in mine], read.cut[asked.passage], none)
        said = "" if found is None else read.passages[asked.passage][found[0] : found[1]]
        parts["exact"][place, 0], parts["f1"][place, 0] = _MATCHES[match](said, asked.answers)
    return Scores(parts)


def extraction_coding(task: Any, encoding: dict[str, Any]) -> Coding:
    """Return what answers a user's questions."""
    asked = Asked(**encoding["asked"])
    return Coding(
        answers=functools.partial(_answers, asked, task, encoding["none"]),
        items=functools.partial(_items, task),
    )


def _judge(longest: int, output: torch.Tensor, batch: Any) -> dict[str, torch.Tensor]:
    """Return {"span": (B, 4)}: first and last step, log probability, and that of there being no answer."""
    chances = output.float().log_softmax(dim=1)
    part = batch.inputs[..., 1]
    real = part == PASSAGE if batch.segment is None else (part == PASSAGE) & (batch.segment != 0)
    start, end, sure = best_spans(chances, real, longest)
    separator = (part == PASSAGE - 1).long().argmax(dim=1)
    none = chances[torch.arange(len(chances), device=chances.device), separator].sum(dim=1)
    return {"span": torch.stack([start, end, sure, none], dim=1).double()}


def _best(found: np.ndarray, windows: Sequence[Window], passage: Pieces, none: bool) -> tuple[int, int, float] | None:
    """Return (first character, one behind the last, probability) of the likeliest span; None: no answer is likelier."""
    best = int(found[:, 2].argmax())
    if not np.isfinite(found[best, 2]) or (none and found[:, 3].min() > found[best, 2]):
        return None
    window = windows[best]
    start, end = (int(step) - window.asked - 1 + window.first for step in found[best, :2])
    return int(passage.start[start]), int(passage.end[end]), float(np.exp(found[best, 2]))


def _paths(task: Any) -> list[str]:
    return [path for path in (task.data, task.dev, task.test) if path is not None]


def _gathered(files: list[Passages]) -> _Read:
    passages = [passage for file in files for passage in file.passages]
    starts = np.cumsum([0, *(len(file.passages) for file in files)])
    questions = [
        question._replace(passage=question.passage + int(start))
        for file, start in zip(files, starts[:-1], strict=True)
        for question in file.questions
    ]
    file = np.repeat(np.arange(len(files)), [len(file.questions) for file in files])
    return _Read(questions, passages, [pieces(text) for text in passages], [pieces(q.text) for q in questions], file)


def _split(task: Any, read: _Read, seed: int) -> tuple[list[np.ndarray], int]:
    """Return the questions of training, validation and test, and how many of the first two were dropped as equal."""
    about = keys(" ".join(read.cut[q.passage].words) for q in read.questions)
    own = keys(" ".join([*cut.words, str(key)]) for cut, key in zip(read.asked, about.tolist(), strict=True))
    files = [np.flatnonzero(read.file == number) for number in range(len(_paths(task)))]
    return split(task, files, about, own, seed, "passages")


def _windows(task: Any, asked: Asked, read: _Read, rows: np.ndarray) -> tuple[list[Window], np.ndarray, np.ndarray]:
    """Return the windows of some questions, the question of each (n,), and its first and last step (n, 2)."""
    windows: list[Window] = []
    group: list[int] = []
    target: list[tuple[int, int]] = []
    for row in rows.tolist():
        question = read.questions[row]
        passage = read.cut[question.passage]
        for window in cut_windows(asked, read.asked[row], passage, task.max_length, task.stride):
            windows.append(window)
            group.append(row)
            target.append(span_in(window, passage, question.spans))
    return windows, np.array(group), np.array(target, dtype=np.int64)


def _floor(asked: Asked, read: _Read, rows: np.ndarray, match: str) -> float:
    total = 0.0
    for row in rows.tolist():
        question = read.questions[row]
        sentences = [found.group() for found in _SENTENCE.finditer(read.passages[question.passage])] or [""]
        shares = [asked.shared(read.asked[row], pieces(sentence)) for sentence in sentences]
        total += _MATCHES[match](sentences[int(np.argmax(shares))], question.answers)[1]
    return total / len(rows)


def _account(task: Any, files: list[Passages], read: _Read, parts: list[np.ndarray]) -> dict[str, Any]:
    names = ("train_questions", "validation_questions", "test_questions")
    return {
        "source": task.data,
        "rows_in": sum(file.rows_in for file in files),
        "rows_used": len(read.questions),  # also those that are dropped as equal, or cannot be learnt
        "rows_rejected": sum(len(file.rejects) for file in files),
        "digests": [file.digest for file in files],
        **{name: len(rows) for name, rows in zip(names, parts, strict=True)},
        "passages": len(read.passages),
        "unanswerable": sum(not question.answers for question in read.questions),
        "answer_not_in_passage": sum(bool(q.answers) and not q.spans for q in read.questions),
    }


def _items(task: Any, path: Path) -> Iterator[dict[str, Any] | Reject]:
    """Give {"question", "context"} of a SQuAD-style file, or of each line of one with JSON objects; else why not."""
    if path.name.lower().removesuffix(".gz").endswith(".json"):
        found = read_passages(path, task.encoding, allow_rejects=True, answered=False)
        for row in sorted([*found.questions, *found.rejects], key=lambda row: row.line):
            if isinstance(row, Reject):
                yield Reject(0, f"question {row.line} of the file: {row.reason}")
            else:
                yield {"question": row.text, "context": found.passages[row.passage]}
        return
    yield from map(_of_line, read_lines(path, task.encoding))


def _of_line(line: Line | Reject) -> dict[str, Any] | Reject:
    if isinstance(line, Reject):
        return line
    try:
        return _asked(line) if line.strip() else Reject(line.line, BLANK)
    except ValueError as error:
        return Reject(line.line, str(error))


def _answers(asked: Asked, task: Any, none: bool, model: Any, items: Sequence[Any]) -> list[dict[str, Any]]:
    return [_answer(asked, task, none, model, _asked(item)) for item in items]


def _answer(asked: Asked, task: Any, none: bool, model: Any, item: dict[str, Any]) -> dict[str, Any]:
    passage = pieces(item["context"])
    windows = cut_windows(asked, pieces(item["question"]), passage, task.max_length, task.stride)
    examples = Packed.of([window.steps for window in windows], np.zeros((len(windows), 2), np.int64))
    device = next(model.parameters()).device
    kept: list[np.ndarray] = []
    for start in range(0, len(windows), _BATCH):
        batch = examples.batch(np.arange(start, min(start + _BATCH, len(windows)))).to(device)
        kept.append(_judge(task.max_answer, respond(model, batch), batch)["span"].cpu().numpy())
    found = np.concatenate(kept)
    best = _best(found, windows, passage, none)
    if best is None:
        chance = float(np.exp(found[:, 3].min()))
        return {"question": item["question"], "answer": "", "start": None, "end": None, "probability": chance}
    start, end, chance = best
    said = item["context"][start:end]
    return {"question": item["question"], "answer": said, "start": start, "end": end, "probability": chance}


def _asked(item: Any) -> dict[str, Any]:
    shape = 'give {"question": "...", "context": "..."}'
    if isinstance(item, str):
        try:
            item = json.loads(item)
        except json.JSONDecodeError as error:
            raise ValueError(f"'{item[:60]}' is not JSON ({error.msg}); {shape}") from None
    texts = [item.get(name) if isinstance(item, dict) else None for name in ("question", "context")]
    if not all(isinstance(text, str) and pieces(text).words for text in texts):
        raise ValueError(f"{str(item)[:80]} is no question with a context; {shape}")
    return item
