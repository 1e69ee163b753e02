"""Pictures of users: arrays in .npz, and folders of files; bytes (n, H, W, C) in memory.

Files of pictures are read by pillow, which is an extra. Pixels stay bytes, a quarter of the memory that values take,
and become values when a batch is collated.
"""

import hashlib
import warnings
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from seqloom.data.folders import Filed, check_files

Color = Literal["grey", "rgb"]
Size = tuple[int, int]  # height, width


class Pictures(NamedTuple):
    """Pictures of one size with their labels, and what became of the others."""

    pixels: np.ndarray  # (n, H, W, C) uint8, C 1 or 3
    labels: list[str]
    rejects: list[dict[str, str | int]]  # "file", "reason"
    rows_in: int
    digest: str
    sizes: int = 1  # different sizes that the files had
    resized: int = 0  # pictures brought to another size


def read_arrays(path: str | Path, dimensions: Sequence[int]) -> tuple[np.ndarray, list[str]]:
    """Return (array `x` in bytes, labels `y` as words) of an .npz; no pickled objects are read.

    Args:
        path: the file.
        dimensions: that x may have.

    Raises:
        ValueError: it cannot be read, lacks x or y, their shapes do not fit, or values are neither whole numbers from
            0 to 255 nor fractions from 0 to 1.
    """
    arrays = _load(path, ("x", "y"))
    x, y = bytes_of(arrays["x"], path), arrays["y"]
    if x.ndim not in dimensions or y.ndim != 1 or len(y) != len(x) or not len(x):
        raise ValueError(
            f"'{path}': x {x.shape} and y {y.shape}; x must have {' or '.join(map(str, dimensions))} dimensions, the "
            "first of which counts examples, and y one label for each"
        )
    if y.dtype.kind not in "iuUb":
        raise ValueError(f"'{path}': y holds {y.dtype}; labels are whole numbers or words")
    return x, [str(label) for label in y.tolist()]


def arrays_alone(path: str | Path) -> np.ndarray:
    """Return the array `x` of an .npz in bytes.

    Raises:
        ValueError: as `read_arrays`.
    """
    return bytes_of(_load(path, ("x",))["x"], path)


def read_npz(path: str | Path) -> Pictures:
    """Return the pictures x (n, H, W) or (n, H, W, C) with labels y (n,) of an .npz.

    Raises:
        ValueError: as `read_arrays`.
    """
    x, labels = read_arrays(path, (3, 4))
    pixels = channelled(x, path)
    return Pictures(pixels, labels, [], len(pixels), digest_of(pixels, np.array(labels)))


def read_folder(
    filed: Filed, folder: Path, size: Size | None, color: Color | None, allow_rejects: bool = False
) -> Pictures:
    """Read files of pictures, all brought to one size and one set of colours.

    Args:
        filed: the files and their labels.
        folder: where they stand.
        size: to resize to, bilinear and without heed of proportions; None: the most frequent size, the larger of two.
        color: "grey" or "rgb"; None: grey if all files are.
        allow_rejects: whether to go on with more than 0.1 % of the files damaged.

    Raises:
        ValueError: pillow is not installed, or too many files cannot be read.
    """
    shapes: list[tuple[Size, bool] | None] = []
    for file in filed.files:
        try:
            shapes.append(_look(file))
        except ValueError:
            shapes.append(None)  # told when its pixels are read
    known = [shape for shape in shapes if shape is not None]
    counts = Counter(found for found, _ in known)
    if size is None and counts:
        size = max(counts, key=lambda found: (counts[found], found))
    if color is None:
        color = "grey" if all(grey for _, grey in known) else "rgb"
    pixels = np.zeros((len(filed.files), *(size or (1, 1)), 1 if color == "grey" else 3), dtype=np.uint8)
    kept: list[int] = []
    rejects: list[tuple[str, str]] = []
    for row, file in enumerate(filed.files):
        try:
            pixels[len(kept)] = read_picture(file, size, color)
        except ValueError as error:
            rejects.append((str(file), str(error)))
        else:
            kept.append(row)
    check_files(folder, rejects, len(filed.files), allow_rejects)
    pixels = pixels[: len(kept)]
    told = [*filed.rejects, *({"file": file, "reason": reason} for file, reason in rejects)]
    rows_in = len(filed.files) + len(filed.rejects)
    return Pictures(
        pixels,
        [filed.labels[row] for row in kept],
        told,
        rows_in,
        digest_of(pixels, np.frombuffer(filed.digest.encode(), dtype=np.uint8)),
        len(counts),
        sum(count for found, count in counts.items() if found != size),
    )


