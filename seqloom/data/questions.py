"""Questions: SQuAD's json of passages with questions, tables of questions with candidates, rows that go together."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seqloom.data.batches import Batch, Examples
from seqloom.data.files import Column, Table, check_rejects, read_table
from seqloom.data.records import Reject
from seqloom.data.text import digest, read_bytes, read_text

_SHAPE = 'the shape is {"data": [{"paragraphs": [{"context": ..., "qas": [{"question": ..., "answers": [...]}]}]}]}'
_TRUTH = {"1": 1, "1.0": 1, "true": 1, "0": 0, "0.0": 0, "false": 0}


class Question(NamedTuple):
    """A question about a passage."""

    text: str
    passage: int  # number of the passage
    answers: tuple[str, ...] = ()  # all that count as right; none: it has no answer there
    spans: tuple[tuple[int, int], ...] = ()  # characters [start, end) of those that stand in the passage
    line: int = 0  # which question of the file it is, from 1


class Passages(NamedTuple):
    """What a SQuAD-style file holds."""

    path: Path
    passages: list[str]
    questions: list[Question]
    rejects: list[Reject]  # by the question's number in the file, from 1
    digest: str

    @property
    def rows_in(self) -> int:
        """Return how many questions stand in the file."""
        return len(self.questions) + len(self.rejects)


def read_passages(
    path: str | Path, encoding: str = "utf-8", allow_rejects: bool = False, answered: bool = True
) -> Passages:
    """Read passages with questions in SQuAD's json, version 1 or 2; CMRC 2018 in that shape too.

    An answer whose start is wrong is looked for elsewhere in the passage; the nearest place is taken. Answers that
    stand nowhere in it still count as right where answers are compared, but show no place to learn. A question of
    which no answer stands there, and that is not marked `is_impossible`, is kept without a span.

    Args:
        path: the file, also .gz.
        encoding: of the file.
        allow_rejects: whether to go on with more than a few questions that cannot be used.
        answered: whether answers are read; without them a question need not have any.

    Raises:
        ValueError: the file cannot be read, is no such json, or too many of its questions are broken.
    """
    path = Path(path)
    try:
        data = json.loads(read_text(path, encoding))
    except json.JSONDecodeError as error:
        raise ValueError(f"'{path}' is not JSON: {error.msg} in line {error.lineno}; {_SHAPE}") from None
    if not isinstance(data, dict) or not isinstance(data.get("data"), list):
        raise ValueError(f"'{path}' has no list under 'data': {_SHAPE}; one object a line is for a file named .jsonl")
    passages: list[str] = []
    questions: list[Question] = []
    rejects: list[Reject] = []
    for context, asked in _paragraphs(path, data["data"]):
        for item in asked:
            number = len(questions) + len(rejects) + 1
            found = _question(item, context, len(passages), number, answered)
            (rejects if isinstance(found, Reject) else questions).append(found)  # type: ignore[arg-type]
        passages.append(context)
    if not questions and not rejects:
        raise ValueError(f"'{path}' holds no question; {_SHAPE}")
    check_rejects(path, rejects, len(questions) + len(rejects), allow_rejects)
    return Passages(path, passages, questions, rejects, digest(read_bytes(path)))


def _paragraphs(path: Path, articles: list[Any]) -> Iterator[tuple[str, list[Any]]]:
    for number, article in enumerate(articles, 1):
        paragraphs = article.get("paragraphs") if isinstance(article, dict) else None
        if not isinstance(paragraphs, list):
            raise ValueError(f"'{path}': item {number} of 'data' has no list under 'paragraphs'; {_SHAPE}")
        for paragraph in paragraphs:
            context = paragraph.get("context") if isinstance(paragraph, dict) else None
            asked = paragraph.get("qas") if isinstance(paragraph, dict) else None
            if not isinstance(context, str) or not isinstance(asked, list):
                raise ValueError(f"'{path}': a paragraph of item {number} has no 'context' or no 'qas'; {_SHAPE}")
            yield context, asked


def _question(item: Any, context: str, passage: int, number: int, answered: bool) -> Question | Reject:
    text = item.get("question") if isinstance(item, dict) else None
    if not isinstance(text, str) or not text.strip():
        return Reject(number, "the question is empty")
    if not context.strip():
        return Reject(number, "its passage is empty")
    if item.get("is_impossible") is True or not answered:
        return Question(text, passage, line=number)
    answers = item.get("answers")
    if not isinstance(answers, list):
        return Reject(number, "it has no list under 'answers'")
    kept: list[str] = []
    spans: list[tuple[int, int]] = []
    for answer in answers:
        said = answer.get("text") if isinstance(answer, dict) else None
        start = answer.get("answer_start") if isinstance(answer, dict) else None
        if not isinstance(said, str) or not said.strip():
            continue
        kept.append(said)
        place = _place(context, said, start if isinstance(start, int) and start >= 0 else 0)
        if place is not None:
            spans.append((place, place + len(said)))
    if answers and not kept:
        return Reject(number, "all its answers are empty")
    return Question(text, passage, tuple(kept), tuple(spans), number)


def _place(context: str, said: str, start: int) -> int | None:
    """Return where an answer stands, nearest to where it is said to; None: nowhere."""
    if context.startswith(said, start):
        return start
    before, behind = context.rfind(said, 0, start + len(said)), context.find(said, start)
    places = [place for place in (before, behind) if place >= 0]
    return min(places, key=lambda place: abs(place - start)) if places else None


class Candidates(NamedTuple):
    """What a table of questions and candidate answers holds, rows in the file's order."""

    table: Table
    question: list[str]
    candidate: list[str]
    right: np.ndarray  # (n,) int64: 1 where the candidate answers the question


