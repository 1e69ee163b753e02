"""Classify texts: tables of texts and labels, of any size, as tokens."""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path, PurePath
from typing import Any, Literal, Self

import numpy as np
import pydantic

from seqloom.core.spec import to_data
from seqloom.data.batches import Packed
from seqloom.data.cache import Prepared, Workplace, prepared
from seqloom.data.files import Rows, read_inputs
from seqloom.data.inputs import Line
from seqloom.data.records import Reject
from seqloom.data.splits import conflicting, grouped, repeated, without
from seqloom.data.spool import TextTable, encode_texts, evenly, read_texts
from seqloom.data.tokens import BPE, LEARN_CHARACTERS, Bytes, Tokenizer, tokenizer_from_json, truncated
from seqloom.model.frontend import Tokens
from seqloom.model.head import Labels
from seqloom.tasks._classes import class_detail, class_scorer
from seqloom.tasks._labelled import Labelled, class_names, majority_floor
from seqloom.tasks.task import Coding, Opened

_SHOWN = 5  # classes that a message names


class Texts(Labelled):
    """Settings that texts have."""

    validation_data: str | None = None  # texts: table to validate on, with the same columns; None: a share of the rows
    text: str | int = "text"  # texts: column of the texts: name, or number from 0 where there is no header
    label: str | int = "label"  # texts: column of the classes, likewise
    tokens: Literal["bpe", "bytes"] = "bpe"  # texts: steps are strings learnt from the training rows, or bytes
    vocabulary: int = pydantic.Field(default=8000, ge=256)  # texts: BPE tokens at most, the 256 bytes among them
    lower: bool = True  # texts: read upper case as lower case
    max_length: int = pydantic.Field(default=400, gt=0)  # texts: tokens of a text that are read
    cut: Literal["end", "middle"] = "end"  # texts: what a longer one loses
    encoding: str = "utf-8"  # texts: of the files
    header: bool | None = None  # texts: whether the first row names the columns; None: it does if a column is named
    delimiter: str | None = None  # texts: what separates cells; None: by the file's name

    @pydantic.model_validator(mode="after")
    def _two_columns(self) -> Self:
        if self.text == self.label:
            raise ValueError(f"text and label are both column '{self.text}'; they must be two")
        if self.validation_data is not None and self.validation != 0.1:
            raise ValueError(f"validation = {self.validation} has no effect beside validation_data: leave one out")
        return self


def open_texts(task: Texts, seed: int) -> Opened:
    """Read the tables, split the rows, learn the tokens from the training rows, and encode all; or take it from the
    cache, if that was done before and the files are large.

    Raises:
        ValueError: a table cannot be read or too many of its rows not used; one class or one row only; a class with
            too few texts to split; a label in other files that training never shows.
    """
    files = {name: Path(path) for name, path in _files(task).items()}
    heeded = set(Texts.__dataclass_fields__) - {"data", "validation_data", "test"}
    settings = {name: value for name, value in to_data(task).items() if name in heeded}
    made = partial(_prepare, task, files, seed)
    found = prepared(list(files.values()), ["texts", sorted(files), settings, seed], made)
    return _opened(task, list(files.values()), found)


def texts_coding(task: Texts, encoding: Any) -> Coding:
    """Return the tokens' encode from their tokenizer's JSON values."""
    tokenizer, middle = tokenizer_from_json(json.dumps(encoding)), task.cut == "middle"

    def encode(text: str) -> np.ndarray:
        tokens, offsets = tokenizer.encode_batch([text])
        return truncated(tokens, offsets, task.max_length, middle)[0]

    return Coding(encode=encode, items=partial(_items, task))


def _items(task: Texts, path: Path) -> Iterator[Line | Reject]:
    return read_inputs(path, task.text, encoding=task.encoding, header=task.header, delimiter=task.delimiter)


def _files(task: Texts) -> dict[str, str]:
    named = {"data": task.data, "validation_data": task.validation_data, "test": task.test}
    return {name: path for name, path in named.items() if path is not None}


def _rows(task: Texts, path: Path, columns: Sequence[str | int]) -> Rows:
    return Rows(
        path,
        columns,
        encoding=task.encoding,
        header=task.header,
        delimiter=task.delimiter,
        allow_rejects=task.allow_rejects,
    )


