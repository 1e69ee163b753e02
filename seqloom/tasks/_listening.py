"""Listening: what tasks on recordings share: their settings, how files are heard and split, and how a run answers."""

from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pydantic
import torch
from torch import Tensor

from seqloom.data.audio import Broken, sound_files
from seqloom.data.mel import HOP_S, LogMel
from seqloom.data.recordings import (
    Recording,
    check_rejects,
    condition,
    features_of,
    hear,
    usual_rate,
)
from seqloom.data.sounds import Ear
from seqloom.data.splits import grouped, keys
from seqloom.tasks._labelled import class_names
from seqloom.tasks.task import Task

_AT_ONCE = 16  # recordings of a user's that are answered together


class Listening(Task):
    """Settings of every task on recordings."""

    pattern: str | None = None  # sounds: how names tell what a file is, e.g. "{label}_{speaker}_{n}"
    test_where: str | None = None  # sounds: files to test on, by a part of the name, e.g. "n=0-4" or "speaker=ann,bob"
    validation_where: str | None = None  # sounds: files to validate on, likewise; None: a share of the others
    apart: str | None = None  # sounds: part of the name whose values stay in one split each, such as speaker
    mels: int = pydantic.Field(default=40, ge=8, le=128)  # sounds: bands of pitch
    rate: int | None = pydantic.Field(default=None, ge=1000)  # sounds: samples a second; None: as most files have
    frames: int = pydantic.Field(default=2, gt=0)  # sounds: frames of 10 ms that make a step
    max_seconds: float = pydantic.Field(default=30.0, gt=0)  # sounds: longer recordings are not used
    validation: float = pydantic.Field(default=0.1, gt=0, lt=0.5)  # share of the data to validate on
    allow_rejects: bool = False  # go on with more than 0.1 % of the rows or files unusable
    augment: float = pydantic.Field(default=0.5, ge=0, le=1)  # sounds: how much training varies tempo, pitch, noise ...


class Gathered(NamedTuple):
    """Recordings that were heard and split."""

    recordings: list[Recording]
    features: list[np.ndarray]  # (T, M) float16 of each
    parts: list[np.ndarray]  # rows for training, validation and test
    mel: LogMel
    rejects: list[dict[str, Any]]
    facts: dict[str, Any]


def gather(
    task: Listening,
    source: str,
    learnt: Sequence[Recording],
    given: Sequence[Recording] | None,
    rejects: Sequence[dict[str, Any]],
    seed: int,
    labelled: bool,
) -> Gathered:
    """Hear recordings, drop copies, and split them.

    Args:
        task: the settings.
        source: what messages call the recordings.
        learnt: to learn from.
        given: to test on; None: a part of the others.
        rejects: files and rows that are not used already.
        seed: of the split.
        labelled: whether every split gets its share of each thing that is said.

    Raises:
        ValueError: too many cannot be used, a condition names none, or too few are there to be split.
    """
    wanted = [*learnt, *(given or ())]
    rows_in = len(wanted) + len(rejects)
    if not wanted:
        check_rejects(source, rejects, rows_in, task.allow_rejects)
    mel = LogMel(task.rate or usual_rate(learnt), task.mels)
    heard = hear(wanted, mel, task.max_seconds)
    found = [*rejects, *heard.rejects]
    check_rejects(source, found, rows_in, task.allow_rejects)
    recordings = [wanted[row] for row in heard.rows]
    testing = np.array(heard.rows) >= len(learnt) if given is not None else None
    parts = _split(task, recordings, heard.keys, testing, seed, labelled)
    facts = {
        "source": source,
        "rows_in": rows_in,
        "rows_used": len(recordings),
        "rows_rejected": len(found),
        "duplicates_dropped": len(recordings) - sum(map(len, parts)),
        "seconds": round(HOP_S * sum(map(len, heard.features)), 1),
        **heard.facts,
        "mels": task.mels,
        "step_ms": round(1000 * HOP_S * task.frames),
    }
    return Gathered(recordings, heard.features, parts, mel, found, facts)


def lengths(features: Sequence[np.ndarray]) -> dict[str, Any]:
    """Return how many frames recordings have, as facts."""
    counts = [len(x) for x in features]
    return {"length_median": float(np.median(counts)), "length_max": max(counts)}