def read_candidates(
    path: str | Path, question: Column, candidate: Column, label: Column | None, **options: Any
) -> Candidates:
    """Read pairs of a question and a candidate answer, each labelled 1 (right) or 0; without a label all are 0.

    Raises:
        ValueError: as `read_table`; or a label is neither 1, 0, true nor false.
    """
    columns = [question, candidate, *([] if label is None else [label])]
    table = read_table(path, columns, **options)
    words = [] if label is None else [word.strip().lower() for word in table.rows[label]]
    wrong = next((i for i, word in enumerate(words) if word not in _TRUTH), None)
    if wrong is not None:
        raise ValueError(
            f"'{path}', line {table.line[wrong]}: label '{words[wrong][:40]}' in column '{label}'; it must be 1 where "
            "the candidate answers the question, else 0"
        )
    right = np.array([_TRUTH[word] for word in words], dtype=np.int64)
    right = right if label is not None else np.zeros(len(table), dtype=np.int64)
    return Candidates(table, table.rows[question], table.rows[candidate], right)


class Grouped(Examples):
    """Examples of which several belong together, as a question's candidates do: `group` (n,) says which.

    Scores are of groups; to score whole groups, select whole groups. `number` (n,) is what each example was called
    before any were selected.
    """

    def __init__(self, examples: Examples, group: np.ndarray, number: np.ndarray | None = None) -> None:
        assert len(examples) == len(group)
        self.lengths, self.group = examples.lengths, group
        self.number = np.arange(len(group)) if number is None else number
        self._examples = examples

    def batch(self, rows: np.ndarray) -> Batch:
        """Collate rows, in the order given."""
        return self._examples.batch(rows)

    def select(self, rows: np.ndarray) -> "Grouped":
        """Return the split of some of the rows, numbered anew; nothing is copied."""
        return Grouped(self._examples.select(rows), self.group[rows], self.number[rows])

    def spread(self, limit: int | None) -> "Grouped":
        """Return about `limit` examples: whole groups, the same ones each time, spread evenly; None: all.

        Raises:
            ValueError: limit < 1.
        """
        if limit is not None and limit < 1:
            raise ValueError(f"limit is {limit}; score at least 1 example")
        if limit is None or limit >= len(self.group):
            return self
        groups = np.unique(self.group)
        count = max(1, limit * len(groups) // len(self.group))
        chosen = groups[np.arange(count) * len(groups) // count]
        return self.select(np.flatnonzero(np.isin(self.group, chosen)))
