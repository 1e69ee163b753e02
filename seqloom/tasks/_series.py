"""Classify series: values over time of sensors and the like, from .ts files or a csv per series."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from seqloom.data.batches import Packed
from seqloom.data.folders import files_of, labelled_files
from seqloom.data.records import Reject
from seqloom.data.ts import Series as Read
from seqloom.data.ts import interpolated, parse_series, read_folder, read_series, read_ts, rows_of
from seqloom.model.frontend import Values
from seqloom.model.head import Labels
from seqloom.tasks._classes import class_scorer
from seqloom.tasks._labelled import (
    Filed,
    class_answers,
    class_names,
    majority_floor,
    split_rows,
    without_copies,
)
from seqloom.tasks.task import Coding, Opened, Watch

_NEIGHBOURS_WORK = 2_000_000_000  # products that the nearest neighbours may take
_FEW = 500  # validation examples below which training watches their loss
_RESAMPLED = 64  # steps that series of different lengths are compared at


class Series(Filed):
    """Settings that series have."""

    missing: Literal["interpolate", "refuse"] = "interpolate"  # series: what becomes of values that are missing
    standardise: Literal["data", "series", "none"] = "data"  # series: to mean 0, deviation 1: all alike, or each alone


class Row(NamedTuple):
    """A series of a file to be answered."""

    line: int
    values: np.ndarray  # (T, C)


class Encoding(NamedTuple):
    """How values become inputs, learnt from the training series."""

    labels: tuple[str, ...]
    standardise: str
    missing: str
    mask: bool  # channels behind the values tell where one is missing
    mean: np.ndarray  # (C,)
    deviation: np.ndarray  # (C,)

    @classmethod
    def learnt(cls, task: Series, labels: tuple[str, ...], values: Sequence[np.ndarray]) -> "Encoding":
        """Return the encoding of a task from its training series (T, C)."""
        steps = np.concatenate(values).astype(np.float64)
        known = ~np.isnan(steps)
        count = known.sum(axis=0).clip(min=1)
        mean = np.where(known, steps, 0).sum(axis=0) / count
        deviation = np.sqrt(np.where(known, (steps - mean) ** 2, 0).sum(axis=0) / count)
        return cls(labels, task.standardise, task.missing, not known.all(), mean, _divisor(deviation))

    def inputs(self, values: np.ndarray) -> np.ndarray:
        """Return the inputs (T, C or 2 C) of a series (T, C), NaN where a value is missing.

        Raises:
            ValueError: other channels than the training series have, or a missing value that is refused.
        """
        if values.shape[1] != len(self.mean):
            raise ValueError(f"{values.shape[1]} channels; the model reads {len(self.mean)}")
        gone = np.isnan(values)
        if self.missing == "refuse" and gone.any():
            step, channel = np.argwhere(gone)[0]
            raise ValueError(
                f"the value of step {step + 1}, channel {channel + 1} is missing: fill it in, or take "
                "missing='interpolate'"
            )
        mean, deviation = self.mean, self.deviation
        if self.standardise == "series":
            known = np.ma.masked_invalid(values.astype(np.float64))
            mean, deviation = known.mean(axis=0).filled(0.0), _divisor(known.std(axis=0).filled(0.0))
        if self.standardise != "none":
            values = (values - mean) / deviation
        # a channel without any value is 0 all along: the mean, where values are standardised
        filled = interpolated(np.asarray(values, dtype=np.float32))
        return np.concatenate([filled, gone.astype(np.float32)], axis=1) if self.mask else filled

    def to_data(self) -> dict[str, Any]:
        """Return JSON values."""
        arrays = {"mean": self.mean.tolist(), "deviation": self.deviation.tolist()}
        return {"kind": "series", **self._asdict(), "labels": list(self.labels), **arrays}

    @classmethod
    def of_data(cls, data: dict[str, Any]) -> "Encoding":
        """Return what `to_data` wrote."""
        arrays = {name: np.array(data[name], dtype=np.float64) for name in ("mean", "deviation")}
        return cls(tuple(data["labels"]), data["standardise"], data["missing"], data["mask"], **arrays)


def open_series(task: Series, seed: int) -> Opened:
    """Read the series, drop copies, split them, standardise by the training series.

    Raises:
        ValueError: what `read_ts` and `read_folder` refuse; no labels; test series of other channels; a missing value,
            where they are refused; classes that cannot be split.
    """
    read = _read_all(task)
    values = [series for part in read for series in part.values]
    labels = [label for part in read for label in part.labels]
    names = [name for part in read for name in part.names]
    kept, copies = without_copies([series.tobytes() for series in values], len(read[0].values))
    values, labels, names = ([column[row] for row in kept] for column in (values, labels, names))
    learnt = len(values) - (len(read[1].values) if task.test is not None else 0)
    parts = split_rows(task, labels[:learnt], labels[learnt:], seed)
    classes = class_names(labels[:learnt])
    target = np.array([classes.index(label) for label in labels])
    encoding = Encoding.learnt(task, classes, [values[row] for row in parts[0]])
    inputs = [_encoded(encoding, series, name) for series, name in zip(values, names, strict=True)]
    examples = Packed.of(inputs, target)
    train, validation, test = (examples.select(rows) for rows in parts)
    floor, floor_of = majority_floor(target, parts, classes)
    scorer = class_scorer(len(classes))
    return Opened(
        task=task,
        title=f"Class of the series of {Path(task.data).name}",
        train=train,
        validation=validation,
        test=test,
        frontend=Values(channels=inputs[0].shape[1]),
        head=Labels(classes=len(classes), pool="mean", dropout=0.2, smoothing=0.1),
        causal=False,
        floor=floor,
        floor_of=floor_of,
        facts={
            **_account(task, read, copies),
            "train": len(train),
            "validation": len(validation),
            "test": len(test),
            "classes": len(classes),
            **_shapes(values, examples.lengths),
            **_neighbours(inputs, target, parts),
        },
        rejects=[reject for part in read for reject in part.rejects],
        labels=classes,
        defaults={"batch_size": 16, "learning_rate": 2e-3},
        architecture={"dropout": 0.1},
        parameters=60_000,
        coding=series_coding(encoding.to_data()),
        encoding=encoding.to_data(),
        scorer=scorer,
        # of few examples the loss tells more: accuracy is the same for many weights
        watch=Watch("loss", "lower", scorer) if len(validation) < _FEW else None,
    )


def series_coding(data: dict[str, Any]) -> Coding:
    """Return the coding from the encoding's JSON values."""
    encoding = Encoding.of_data(data)

    def answers(model: Any, items: Sequence[Any]) -> list[dict[str, Any]]:
        found = class_answers(model, encoding.labels, [_encoded(encoding, *_asked(item)) for item in items])
        about = [{"line": item.line} if isinstance(item, Row) else {} for item in items]
        return [{**where, **answer} for where, answer in zip(about, found, strict=True)]

    return Coding(encode=lambda line: encoding.inputs(parse_series(line)), answers=answers, items=_items)


