"""Classify clips, read frame by frame."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pydantic

from seqloom.data.folders import SUFFIXES, files_of, labelled_files
from seqloom.data.images import Pictures, Size, coloured
from seqloom.data.video import clips_alone, read_clip, read_clips, read_npz
from seqloom.model.frontend_frames import Frames
from seqloom.tasks._labelled import class_answers
from seqloom.tasks._pixels import Encoding, Sized, alike, open_pixels
from seqloom.tasks.task import Coding, Opened

_FRAMES = 16  # of clips, where no number is given
_SIDE = 64  # pixels, where no size is given: files of video are far larger than models of this size can use


class Filmed(Sized):
    """Settings that clips have."""

    clip_frames: int = pydantic.Field(default=16, ge=2)  # clips: frames taken of each file, evenly spread


class Clip(NamedTuple):
    """A clip of a file of many, to be answered."""

    number: int  # from 0
    pixels: np.ndarray  # (F, H, W, C) uint8


def open_clips(task: Filmed, seed: int) -> Opened:
    """Read the clips and split them.

    Raises:
        ValueError: what the readers refuse; a number of frames that is set for arrays, which have theirs; test clips of
            another shape; classes that cannot be split.
    """
    read = [_read(task, task.data, task.labels)]
    if task.test is not None:
        read.append(_read(task, task.test, task.test_labels))
    read = alike(read, task)
    _, _, height, width, colors = read[0].pixels.shape
    return open_pixels(
        task,
        read,
        seed,
        kind="clips",
        view="frames",
        patch=1,
        settings={
            "title": f"Class of the clips of {Path(task.data).name}",
            "defaults": {"batch_size": 16, "learning_rate": 2e-3},
            "architecture": {"dropout": 0.1},
            "parameters": 250_000,
        },
        frontend=Frames.of(height, width, colors),
        coding=clips_coding_of,
    )


def clips_coding(data: dict[str, Any]) -> Coding:
    """Return the coding from the encoding's JSON values."""
    return clips_coding_of(Encoding.of_data(data))


def clips_coding_of(encoding: Encoding) -> Coding:
    """Return the coding of an encoding: inputs are names of files of video, or clips of an .npz."""

    def steps(item: str | Path | Clip) -> np.ndarray:
        if isinstance(item, Clip):
            return encoding.inputs(coloured(item.pixels, encoding.color))
        try:
            return encoding.inputs(read_clip(Path(item), encoding.shape[0], encoding.size, encoding.color))
        except ValueError as error:
            raise ValueError(f"'{str(item)[:200]}': {error}; give the name of a file of video") from None

    def answers(model: Any, items: Sequence[Any]) -> list[dict[str, Any]]:
        found = class_answers(model, encoding.labels, [steps(item) for item in items])
        about = [{"number": item.number} if isinstance(item, Clip) else {} for item in items]
        return [{**where, **answer} for where, answer in zip(about, found, strict=True)]

    def items(path: Path) -> Iterator[Path | Clip]:
        if path.is_dir():
            if not (files := files_of(path, "clips")):
                raise ValueError(f"folder '{path}' has no clips; give one with files of {', '.join(SUFFIXES['clips'])}")
            yield from files
        elif path.suffix.lower() == ".npz":
            for number, pixels in enumerate(clips_alone(path, encoding.size)):
                yield Clip(number, pixels)
        else:
            yield path

    return Coding(encode=steps, answers=answers, items=items)


def _read(task: Filmed, path: str, labels: str | None) -> Pictures:
    where = Path(path)
    size: Size = (task.size or _SIDE, task.size or _SIDE)
    if where.is_dir():
        filed = labelled_files(where, "clips", labels, task.allow_rejects)
        return read_clips(filed, where, task.clip_frames, size, task.color or "rgb", task.allow_rejects)
    if where.suffix.lower() != ".npz":
        raise ValueError(f"'{path}' is one clip; give a folder with a subfolder for each class")
    if labels is not None:
        raise ValueError(f"'{path}' holds its labels, as y, so labels '{labels}' have no effect: leave them out")
    found = read_npz(where, size if task.size is not None else None)
    frames = found.pixels.shape[1]
    if task.clip_frames not in (_FRAMES, frames):
        raise ValueError(f"clip_frames = {task.clip_frames}, and the clips of '{path}' have {frames}: leave it out")
    return found
