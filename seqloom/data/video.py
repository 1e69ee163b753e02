"""Clips of users: files of video, and arrays in .npz; a fixed number of frames of one size, bytes (n, F, H, W, C).

Files are read by av, FFmpeg's libraries, which is an extra. A file's frames are read one at a time and only those that
are taken are kept, at their small size.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from seqloom.data.folders import Filed, check_files
from seqloom.data.images import Color, Pictures, Size, arrays_alone, read_arrays, resized


def read_clips(
    filed: Filed, folder: Path, frames: int, size: Size, color: Color, allow_rejects: bool = False
) -> Pictures:
    """Read files of video.

    Args:
        filed: the files and their labels.
        folder: where they stand.
        frames: how many to take of each, see `read_clip`.
        size: to resize them to, without heed of proportions.
        color: "grey" or "rgb".
        allow_rejects: whether to go on with more than 0.1 % of the files damaged.

    Raises:
        ValueError: av is not installed, or too many files cannot be read.
    """
    shape = (frames, *size, 1 if color == "grey" else 3)
    pixels = np.zeros((len(filed.files), *shape), dtype=np.uint8)
    labels: list[str] = []
    rejects: list[tuple[str, str]] = []
    for file, label in zip(filed.files, filed.labels, strict=True):
        try:
            pixels[len(labels)] = read_clip(file, frames, size, color)
        except ValueError as error:
            rejects.append((str(file), str(error)))
        else:
            labels.append(label)
    check_files(folder, rejects, len(filed.files), allow_rejects)
    pixels = pixels[: len(labels)]
    told = [*filed.rejects, *({"file": file, "reason": reason} for file, reason in rejects)]
    rows_in = len(filed.files) + len(filed.rejects)
    return Pictures(pixels, labels, told, rows_in, _digest(pixels, [filed.digest]), resized=len(labels))


def read_clip(path: Path, frames: int, size: Size, color: Color) -> np.ndarray:
    """Return frames (F, H, W, C) of a video: those in the middle of F equal parts; of a shorter one some repeat.

    Raises:
        ValueError: av is not installed, or there is no video that can be read.
    """
    av = _av()
    try:
        with av.open(str(path)) as container:
            count = sum(packet.size > 0 for packet in container.demux(_stream(container)))
        if not count:
            raise ValueError("no frames")
        wanted = (((np.arange(frames) + 0.5) * count) // frames).astype(int)
        taken: list[np.ndarray] = []
        last: np.ndarray | None = None
        with av.open(str(path)) as container:
            for number, frame in enumerate(container.decode(_stream(container))):
                times = int((wanted == number).sum())
                if times or not taken:  # the first stands in for what a damaged beginning lacks
                    last = _pixels(frame, size, color)
                taken += [last] * times if last is not None else []
                if len(taken) == frames:
                    break
    except (OSError, ValueError, av.FFmpegError) as error:
        raise ValueError(f"no video that can be read: {error}") from None
    if last is None:
        raise ValueError("no video that can be read: no frame can be decoded")
    return np.stack([*taken, *[last] * (frames - len(taken))])  # a few frames may not be decodable at the end


def read_npz(path: str | Path, size: Size | None = None) -> Pictures:
    """Return the clips x (n, F, H, W) or (n, F, H, W, C) with labels y (n,) of an .npz, resized if a size is given.

    Raises:
        ValueError: as `read_arrays`.
    """
    x, labels = read_arrays(path, (4, 5))
    clips = _sized(x, path, size)
    changed = len(labels) if clips.shape[2:4] != x.shape[2:4] else 0
    return Pictures(clips, labels, [], len(labels), _digest(clips, labels), resized=changed)


def clips_alone(path: str | Path, size: Size) -> np.ndarray:
    """Return the clips (n, F, H, W, C) of the array x of an .npz, resized.

    Raises:
        ValueError: as `read_arrays`.
    """
    return _sized(arrays_alone(path), path, size)


def _sized(x: np.ndarray, path: str | Path, size: Size | None) -> np.ndarray:
    x = x[..., None] if x.ndim == 4 else x
    if x.ndim != 5 or x.shape[-1] not in (1, 3):
        raise ValueError(f"'{path}': x has shape {x.shape}; clips are (n, frames, height, width), or that and 3")
    if size is None or x.shape[2:4] == size:
        return x
    return resized(x.reshape(-1, *x.shape[2:]), size).reshape(*x.shape[:2], *size, -1)


def _stream(container: Any) -> Any:
    if not container.streams.video:
        raise ValueError("no pictures in it")
    return container.streams.video[0]


def _pixels(frame: Any, size: Size, color: Color) -> np.ndarray:
    found = frame.reformat(width=size[1], height=size[0], format="gray" if color == "grey" else "rgb24")
    return np.asarray(found.to_ndarray()).reshape(*size, -1)


def _av() -> Any:
    try:
        import av
    except ImportError:
        raise ValueError("to read files of video needs av: pip install 'seqloom[video]'") from None
    return av


def _digest(pixels: np.ndarray, words: list[str]) -> str:
    found = hashlib.sha256(np.ascontiguousarray(pixels).data)
    found.update("\n".join(words).encode())
    return found.hexdigest()[:12]
