"""What pictures and clips share: their sizes and colours, and how pixels with labels become an opened task."""

import hashlib
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pydantic

from seqloom.data.images import Pictures, coloured
from seqloom.data.pixels import Pixels, View
from seqloom.model.frontend import Frontend
from seqloom.model.head import Labels
from seqloom.tasks._classes import class_scorer
from seqloom.tasks._labelled import Filed, class_names, majority_floor, split_rows, without_copies
from seqloom.tasks.task import Opened


class Sized(Filed):
    """Settings that pictures and clips have."""

    size: int | None = pydantic.Field(default=None, gt=0)  # pictures, clips: pixels a side to resize to; None: as most
    color: Literal["grey", "rgb"] | None = None  # pictures, clips: None: as the files are
    shift: int = pydantic.Field(default=0, ge=0)  # pictures, clips: pixels that training moves them by, at random


class Encoding(NamedTuple):
    """How pixels become inputs, as far as training decides it."""

    kind: Literal["pictures", "clips"]
    labels: tuple[str, ...]
    shape: tuple[int, ...]  # of an example: (H, W, C) or (F, H, W, C)
    view: View

    @property
    def size(self) -> tuple[int, int]:
        """Return (height, width)."""
        return self.shape[-3], self.shape[-2]

    @property
    def color(self) -> Literal["grey", "rgb"]:
        """Return the colours that are read."""
        return "grey" if self.shape[-1] == 1 else "rgb"

    def inputs(self, pixels: np.ndarray) -> np.ndarray:
        """Return the inputs (T, C') of an example of this shape.

        Raises:
            ValueError: another shape.
        """
        if pixels.shape != self.shape:
            raise ValueError(f"pixels of shape {pixels.shape}; the model reads {self.shape}")
        return self.view.steps(pixels[None])[0]

    def to_data(self) -> dict[str, Any]:
        """Return JSON values."""
        view = {**self.view._asdict(), "mean": self.view.mean.tolist(), "deviation": self.view.deviation.tolist()}
        return {"kind": self.kind, "labels": list(self.labels), "shape": list(self.shape), "view": view}

    @classmethod
    def of_data(cls, data: dict[str, Any]) -> "Encoding":
        """Return what `to_data` wrote."""
        view = data["view"]
        mean, deviation = (np.array(view[name], dtype=np.float64) for name in ("mean", "deviation"))
        return cls(
            data["kind"],
            tuple(data["labels"]),
            tuple(data["shape"]),
            View(view["kind"], mean, deviation, view["patch"]),
        )


def open_pixels(
    task: Sized,
    read: Sequence[Pictures],
    seed: int,
    kind: Literal["pictures", "clips"],
    view: str,
    patch: int,
    settings: dict[str, Any],
    frontend: Frontend,
    coding: Any,
) -> Opened:
    """Drop copies, split, and standardise by the training pixels.

    Args:
        task: its settings.
        read: the pictures or clips to learn from, and those to test on if they are given.
        seed: of the split and of shifts.
        kind: of the examples.
        view: what a step is.
        patch: pixels a side, where steps are patches.
        settings: of the Opened: defaults, architecture, parameters.
        frontend: reads the steps.
        coding: makes a Coding of an Encoding.

    Raises:
        ValueError: test data of another shape, or classes that cannot be split.
    """
    pixels = read[0].pixels if len(read) == 1 else np.concatenate([part.pixels for part in read])
    labels = [label for part in read for label in part.labels]
    n = len(read[0].labels)
    kept, copies = without_copies([hashlib.blake2b(x.tobytes(), digest_size=16).digest() for x in pixels], n)
    if copies:
        pixels, labels, n = pixels[kept], [labels[row] for row in kept], int((kept < n).sum())
    parts = split_rows(task, labels[:n], labels[n:], seed)
    classes = class_names(labels[:n])
    numbers = {name: number for number, name in enumerate(classes)}
    target = np.array([numbers[name] for name in labels])
    encoding = Encoding(kind, classes, pixels.shape[1:], View.learnt(view, pixels, parts[0], patch))
    examples = Pixels(pixels, target, encoding.view, task.shift, seed)
    train, validation, test = (examples.select(rows) for rows in parts)
    floor, floor_of = majority_floor(target, parts, classes)
    return Opened(
        task=task,
        train=train,
        validation=validation,
        test=test,
        frontend=frontend,
        head=Labels(classes=len(classes), pool="mean", smoothing=0.1),
        causal=False,
        floor=floor,
        floor_of=floor_of,
        facts={
            **_account(task, read, kind, copies),
            "train": len(train),
            "validation": len(validation),
            "test": len(test),
            "classes": len(classes),
            "shape": list(pixels.shape[1:]),
            "steps": int(examples.lengths[0]),
            "nearest_mean_accuracy": _nearest_mean(pixels, target, parts),
        },
        rejects=[reject for part in read for reject in part.rejects],
        labels=classes,
        coding=coding(encoding),
        encoding=encoding.to_data(),
        scorer=class_scorer(len(classes)),
        **settings,
    )


def alike(read: Sequence[Pictures], task: Sized) -> list[Pictures]:
    """Return what was read with the colours of the task, or grey if all of it is.

    Raises:
        ValueError: the pictures to test on have another size.
    """
    color = task.color or ("grey" if all(part.pixels.shape[-1] == 1 for part in read) else "rgb")
    found = [part._replace(pixels=coloured(part.pixels, color)) for part in read]
    if len({part.pixels.shape[1:] for part in found}) > 1:
        shapes = " and ".join(str(part.pixels.shape[1:]) for part in found)
        raise ValueError(f"'{task.data}' and '{task.test}' hold {shapes}, which must be alike: give --size")
    return found


def _account(task: Sized, read: Sequence[Pictures], kind: str, copies: int) -> dict[str, Any]:
    """Return what became of the files, and their digests."""
    return {
        "source": task.data,
        "test_source": task.test or f"a part of the same {kind}",
        "rows_in": sum(part.rows_in for part in read),
        "rows_used": sum(len(part.labels) for part in read),
        "rows_rejected": sum(len(part.rejects) for part in read),
        "duplicates_dropped": copies,
        "digests": [part.digest for part in read],
        "sizes_in_files": max(part.sizes for part in read),
        "resized": sum(part.resized for part in read),
    }


def _nearest_mean(pixels: np.ndarray, target: np.ndarray, parts: Sequence[np.ndarray]) -> float:
    """Return the accuracy on test of the class whose mean training example is nearest; a part at a time."""
    classes = int(target.max()) + 1
    means = np.stack([_mean(pixels, parts[0][target[parts[0]] == label]) for label in range(classes)])
    offset = (means**2).sum(axis=1) / 2
    right = 0
    for start in range(0, len(parts[2]), 256):
        rows = parts[2][start : start + 256]
        nearness = pixels[rows].reshape(len(rows), -1).astype(np.float32) @ means.T - offset
        right += int((nearness.argmax(axis=1) == target[rows]).sum())
    return right / len(parts[2])


def _mean(pixels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    total = np.zeros(pixels[0].size)
    for start in range(0, len(rows), 256):
        total += pixels[rows[start : start + 256]].reshape(-1, pixels[0].size).sum(axis=0, dtype=np.int64)
    return (total / max(len(rows), 1)).astype(np.float32)
