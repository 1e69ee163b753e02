"""Classify sounds: recordings with a label each, such as single words, by subfolder, by name or by table."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from seqloom.data.folders import files_of, labelled_files
from seqloom.data.recordings import Recording, by_name
from seqloom.data.sounds import Ear
from seqloom.model.frontend import Patches
from seqloom.model.head import Labels
from seqloom.tasks._labelled import Filed, class_names, majority_floor
from seqloom.tasks._listening import Listening, gather, lengths, listened, path_items
from seqloom.tasks.task import Coding, Opened

_LIKELIEST = 5  # classes shown of a prediction
_SHOWN = 5  # classes that a message names


class Sounds(Listening, Filed):
    """Settings that sounds have."""


def open_sounds(task: Sounds, seed: int) -> Opened:
    """Hear the recordings, drop copies, split them, standardise by those of training.

    Raises:
        ValueError: no labels, or what `gather` refuses; one class only, or one that training never shows.
    """
    learnt, rejects = _labelled(task, task.data, task.labels)
    given, more = (None, []) if task.test is None else _labelled(task, task.test, task.test_labels)
    found = gather(task, task.data, learnt, given, [*rejects, *more], seed, labelled=True)
    said = [recording.said for recording in found.recordings]
    classes = _classes(task, said, found.parts)
    target = np.array([classes.index(one) if one in classes else -1 for one in said])
    ear = Ear.learnt(found.mel, task.frames, task.max_seconds, [found.features[row] for row in found.parts[0]])
    examples = ear.examples(found.features, target, task.augment, seed)
    train, validation, test = (examples.select(rows) for rows in found.parts)
    floor, floor_of = majority_floor(target, found.parts, classes)
    encoding = {"kind": "sounds", "labels": list(classes), **ear.to_data()}
    return Opened(
        task=task,
        title=f"Class of the sounds of {Path(task.data).name}",
        train=train,
        validation=validation,
        test=test,
        frontend=Patches(channels=task.mels, size=task.frames, dropout=0.1),
        head=Labels(classes=len(classes), pool="max", dropout=0.2, smoothing=0.1),
        causal=False,
        floor=floor,
        floor_of=floor_of,
        facts={
            **found.facts,
            **lengths(found.features),
            "test_source": task.test or task.test_where or "a part of the same recordings",
            "train": len(train),
            "validation": len(validation),
            "test": len(test),
            "classes": len(classes),
        },
        rejects=found.rejects,
        labels=classes,
        defaults={"batch_size": 32, "learning_rate": 3e-3},
        architecture={"dropout": 0.1},
        parameters=300_000,
        coding=sounds_coding(encoding),
        encoding=encoding,
    )


def sounds_coding(data: dict[str, Any]) -> Coding:
    """Return the coding from the encoding's JSON values."""
    ear, labels = Ear.of_data(data), data["labels"]

    def tell(logits: Tensor) -> list[dict[str, Any]]:
        chances = logits.softmax(dim=-1)
        order = chances.topk(min(_LIKELIEST, len(labels))).indices.tolist()
        return [
            {"label": labels[top[0]], "probabilities": {labels[i]: row[i] for i in top}}
            for top, row in zip(order, chances.tolist(), strict=True)
        ]

    def answers(model: Any, items: Sequence[Any]) -> list[dict[str, Any]]:
        return listened(model, ear, items, tell)

    return Coding(answers=answers, items=path_items)


def _labelled(task: Sounds, path: str, labels: str | None) -> tuple[list[Recording], list[dict[str, Any]]]:
    """Return the recordings of a folder by the task's pattern, else by table or subfolder, and what is not used."""
    folder = Path(path)
    if task.pattern is not None:
        if labels is not None:
            raise ValueError(f"pattern '{task.pattern}' and labels '{labels}' both tell the labels: give one of them")
        return by_name(files_of(folder, "sounds"), task.pattern, "label")
    filed = labelled_files(folder, "sounds", labels, task.allow_rejects)
    recordings = [Recording((file,), label, {}) for file, label in zip(filed.files, filed.labels, strict=True)]
    return recordings, filed.rejects


def _classes(task: Sounds, said: Sequence[str], parts: Sequence[np.ndarray]) -> tuple[str, ...]:
    classes = class_names([said[int(row)] for row in parts[0]])
    if len(classes) < 2:
        raise ValueError(
            f"all recordings of '{task.data}' for training are '{''.join(classes)}'; give two labels or more"
        )
    strange = sorted({said[int(row)] for part in parts[1:] for row in part} - set(classes))
    if strange:
        shown = ", ".join(f"'{label[:40]}'" for label in strange[:_SHOWN])
        raise ValueError(f"labels that training never shows: {shown}; correct them, or add such recordings")
    return classes
