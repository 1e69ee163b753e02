"""Classify pictures, read as sequences of rows, pixels or patches."""

from collections.abc import Iterator, Sequence
from math import gcd
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pydantic

from seqloom.data.folders import SUFFIXES, files_of, labelled_files
from seqloom.data.idx import labels_beside, pictures_of_idx, read_idx_pair
from seqloom.data.images import Pictures, arrays_alone, coloured, read_folder, read_npz, read_picture, resized
from seqloom.model.frontend import Values
from seqloom.tasks._labelled import class_answers
from seqloom.tasks._pixels import Encoding, Sized, alike, open_pixels
from seqloom.tasks.task import Coding, Opened

_PATCHES = 4  # a side, where the size of patches is not given


class Seen(Sized):
    """Settings that pictures have."""

    view: Literal["rows", "pixels", "patches"] = "rows"  # pictures: what a step is
    patch: int | None = pydantic.Field(default=None, gt=0)  # pictures: pixels a side of a patch; None: a quarter


class Picture(NamedTuple):
    """A picture of a file of many, to be answered."""

    number: int  # from 0
    pixels: np.ndarray  # (H, W, C) uint8


def open_pictures(task: Seen, seed: int) -> Opened:
    """Read the pictures and split them.

    Raises:
        ValueError: what the readers refuse; a patch that does not divide the picture, or is set for other views; test
            pictures of another size; classes that cannot be split.
    """
    if task.patch is not None and task.view != "patches":
        raise ValueError(f"patch = {task.patch} has no effect on {task.view}: leave it out, or take view='patches'")
    read = [_read(task, task.data, task.labels, None)]
    if task.test is not None:
        read.append(_read(task, task.test, task.test_labels, read[0].pixels.shape[1:3]))
    read = alike(read, task)
    height, width, channels = read[0].pixels.shape[1:]
    patch = _patch(task, height, width)
    values = {"rows": width * channels, "pixels": channels, "patches": patch * patch * channels}[task.view]
    return open_pixels(
        task,
        read,
        seed,
        kind="pictures",
        view=task.view,
        patch=patch,
        settings={
            "title": f"Class of the pictures of {Path(task.data).name}, read by {task.view}",
            "defaults": {"batch_size": 64, "learning_rate": 2e-3},
            "architecture": {"dropout": 0.1},
            "parameters": 150_000,
        },
        frontend=Values(channels=values),
        coding=_coding,
    )


def pictures_coding(data: dict[str, Any]) -> Coding:
    """Return the coding from the encoding's JSON values."""
    return _coding(Encoding.of_data(data))


def _coding(encoding: Encoding) -> Coding:
    def pixels(item: str | Path | Picture) -> np.ndarray:
        if isinstance(item, Picture):
            return coloured(resized(item.pixels[None], encoding.size), encoding.color)[0]
        if isinstance(item, Path) or item.lower().endswith(SUFFIXES["pictures"]):
            return read_picture(Path(item), encoding.size, encoding.color)
        return _numbers(item, encoding.shape)

    def answers(model: Any, items: Sequence[Any]) -> list[dict[str, Any]]:
        found = class_answers(model, encoding.labels, [encoding.inputs(pixels(item)) for item in items])
        about = [{"number": item.number} if isinstance(item, Picture) else {} for item in items]
        return [{**where, **answer} for where, answer in zip(about, found, strict=True)]

    return Coding(encode=lambda line: encoding.inputs(pixels(line)), answers=answers, items=_items)


def _items(path: Path) -> Iterator[Path | Picture]:
    """Yield a picture's file, those of a folder, or the pictures of an idx file or an .npz."""
    if path.is_dir():
        if not (files := files_of(path, "pictures")):
            raise ValueError(
                f"folder '{path}' has no pictures; give one with files of {', '.join(SUFFIXES['pictures'])}"
            )
        yield from files
    elif path.suffix.lower() in SUFFIXES["pictures"]:
        yield path
    else:
        found = arrays_alone(path) if path.suffix.lower() == ".npz" else pictures_of_idx(path)
        found = found[..., None] if found.ndim == 3 else found
        if found.ndim != 4 or found.shape[-1] not in (1, 3):
            raise ValueError(f"'{path}': x has shape {found.shape}; pictures are (n, height, width) or (n, H, W, 3)")
        for number, pixels in enumerate(found):
            yield Picture(number, pixels)


def _numbers(line: str, shape: tuple[int, ...]) -> np.ndarray:
    size = int(np.prod(shape))
    try:
        values = np.array([int(word) for word in line.replace(",", " ").split()])
    except ValueError:
        values = np.array([-1])
    if len(values) != size or values.min() < 0 or values.max() > 255:
        raise ValueError(
            f"'{line[:40]}' is no input: give the name of a file of a picture, or {size} whole numbers from 0 to 255"
        )
    return values.astype(np.uint8).reshape(shape)


def _read(task: Seen, path: str, labels: str | None, usual: tuple[int, int] | None) -> Pictures:
    """Read pictures; `usual` is the size of those to learn from, which those to test on are brought to."""
    where = Path(path)
    size = (task.size, task.size) if task.size is not None else usual
    if where.is_dir():
        filed = labelled_files(where, "pictures", labels, task.allow_rejects)
        return read_folder(filed, where, size, task.color, task.allow_rejects)
    if where.suffix.lower() == ".npz":
        if labels is not None:
            raise ValueError(f"'{path}' holds its labels, as y, so labels '{labels}' have no effect: leave them out")
        found = read_npz(where)
    elif where.suffix.lower() in SUFFIXES["pictures"]:
        raise ValueError(f"'{path}' is one picture; give a folder with a subfolder for each class")
    else:
        found = read_idx_pair(where, labels if labels is not None else labels_beside(where))
    if size is None or found.pixels.shape[1:3] == size:
        return found
    return found._replace(pixels=resized(found.pixels, size), resized=len(found.labels))


def _patch(task: Seen, height: int, width: int) -> int:
    if task.view != "patches":
        return 1
    common = gcd(height, width)
    if task.patch is None:
        aim = min(height, width) / _PATCHES
        return min(
            (side for side in range(1, common + 1) if common % side == 0), key=lambda side: (abs(side - aim), side)
        )
    if height % task.patch or width % task.patch:
        raise ValueError(
            f"patch = {task.patch} does not divide pictures of {height} x {width}: take a side that divides both, or "
            "resize them with --size"
        )
    return task.patch