def _split(
    task: Listening,
    recordings: Sequence[Recording],
    keys: np.ndarray,
    testing: np.ndarray | None,
    seed: int,
    labelled: bool,
) -> list[np.ndarray]:
    """Return the rows of training, validation and test; copies go, but for those of test rows."""
    known = {name for recording in recordings for name in recording.parts}
    if task.apart is not None and task.apart not in known:
        parts = ", ".join(sorted(known)) or "none"
        raise ValueError(f"apart = '{task.apart}' is no part of the recordings' names or rows; parts: {parts}")
    if testing is not None and task.test_where is not None:
        raise ValueError(f"test_where = '{task.test_where}' has no effect beside other data to test on: leave it out")
    if testing is None:
        testing = _chosen(task.test_where, recordings, known, "test")
    validating = ~testing & _chosen(task.validation_where, recordings, known, "validation")
    order = np.concatenate([np.flatnonzero(mask) for mask in (testing, validating, ~testing & ~validating)])
    seen = set(keys[testing].tolist())
    kept = [row for row in order[testing.sum() :] if keys[row] not in seen and not seen.add(keys[row])]
    validation, rest = (np.array([r for r in kept if validating[r] == side], dtype=np.int64) for side in (True, False))
    test = np.flatnonzero(testing)
    if not len(rest):
        raise ValueError("no recording is left for training: test and validate on fewer")
    _check_apart(task, recordings, (rest, validation, test))
    wants = [name for name, rows in (("validation", validation), ("test", test)) if not len(rows)]
    if not wants:
        return [rest, validation, test]
    shares = (1 - task.validation * len(wants), *[task.validation] * len(wants))
    pieces = _shared_out(task, [recordings[row] for row in rest], shares, seed, labelled)
    drawn = dict(zip(("train", *wants), (np.sort(rest[piece]) for piece in pieces), strict=True))
    return [drawn["train"], drawn.get("validation", validation), drawn.get("test", test)]


def _check_apart(task: Listening, recordings: Sequence[Recording], parts: Sequence[np.ndarray]) -> None:
    """Refuse splits chosen otherwise in which a value that is kept apart stands twice.

    Raises:
        ValueError: with those values.
    """
    if task.apart is None:
        return
    held = [{recordings[row].parts.get(task.apart, "") for row in part} for part in parts]
    twice = sorted(set().union(*(one & other for one, other in combinations(held, 2))))
    if twice:
        shown = ", ".join(f"'{value[:40]}'" for value in twice[:5]) + ", …" * (len(twice) > 5)
        raise ValueError(
            f"apart = '{task.apart}' keeps each in one split, and {shown} would stand in two, since another part or "
            f"file says what is for test or validation: choose by it, test_where = '{task.apart}={twice[0][:40]}', or "
            "leave apart out"
        )


def _chosen(where: str | None, recordings: Sequence[Recording], known: set[str], split: str) -> np.ndarray:
    if where is None:
        return np.zeros(len(recordings), dtype=bool)
    fits = condition(where, known)
    found = np.array([fits(recording) for recording in recordings])
    if not found.any():
        raise ValueError(f"no recording for {split} has {where}: name values that there are")
    return found


def _shared_out(
    task: Listening, recordings: Sequence[Recording], shares: Sequence[float], seed: int, labelled: bool
) -> list[np.ndarray]:
    """Return the rows of each part: things that are said alike shared out alike, or parts of names kept together.

    Raises:
        ValueError: too few recordings, or values of the part that is kept together, to give each split one.
    """
    if task.apart is not None:
        values = [recording.parts[task.apart] for recording in recordings]
        if len(set(values)) < len(shares):
            raise ValueError(
                f"apart = '{task.apart}': {len(set(values))} values for {len(shares)} splits; say which are for which "
                f"with test_where and validation_where, or leave it out"
            )
        return grouped(keys(values), None, shares, seed)
    said = [recording.said for recording in recordings]
    names = class_names(said) if labelled else ()
    target = np.array([names.index(one) if labelled else 0 for one in said])
    rare = [name for number, name in enumerate(names) if np.count_nonzero(target == number) < len(shares)]
    if rare or len(recordings) < len(shares):
        shown = ", ".join(f"'{name}'" for name in rare[:5]) or f"{len(recordings)} in all"
        raise ValueError(
            f"fewer than {len(shares)} different recordings, one for each split, of: {shown}; add some, or take these "
            "out"
        )
    return grouped(np.arange(len(said)).astype(np.uint64), target, shares, seed)


def path_items(path: Path) -> list[Path]:
    """Return the sound files at a path: itself, or those in a folder.

    Raises:
        ValueError: nothing is there.
    """
    if not path.exists():
        raise ValueError(f"no file or folder '{path}'; give a sound file, or a folder of them")
    return [path] if path.is_file() else sound_files(path)


def listened(
    model: Any, ear: Ear, items: Sequence[Any], tell: Callable[[Tensor], list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Return the answer to each sound file, {"error": reason} where it cannot be used.

    Args:
        model: in evaluation mode.
        ear: how it hears.
        items: paths.
        tell: the model's outputs of some recordings to their answers.
    """
    mel = LogMel(ear.rate, ear.mels)
    answers: list[dict[str, Any]] = [{} for _ in items]
    heard: list[tuple[int, np.ndarray]] = []
    for number, item in enumerate(items):
        try:
            heard.append((number, features_of(Recording((Path(item),), "", {}), mel, ear.max_seconds)[0]))
        except Broken as error:
            answers[number] = {"error": f"the file {error}"}
    heard.sort(key=lambda pair: len(pair[1]))  # of like length together
    device = next(model.parameters()).device
    for start in range(0, len(heard), _AT_ONCE):
        rows, features = zip(*heard[start : start + _AT_ONCE], strict=True)
        batch = ear.examples(features, np.zeros(len(rows))).batch(np.arange(len(rows))).to(device)
        with torch.no_grad():
            found = tell(model(batch.inputs, segment=batch.segment)[0].float())
        for row, answer in zip(rows, found, strict=True):
            answers[row] = answer
    return answers