def read_picture(path: Path, size: Size | None, color: Color) -> np.ndarray:
    """Return the pixels (H, W, C) of a file of a picture, turned as its camera was held; of several, the first.

    Raises:
        ValueError: pillow is not installed, or this is no picture or a damaged one.
    """
    image, ops = _pillow()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of notes in the file that are odd; damage raises
        try:
            with image.open(path) as opened:
                found = ops.exif_transpose(opened)
                if found.mode.startswith("I"):  # 16 bits of grey, which pillow would cut off instead of scale
                    found = image.fromarray((np.asarray(found) >> 8).clip(0, 255).astype(np.uint8))
                found = found.convert("L" if color == "grey" else "RGB")
                if size is not None and found.size != size[::-1]:
                    found = found.resize(size[::-1], image.Resampling.BILINEAR)
                pixels = np.asarray(found)
        except (OSError, SyntaxError, ValueError, EOFError, image.DecompressionBombError) as error:
            raise ValueError(f"no picture that can be read: {error}") from None
    return pixels.reshape(*pixels.shape[:2], -1)


def resized(pixels: np.ndarray, size: Size) -> np.ndarray:
    """Return pictures (n, H, W, C) of another size, bilinear; as they are if it is theirs.

    Raises:
        ValueError: pillow is not installed.
    """
    if pixels.shape[1:3] == size:
        return pixels
    image, _ = _pillow()
    grey = pixels.shape[3] == 1
    bands = [picture[..., 0] if grey else picture for picture in pixels]
    found = [image.fromarray(band).resize(size[::-1], image.Resampling.BILINEAR) for band in bands]
    return np.stack([np.asarray(picture) for picture in found]).reshape(len(pixels), *size, -1)


def coloured(pixels: np.ndarray, color: Color | None) -> np.ndarray:
    """Return pixels (..., C) in grey (ITU-R 601: .299 R + .587 G + .114 B) or RGB; None: as they are."""
    wanted = {"grey": 1, "rgb": 3, None: pixels.shape[-1]}[color]
    if pixels.shape[-1] == wanted:
        return pixels
    if wanted == 3:
        return np.repeat(pixels, 3, axis=-1)
    return (pixels @ np.array([[0.299], [0.587], [0.114]])).round().astype(np.uint8)


def bytes_of(values: np.ndarray, path: str | Path) -> np.ndarray:
    """Return values as bytes: whole numbers from 0 to 255 as they are, fractions from 0 to 1 times 255.

    Raises:
        ValueError: other values.
    """
    if values.dtype == np.uint8:
        return values
    low, high = (float(values.min()), float(values.max())) if values.size and values.dtype.kind in "iuf" else (-1, -1)
    if low >= 0 and high <= 1 and values.dtype.kind == "f":
        return (values * 255).round().astype(np.uint8)
    if low >= 0 and high <= 255 and (values.dtype.kind in "iu" or (values == values.round()).all()):
        return values.astype(np.uint8)
    raise ValueError(
        f"'{path}': x holds {values.dtype} from {low:g} to {high:g}; pixels are whole numbers from 0 to 255, or "
        "fractions from 0 to 1"
    )


def _look(path: Path) -> tuple[Size, bool]:
    """Return (the size of a picture as it is to be seen, whether it is grey) from its header."""
    image, ops = _pillow()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with image.open(path) as opened:
                width, height = opened.size
                turned = opened.getexif().get(0x0112, 1) >= 5  # the tag of orientation: 5 to 8 lie on their side
                return ((width, height) if turned else (height, width)), opened.mode in ("1", "L", "LA", "I", "I;16")
        except (OSError, SyntaxError, ValueError, EOFError, image.DecompressionBombError) as error:
            raise ValueError(str(error)) from None


def _pillow() -> tuple[Any, Any]:
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise ValueError("to read files of pictures needs pillow: pip install 'seqloom[images]'") from None
    return Image, ImageOps


def _load(path: str | Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as found:
            missing = [name for name in names if name not in found]
            if missing:
                raise ValueError(f"no array '{missing[0]}' among {', '.join(found.files) or 'none'}: name them x and y")
            return {name: found[name] for name in names}
    except (OSError, EOFError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(f"cannot read '{path}': {error}") from None


def channelled(pixels: np.ndarray, path: str | Path) -> np.ndarray:
    """Return pictures (n, H, W) or (n, H, W, C) as (n, H, W, C).

    Raises:
        ValueError: C is neither 1 nor 3.
    """
    pixels = pixels[..., None] if pixels.ndim == 3 else pixels
    if pixels.shape[-1] not in (1, 3):
        raise ValueError(f"'{path}': pictures of {pixels.shape[-1]} channels, the last dimension; must be 1 or 3")
    return pixels


def digest_of(*arrays: np.ndarray) -> str:
    """Return 12 hexadecimal digits of the SHA-256 of arrays' bytes, to know the data again by."""
    words = hashlib.sha256()
    for array in arrays:
        words.update(
            np.ascontiguousarray(array).tobytes() if array.dtype.kind == "U" else np.ascontiguousarray(array).data
        )
    return words.hexdigest()[:12]
