"""Questions of customers with their intents or answers: the settings and the reading that all ways to learn share."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pydantic

from seqloom.data.files import Table, read_inputs, read_table
from seqloom.data.inputs import BLANK, Line
from seqloom.data.records import Reject
from seqloom.data.splits import keys
from seqloom.data.tokens import BPE, Bytes, Tokenizer
from seqloom.tasks.task import Task


class Questions(Task):
    """Settings of what learns from a table of questions."""

    data: str  # table to learn from: .csv .tsv .jsonl, also .gz, or .parquet
    text: str | int = "text"  # column of the questions: name, or number from 0 where there is no header
    intent: str | int | None = None  # column of the intents, likewise
    answer: str | int | None = None  # column of the answers, likewise; beside intents some may be blank
    test: str | None = None  # table to test on, with the same columns; None: part of the rows
    validation: float = pydantic.Field(default=0.1, gt=0, lt=0.5)  # share of the rows to validate on
    tokens: Literal["bpe", "bytes"] = "bpe"  # steps: strings learnt from the training rows, or bytes
    vocabulary: int = pydantic.Field(default=8000, ge=256)  # BPE tokens at most, the 256 bytes among them
    lower: bool = True  # read upper case as lower case
    max_length: int = pydantic.Field(default=100, gt=0)  # tokens of a question, or of an answer, that are read
    encoding: str = "utf-8"  # of the files
    header: bool | None = None  # whether the first row names the columns; None: it does if a column is named
    delimiter: str | None = None  # what separates cells; None: by the file's name
    allow_rejects: bool = False  # go on with more than 0.1 % of the rows unusable


@dataclass(frozen=True)
class Asked:
    """The rows of all tables, those to test on last."""

    questions: list[str]
    intents: list[str]  # or the answers, where there are no intents
    answers: list[str]  # "" where there is none
    keys: np.ndarray  # (n,) the same for questions that are read alike
    learnt: int  # rows that are not to test on
    tables: list[Table]
    added: int = 0  # rows of none of the tables

    def facts(self, task: Questions) -> dict[str, Any]:
        """Return what became of the rows, and the files' digests."""
        return {
            "source": task.data,
            "test_source": task.test or "a part of the same rows",
            "rows_in": sum(table.rows_in for table in self.tables) + self.added,
            "rows_used": len(self.questions),
            "rows_rejected": sum(table.rows_in - len(table) for table in self.tables),
            "digests": [table.digest for table in self.tables],
        }

    def beside(self, questions: list[str], intent: str, task: Questions) -> "Asked":
        """Return the rows with questions of one intent, and without answers, behind those to learn from."""
        n = self.learnt
        asked, intents, answers = (
            [*had[:n], *added, *had[n:]]
            for had, added in (
                (self.questions, questions),
                (self.intents, [intent] * len(questions)),
                (self.answers, [""] * len(questions)),
            )
        )
        return Asked(asked, intents, answers, _keys(task, asked), n + len(questions), self.tables, len(questions))

    def rejects(self) -> list[dict[str, Any]]:
        """Return each row not used, with its reason."""
        return [
            {"file": str(table.path), "line": line, "reason": reason}
            for table in self.tables
            for line, reason in table.rejects
        ]


def read_questions(task: Questions) -> Asked:
    """Read the tables of a task.

    Raises:
        ValueError: a table cannot be read, or too many of its rows cannot be used.
    """
    columns = [column for column in (task.text, task.intent, task.answer) if column is not None]
    optional = [task.answer] if task.intent is not None and task.answer is not None else []
    tables = [
        read_table(
            path,
            columns,
            optional=optional,
            encoding=task.encoding,
            header=task.header,
            delimiter=task.delimiter,
            allow_rejects=task.allow_rejects,
        )
        for path in (task.data, task.test)
        if path is not None
    ]

    def cells(column: str | int) -> list[str]:
        return [cell.strip() for table in tables for cell in table.rows[column]]

    questions = cells(task.text)
    answers = [""] * len(questions) if task.answer is None else cells(task.answer)
    intents = answers if task.intent is None else cells(task.intent)
    return Asked(questions, intents, answers, _keys(task, questions), len(tables[0]), tables)


def _keys(task: Questions, questions: list[str]) -> np.ndarray:
    return keys(question.lower() if task.lower else question for question in questions)


def read_items(task: Questions, path: Path) -> Iterator[Line | Reject]:
    """Give the questions of a table, or the lines of a file that is none; a Reject for one that cannot be read.

    Raises:
        ValueError: the file cannot be read.
    """
    return read_inputs(path, task.text, encoding=task.encoding, header=task.header, delimiter=task.delimiter)


def read_more(task: Questions, path: Path) -> list[str]:
    """Return questions to learn from, as `read_items` reads them; blank lines are none.

    Raises:
        ValueError: the file cannot be read, or a row of it, or it has no question.
    """
    found: list[str] = []
    for row in read_items(task, path):
        if isinstance(row, Line):
            found.append(row.strip())
        elif row.reason != BLANK:
            raise ValueError(f"'{path}': line {row.line} cannot be used: {row.reason}; correct it, or take it out")
    if not found:
        raise ValueError(f"'{path}' holds only blanks; give a file with text in it")
    return found


def learn_tokens(task: Questions, texts: list[str]) -> Tokenizer:
    """Return the tokens of training texts."""
    return BPE.learn(texts, task.vocabulary, task.lower) if task.tokens == "bpe" else Bytes(task.lower)
