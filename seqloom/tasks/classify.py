"""Classify: the class of each text, series, picture or clip of the user's."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import PurePath
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import pydantic

from seqloom.data.batches import Packed
from seqloom.data.files import Table, read_table
from seqloom.data.folders import Kind, kind_of
from seqloom.data.splits import stratified
from seqloom.data.tokens import BPE, Bytes, Tokenizer, tokenizer_from_json, truncated
from seqloom.model.frontend import Tokens
from seqloom.model.head import Labels
from seqloom.tasks._labelled import Labelled, refuse_settings
from seqloom.tasks._series import Series, open_series, series_coding
from seqloom.tasks.task import Coding, Opened, Task

_SHOWN = 5  # classes that a message names


class _Other(NamedTuple):
    """A kind of data besides texts: which settings have an effect, what opens it, and what restores its coding."""

    settings: type[Labelled]
    open: Callable[[Any, int], Opened]
    coding: Callable[[Any], Coding]


_OTHERS: dict[Kind, _Other] = {
    "series": _Other(Series, open_series, series_coding),
}


class Classify(Series, Task):
    """Tell the class of a text, learnt from a CSV, TSV, JSON lines or Parquet file of texts and labels of yours.

    One example of tokens="bpe", as its tokens would be spelt; its target is the number of "late" among the sorted
    labels ("late", "lost"):

        text,label
        Where is my card? I ordered it last month.,late

        inputs    _where _is _my _card ? _i _ordered _it _last _month .
        target    0

    Columns are given by name, or by number from 0 for a file without a header. Without a test file the rows are split
    by seed, every class alike: `validation` of them for validation, as many for test, the rest for training.
    """

    metric: ClassVar[str] = "accuracy"
    better: ClassVar[str] = "higher"
    source: ClassVar[tuple[str, ...]] = (
        "sennrich2016",
        "Sennrich, R. and Haddow, B. and Birch, A.",
        "Neural Machine Translation of Rare Words with Subword Units",
        "2016",
        "arXiv:1508.07909",
    )
    text: str | int = "text"  # column of the texts: name, or number from 0 where there is no header
    label: str | int = "label"  # column of the classes, likewise
    tokens: Literal["bpe", "bytes"] = "bpe"  # steps: strings learnt from the training rows, or bytes
    vocabulary: int = pydantic.Field(default=8000, ge=256)  # BPE tokens at most, the 256 bytes among them
    lower: bool = True  # read upper case as lower case
    max_length: int = pydantic.Field(default=400, gt=0)  # tokens of a text that are read
    encoding: str = "utf-8"  # of the files
    header: bool | None = None  # whether the first row names the columns; None: it does if a column is named
    delimiter: str | None = None  # what separates cells; None: by the file's name

    @pydantic.model_validator(mode="after")
    def _two_columns(self) -> Self:
        if self.text == self.label:
            raise ValueError(f"text and label are both column '{self.text}'; they must be two")
        return self

    def open(self, seed: int = 0) -> Opened:
        """Read the tables, split the rows, learn the tokens from the training rows, and encode all.

        Raises:
            ValueError: a table cannot be read or too many of its rows not used; one class or one row only; a class with
                too few rows to split; a label in the test file that training never shows.
        """
        other = self._other()
        if other is not None:
            return other.open(self, seed)
        tables = [self._read(path) for path in (self.data, self.test) if path is not None]
        labels = _labels(self, tables)
        numbers = {label: number for number, label in enumerate(labels)}
        texts = [text for table in tables for text in table.rows[self.text]]
        target = np.array([numbers[label.strip()] for table in tables for label in table.rows[self.label]])
        parts = self._split(target, len(tables[0]), seed)
        tokenizer = self._tokenizer([texts[row] for row in parts[0]])
        steps, offsets = tokenizer.encode_batch(texts)
        lengths = np.diff(offsets)
        examples = Packed(*truncated(steps, offsets, self.max_length), target)
        train, validation, test = (examples.select(rows) for rows in parts)
        majority = np.bincount(target[parts[0]]).argmax()
        known = {texts[row] for row in parts[0]}
        return Opened(
            task=self,
            title=f"{self.label if isinstance(self.label, str) else 'Class'} of {PurePath(self.data).name}",
            train=train,
            validation=validation,
            test=test,
            frontend=Tokens(vocabulary=tokenizer.vocabulary, dropout=0.5),
            head=Labels(classes=len(labels), pool="mean", dropout=0.2),
            causal=False,
            floor=float(np.mean(target[parts[2]] == majority)),
            floor_of=f"always answering '{labels[majority]}', the most frequent in training",
            facts={
                **_account(self, tables),
                "train": len(train),
                "validation": len(validation),
                "test": len(test),
                "test_also_in_training": sum(texts[row] in known for row in parts[2]),
                "classes": len(labels),
                "tokens": self.tokens,
                "vocabulary": tokenizer.vocabulary,
                "length_median": float(np.median(lengths)),
                "length_p95": float(np.percentile(lengths, 95)),
                "length_max": int(lengths.max()),
                "max_length": self.max_length,
                "truncated_share": float(np.mean(lengths > self.max_length)),
            },
            labels=labels,
            rejects=[
                {"file": str(table.path), "line": line, "reason": reason}
                for table in tables
                for line, reason in table.rejects
            ],
            defaults={"batch_size": 32, "learning_rate": 3e-3},
            architecture={"dropout": 0.2},
            coding=self._coding(tokenizer),
            encoding=json.loads(tokenizer.to_json()),
        )

    def coding(self, encoding: Any) -> Coding:
        """Return the coding of other kinds than texts as they say; the tokens' from their tokenizer's JSON values."""
        if (other := _OTHERS.get(encoding["kind"])) is not None:
            return other.coding(encoding)
        return self._coding(tokenizer_from_json(json.dumps(encoding)))

    def like(self, encoding: Any) -> Self:
        """Return the task on bytes, if the encoding is of bytes."""
        if not (isinstance(encoding, dict) and encoding.get("kind") == "bytes"):
            return self
        return self.replace(tokens="bytes", lower=encoding["lower"])

    def _other(self) -> _Other | None:
        """Return what opens data that are no texts; refuse test data of another kind, and settings without effect."""
        kind = kind_of(self.data)
        if self.test is not None and (tested := kind_of(self.test)) != kind:
            raise ValueError(f"'{self.data}' holds {kind} and '{self.test}' {tested}; test on the same kind")
        other = _OTHERS.get(kind)
        texts = (*Labelled.__dataclass_fields__, *Classify.__annotations__)
        refuse_settings(self, kind, other.settings.__dataclass_fields__ if other is not None else texts)
        return other

    def _coding(self, tokenizer: Tokenizer) -> Coding:
        return Coding(encode=lambda text: tokenizer.encode(text)[: self.max_length])

    def _read(self, path: str) -> Table:
        return read_table(
            path,
            [self.text, self.label],
            encoding=self.encoding,
            header=self.header,
            delimiter=self.delimiter,
            allow_rejects=self.allow_rejects,
        )

    def _split(self, target: np.ndarray, n: int, seed: int) -> list[np.ndarray]:
        """Return the rows of training, validation and test; of n rows in the first table, the others are for test."""
        if self.test is None:
            return stratified(target, (1 - 2 * self.validation, self.validation, self.validation), seed)
        kept = stratified(target[:n], (1 - self.validation, self.validation), seed)
        return [*kept, np.arange(n, len(target))]

    def _tokenizer(self, texts: list[str]) -> Tokenizer:
        return BPE.learn(texts, self.vocabulary, self.lower) if self.tokens == "bpe" else Bytes(self.lower)


def _labels(task: Classify, tables: list[Table]) -> tuple[str, ...]:
    """Return the names of the classes, sorted, as numbers if they are; refuse what cannot be learnt or tested."""
    lines: dict[str, int] = {}
    for line, label in zip(tables[0].line, tables[0].rows[task.label], strict=True):
        lines.setdefault(label.strip(), int(line))
    counts = Counter(label.strip() for label in tables[0].rows[task.label])
    if len(tables[0]) == 1:
        raise ValueError(f"'{task.data}' has one row that can be used; to learn needs several of each class")
    if len(counts) == 1:
        raise ValueError(
            f"all {len(tables[0])} rows of '{task.data}' have the label '{next(iter(counts))}'; to classify needs two "
            f"classes or more. Is column '{task.label}' the label?"
        )
    _check_counts(task, counts, lines)
    if len(tables) > 1:
        _check_known(task, tables[1], counts)
    numbered = all(label.isdecimal() and len(label) < 19 for label in counts)
    return tuple(sorted(counts, key=lambda label: (int(label) if numbered else 0, label)))


def _check_counts(task: Classify, counts: Counter[str], lines: dict[str, int]) -> None:
    parts = "training and validation" if task.test is not None else "training, validation and test"
    need = 2 if task.test is not None else 3
    rare = [label for label, count in counts.items() if count < need]
    if not rare:
        return
    shown = ", ".join(f"'{label[:40]}' ({counts[label]}, line {lines[label]})" for label in rare[:_SHOWN])
    more = f" and {len(rare) - _SHOWN} more" if len(rare) > _SHOWN else ""
    hint = f"; is column '{task.label}' the label?" if len(rare) > len(counts) / 2 else ""
    if lines[rare[0]] == 1 and isinstance(task.label, int) and not task.header:
        hint = "; if line 1 is a header, add --header"
    raise ValueError(
        f"'{task.data}': {len(rare)} of {len(counts)} classes have fewer than {need} rows, one each for {parts}: "
        f"{shown}{more}; add rows, or take these out{hint}"
    )


def _check_known(task: Classify, test: Table, counts: Counter[str]) -> None:
    strange: dict[str, list[int]] = {}
    for line, label in zip(test.line, test.rows[task.label], strict=True):
        if label.strip() not in counts:
            strange.setdefault(label.strip(), []).append(int(line))
    if strange:
        shown = ", ".join(f"'{label[:40]}' (line {where[0]})" for label, where in list(strange.items())[:_SHOWN])
        more = f" and {len(strange) - _SHOWN} more" if len(strange) > _SHOWN else ""
        raise ValueError(
            f"'{task.test}' has labels that '{task.data}' never shows: {shown}{more}, in "
            f"{sum(map(len, strange.values()))} of {len(test)} rows; correct them, or add such rows for training"
        )


def _account(task: Classify, tables: list[Table]) -> dict[str, Any]:
    """Return what became of the rows of all tables, and their digests."""
    return {
        "source": task.data,
        "test_source": task.test or "a part of the same rows",
        "rows_in": sum(table.rows_in for table in tables),
        "rows_used": sum(map(len, tables)),
        "rows_rejected": sum(len(table.rejects) for table in tables),
        "quotes": "enclose cells" if tables[0].quoted else "are characters",
        "digests": [table.digest for table in tables],
    }
