"""What tasks share whose examples are files with labels: series, pictures, clips, sounds, whatever the user has."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import Field, fields
from typing import Any

import numpy as np
import pydantic
import torch

from seqloom.data.batches import Packed
from seqloom.data.splits import stratified
from seqloom.tasks.task import Task

_SHOWN = 5  # classes that a message names
_LIKELIEST = 5  # classes shown of a prediction


class Labelled(Task):
    """Settings of every task that learns classes from the user's data."""

    data: str  # to learn from: table of texts (.csv .tsv .jsonl .parquet), .ts, .npz, idx, or folder of files
    test: str | None = None  # to test on, of the same kind; None: part of the data
    validation: float = pydantic.Field(default=0.1, gt=0, lt=0.5)  # share of the data to validate on
    allow_rejects: bool = False  # go on with more than 0.1 % of the rows or files unusable


class Filed(Labelled):
    """Settings of every task whose labels may stand in a file of their own."""

    labels: str | None = None  # idx labels, or a csv of file,label; None: subfolders, labels.csv, or by idx's name
    test_labels: str | None = None  # likewise, of the test data


def refuse_settings(task: Labelled, holds: str, heeded: Iterable[str]) -> None:
    """Refuse what was set and has no effect on these data.

    Args:
        task: the task.
        holds: what the data are, in words.
        heeded: names of the settings that do have an effect.

    Raises:
        ValueError: another setting does not have its default.
    """
    known = set(heeded)
    for field in fields(task):
        if field.name not in known and getattr(task, field.name) != _default(field):
            raise ValueError(
                f"{field.name} = {getattr(task, field.name)!r} has no effect on {holds}, which '{task.data}' holds: "
                "leave it out"
            )


def class_names(labels: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the classes, sorted, as numbers if they all are."""
    names = set(labels)
    numbered = all(name.isdecimal() and len(name) < 19 for name in names)
    return tuple(sorted(names, key=lambda name: (int(name) if numbered else 0, name)))


def split_rows(task: Labelled, labels: Sequence[str], given: Sequence[str], seed: int) -> list[np.ndarray]:
    """Return the rows of training, validation and test, the rows of `given` behind those of `labels`.

    Args:
        task: says what share is for validation, and whether there are data to test on.
        labels: of each row to learn from.
        given: of each row of the test data; none where the test is a part of the others.
        seed: the same one gives the same split.

    Raises:
        ValueError: nothing to learn from, one class only, a class with too few rows, or one of the test data that
            training never shows.
    """
    counts = Counter(labels)
    need = 3 if task.test is None else 2
    if not labels:
        raise ValueError(f"every example of '{task.data}' stands in '{task.test}' too; give others to test on")
    if len(counts) < 2:
        raise ValueError(f"all {len(labels)} examples of '{task.data}' have the label '{labels[0]}'; give two or more")
    if rare := [name for name, count in counts.items() if count < need]:
        raise ValueError(
            f"'{task.data}': {len(rare)} of {len(counts)} classes have fewer than {need} examples, one for each split: "
            f"{_named(rare)}; add examples, or take these out"
        )
    if strange := [name for name in dict.fromkeys(given) if name not in counts]:
        raise ValueError(
            f"'{task.test}' has labels that '{task.data}' never shows: {_named(strange)}; correct them, or add such "
            "examples for training"
        )
    numbers = {name: number for number, name in enumerate(class_names(labels))}
    target = np.array([numbers[name] for name in labels])
    if task.test is None:
        return stratified(target, (1 - 2 * task.validation, task.validation, task.validation), seed)
    kept = stratified(target, (1 - task.validation, task.validation), seed)
    return [*kept, np.arange(len(labels), len(labels) + len(given))]


def majority_floor(target: np.ndarray, parts: Sequence[np.ndarray], names: Sequence[str]) -> tuple[float, str]:
    """Return the accuracy on test of always giving training's most frequent class, and that in words."""
    most = int(np.bincount(target[parts[0]]).argmax())
    return float(np.mean(target[parts[2]] == most)), f"always answering '{names[most]}', the most frequent in training"


def without_copies(keys: Sequence[bytes], learnt: int) -> tuple[np.ndarray, int]:
    """Return (the rows to keep, how many copies were dropped), so that no two splits share an example.

    Of equal examples one stays: one of the test data if it is there, else the first.

    Args:
        keys: of each example, equal where the examples are; the test data stand last.
        learnt: how many of them are to learn from.
    """
    known = set(keys[learnt:])
    rows: list[int] = []
    for row, key in enumerate(keys[:learnt]):
        if key not in known:
            known.add(key)
            rows.append(row)
    kept = np.array([*rows, *range(learnt, len(keys))], dtype=np.int64)
    return kept, len(keys) - len(kept)


def class_answers(model: Any, labels: Sequence[str], inputs: Sequence[np.ndarray]) -> list[dict[str, Any]]:
    """Return the likeliest class of each input and the chances of the likeliest few, as `predict` shows them.

    Args:
        model: a Model with a head of labels, in evaluation mode.
        labels: names of the classes.
        inputs: (T, C) values each, of any lengths.
    """
    device = next(model.parameters()).device
    batch = Packed.of(list(inputs), np.zeros(len(inputs), dtype=np.int64)).batch(np.arange(len(inputs))).to(device)
    with torch.no_grad():
        chances = model(batch.inputs, segment=batch.segment)[0].float().softmax(dim=-1)
    found = []
    for top in chances.topk(min(_LIKELIEST, chances.shape[1])).indices.tolist():
        row = chances[len(found)].tolist()
        found.append({"label": labels[top[0]], "probabilities": {labels[i]: row[i] for i in top}})
    return found


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name[:40]}'" for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _default(field: Field[Any]) -> Any:
    default = field.default
    return default.get_default() if isinstance(default, pydantic.fields.FieldInfo) else default