def _prepare(task: Texts, files: dict[str, Path], seed: int, place: Workplace) -> dict[str, Any]:
    """Return what `_opened` needs besides the arrays that grow: tokens, offsets, lengths, target and the parts."""
    tables = {
        name: read_texts(_rows(task, path, [task.text, task.label]), place, task.lower) for name, path in files.items()
    }
    learnt = tables["data"]
    others = [table.keys for name, table in tables.items() if name != "data"]
    kept = without(learnt.keys, np.concatenate([*others, learnt.keys[:0]]))
    labels = _labels(task, tables, kept)
    numbers = {label: number for number, label in enumerate(labels)}
    target = place.grow("target", np.int32)
    for table in tables.values():
        target.add(np.array([numbers[name] for name in table.names], dtype=np.int32)[table.label])
    parts = _split(task, tables, target.read(0, len(learnt)), kept, seed)
    for name, rows in zip(("train", "validation", "test"), parts, strict=True):
        place.grow(name, np.int64).add(rows)
    tokenizer = _tokenizer(task, evenly(learnt, parts[0], LEARN_CHARACTERS))
    encode_texts(list(tables.values()), tokenizer, place, task.max_length, task.cut == "middle")
    return {
        "labels": labels,
        "tokenizer": json.loads(tokenizer.to_json()),
        "rejects": [[number, *reject] for number, table in enumerate(tables.values()) for reject in table.rejects],
        "facts": {
            "rows_in": sum(table.rows_in for table in tables.values()),
            "rows_used": sum(map(len, tables.values())),
            "rows_rejected": sum(table.rows_rejected for table in tables.values()),
            "quotes": "enclose cells" if learnt.quoted else "are characters",
            "digests": [table.digest for table in tables.values()],
            "duplicates": repeated(learnt.keys),
            "duplicates_dropped": sum(map(len, tables.values())) - sum(map(len, parts)),
            "conflicting_labels": conflicting(learnt.keys, learnt.label),
        },
    }


def _split(
    task: Texts, tables: dict[str, TextTable], target: np.ndarray, kept: np.ndarray, seed: int
) -> list[np.ndarray]:
    """Return the rows of training, validation and test, numbered through all tables; equal texts are in one of them.

    Of a text that stands in several files, the test file keeps it, else the one to validate on.
    """
    share = task.validation
    starts = dict(zip(tables, np.cumsum([0, *map(len, tables.values())]).tolist(), strict=False))
    given = {name: starts[name] + np.arange(len(table)) for name, table in tables.items() if name != "data"}
    if {"validation_data", "test"} <= set(given):
        rows = without(tables["validation_data"].keys, tables["test"].keys)
        given["validation_data"] = starts["validation_data"] + rows
        return [kept, given["validation_data"], given["test"]]
    shares = (1 - share, share) if given else (1 - 2 * share, share, share)
    parts = [kept[rows] for rows in grouped(tables["data"].keys[kept], target[kept], shares, seed)]
    if "validation_data" in given:
        return [parts[0], given["validation_data"], parts[1]]
    return [*parts, *given.values()]


def _tokenizer(task: Texts, texts: list[str]) -> Tokenizer:
    return BPE.learn(texts, task.vocabulary, task.lower) if task.tokens == "bpe" else Bytes(task.lower)