def _items(path: Path) -> Iterator[Path | Row | Reject]:
    """Yield the series of a .ts file, a csv of one series, or a folder of them."""
    if path.is_dir():
        if not (files := files_of(path, "series")):
            raise ValueError(f"folder '{path}' has no .csv or .tsv; give one with a file per series")
        yield from files
    elif path.suffix.lower() in (".csv", ".tsv"):
        yield path
    else:
        for row in rows_of(path):
            yield row if isinstance(row, Reject) else Row(*row)


def _asked(item: str | Path | Row) -> tuple[np.ndarray, str]:
    """Return the values of an input, and what to call it."""
    if isinstance(item, Row):
        return item.values, f"line {item.line}"
    return (read_series(item), str(item)) if isinstance(item, Path) else (parse_series(item), item[:40])


def _read_all(task: Series) -> list[Read]:
    """Return the series to learn from, and those to test on if they are given."""
    read = [_read(task, task.data, task.labels)]
    if task.test is not None:
        read.append(_read(task, task.test, task.test_labels))
        if read[1].channels != read[0].channels:
            raise ValueError(
                f"'{task.test}' has series of {read[1].channels} channels and '{task.data}' of {read[0].channels}: "
                "give test series of the same"
            )
    return read


def _read(task: Series, path: str, labels: str | None) -> Read:
    where = Path(path)
    if where.is_dir():
        return read_folder(labelled_files(where, "series", labels, task.allow_rejects), where, task.allow_rejects)
    if labels is not None:
        raise ValueError(f"'{path}' holds its labels, so labels '{labels}' have no effect: leave them out")
    found = read_ts(where, task.allow_rejects)
    if not found.labels:
        raise ValueError(f"'{path}' has no labels (@classLabel false): to classify needs them")
    return found


def _encoded(encoding: Encoding, values: np.ndarray, name: str) -> np.ndarray:
    try:
        return encoding.inputs(values)
    except ValueError as error:
        raise ValueError(f"'{name}': {error}") from None


def _account(task: Series, read: Sequence[Read], copies: int) -> dict[str, Any]:
    return {
        "source": task.data,
        "test_source": task.test or "a part of the same series",
        "rows_in": sum(part.rows_in for part in read),
        "rows_used": sum(len(part.values) for part in read),
        "rows_rejected": sum(len(part.rejects) for part in read),
        "duplicates_dropped": copies,
        "digests": [part.digest for part in read],
    }


def _shapes(values: Sequence[np.ndarray], lengths: np.ndarray) -> dict[str, Any]:
    return {
        "channels": int(values[0].shape[1]),
        "missing_values": int(sum(np.isnan(series).sum() for series in values)),
        "length_min": int(lengths.min()),
        "length_median": float(np.median(lengths)),
        "length_max": int(lengths.max()),
    }


def _neighbours(inputs: Sequence[np.ndarray], target: np.ndarray, parts: Sequence[np.ndarray]) -> dict[str, float]:
    """Return the accuracy on test of the nearest training series, {} where that takes too long.

    By Euclidean distance, the usual baseline of the archives (Bagnall et al. 2017, arXiv 1602.01711); series of
    different lengths are drawn out to one.
    """
    length = len(inputs[0]) if len({len(series) for series in inputs}) == 1 else _RESAMPLED
    if len(parts[0]) * len(parts[2]) * length * inputs[0].shape[1] > _NEIGHBOURS_WORK:
        return {}
    at = np.linspace(0, 1, length)
    flat = np.stack(
        [
            np.stack([np.interp(at, np.linspace(0, 1, len(s)), s[:, c]) for c in range(s.shape[1])]).ravel()
            for s in inputs
        ]
    )
    train, test = flat[parts[0]], flat[parts[2]]
    distance = (train**2).sum(axis=1) - 2 * test @ train.T  # what all of a row have in common left out
    return {"nearest_neighbour_accuracy": float(np.mean(target[parts[0]][distance.argmin(axis=1)] == target[parts[2]]))}


def _divisor(deviation: np.ndarray) -> np.ndarray:
    # a channel that never moves stays at 0
    return np.where(deviation > 1e-8, deviation, 1.0)