def _opened(task: Texts, files: list[Path], found: Prepared) -> Opened:
    arrays, values = found
    labels = tuple(values["labels"])
    parts = [arrays[name] for name in ("train", "validation", "test")]
    examples = Packed(arrays["tokens"], arrays["offsets"], arrays["target"])
    train, validation, test = (examples.select(rows) for rows in parts)
    vocabulary = tokenizer_from_json(json.dumps(values["tokenizer"])).vocabulary
    floor, floor_of = majority_floor(arrays["target"], parts, labels)
    lengths = arrays["lengths"]
    return Opened(
        task=task,
        title=f"{task.label if isinstance(task.label, str) else 'Class'} of {PurePath(task.data).name}",
        train=train,
        validation=validation,
        test=test,
        frontend=Tokens(vocabulary=vocabulary, dropout=0.5),
        head=Labels(classes=len(labels), pool="mean", dropout=0.2),
        causal=False,
        floor=floor,
        floor_of=floor_of,
        facts={
            "source": task.data,
            "validation_source": task.validation_data or "a part of the same rows",
            "test_source": task.test or "a part of the same rows",
            **values["facts"],
            "train": len(train),
            "validation": len(validation),
            "test": len(test),
            "classes": len(labels),
            "tokens": task.tokens,
            "vocabulary": vocabulary,
            "length_median": float(np.median(lengths)),
            "length_p95": float(np.percentile(lengths, 95)),
            "length_max": int(lengths.max()),
            "max_length": task.max_length,
            "cut": task.cut,
            "truncated_share": float(np.mean(lengths > task.max_length)),
            "truncated_tokens_share": 1 - len(arrays["tokens"]) / int(lengths.sum()),
        },
        labels=labels,
        rejects=[
            {"file": str(files[number]), "line": line, "reason": reason} for number, line, reason in values["rejects"]
        ],
        defaults={"batch_size": 32, "learning_rate": 3e-3},
        architecture={"dropout": 0.2},
        scorer=class_scorer(len(labels)),
        detail=partial(class_detail, labels),
        coding=texts_coding(task, values["tokenizer"]),
        encoding=values["tokenizer"],
    )


def _labels(task: Texts, tables: dict[str, TextTable], kept: np.ndarray) -> tuple[str, ...]:
    """Return the names of the classes, sorted; refuse what cannot be learnt or tested."""
    learnt = tables["data"]
    if len(learnt) == 1:
        raise ValueError(f"'{task.data}' has one row that can be used; to learn needs several of each class")
    if len(learnt.names) == 1:
        raise ValueError(
            f"all {len(learnt)} rows of '{task.data}' have the label '{next(iter(learnt.names))}'; to classify needs "
            f"two classes or more. Is column '{task.label}' the label?"
        )
    _check_counts(task, learnt, kept)
    for table in tables.values():
        _check_known(task, table, learnt)
    return class_names(learnt.names)


def _check_counts(task: Texts, learnt: TextTable, kept: np.ndarray) -> None:
    parts = ["training", *(["validation"] * (task.validation_data is None)), *(["test"] * (task.test is None))]
    pairs = np.unique(np.stack([learnt.keys[kept], learnt.label[kept].astype(np.uint64)], axis=1), axis=0)
    counts = np.bincount(pairs[:, 1].astype(np.int64), minlength=len(learnt.names)).tolist()
    of_label = dict(zip(learnt.names, counts, strict=True))
    rare = [label for label, count in of_label.items() if count < len(parts)]
    if not rare:
        return
    shown = ", ".join(f"'{label[:40]}' ({of_label[label]}, line {learnt.names[label]})" for label in rare[:_SHOWN])
    more = f" and {len(rare) - _SHOWN} more" if len(rare) > _SHOWN else ""
    hint = f"; is column '{task.label}' the label?" if len(rare) > len(of_label) / 2 and all(counts) else ""
    if learnt.names[rare[0]] == 1 and isinstance(task.label, int) and not task.header:
        hint = "; if line 1 is a header, add --header"
    given = [path for name, path in _files(task).items() if name != "data"]
    beside = f" that do not stand in {' or '.join(repr(path) for path in given)}" if given else ""
    raise ValueError(
        f"'{task.data}': {len(rare)} of {len(of_label)} classes have fewer than {len(parts)} different texts{beside}, "
        f"one for {', '.join(parts)}: {shown}{more}; add rows, or take these out{hint}"
    )


def _check_known(task: Texts, table: TextTable, learnt: TextTable) -> None:
    strange = [label for label in table.names if label not in learnt.names]
    if strange:
        counts = dict(zip(table.names, np.bincount(table.label, minlength=len(table.names)).tolist(), strict=True))
        shown = ", ".join(f"'{label[:40]}' (line {table.names[label]})" for label in strange[:_SHOWN])
        more = f" and {len(strange) - _SHOWN} more" if len(strange) > _SHOWN else ""
        raise ValueError(
            f"'{table.path}' has labels that '{task.data}' never shows: {shown}{more}, in "
            f"{sum(counts[label] for label in strange)} of {len(table)} rows; correct them, or add such rows for "
            "training"
        )
