"""Arrays of bytes in idx files, MNIST's format: pictures and their labels. Source: LeCun et al. 1998, MNIST."""

import math
from pathlib import Path

import numpy as np

from seqloom.data.images import Pictures, channelled, digest_of
from seqloom.data.text import read_bytes

_BYTES = 0x08  # the code of unsigned bytes


def read_idx(path: str | Path) -> np.ndarray:
    """Return the bytes of an idx file, plain or .gz, of 1 to 4 dimensions.

    Raises:
        ValueError: it cannot be read, is no idx file of unsigned bytes, or holds less or more than it says.
    """
    content = read_bytes(path)
    if len(content) < 8 or content[:2] != b"\0\0" or content[2] != _BYTES or not 1 <= content[3] <= 4:
        raise ValueError(f"'{path}' is no idx file of bytes: its first four bytes are {content[:4].hex(' ')}")
    shape = (
        np.frombuffer(content, dtype=">u4", count=content[3], offset=4) if len(content) >= 4 + 4 * content[3] else ()
    )
    begin, size = 4 + 4 * content[3], math.prod(int(side) for side in shape)
    if len(content) - begin != size or not size:
        raise ValueError(
            f"'{path}' says that it holds {' x '.join(map(str, shape))} bytes and has {max(len(content) - begin, 0)} "
            "behind its header: it is damaged or cut off; fetch it again"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=begin).reshape([int(side) for side in shape])


def read_idx_pair(images: str | Path, labels: str | Path) -> Pictures:
    """Return the pictures of an idx file, (n, H, W) or (n, H, W, C), with the labels (n,) of another.

    Raises:
        ValueError: as `read_idx`; or the shapes do not fit.
    """
    pixels, target = pictures_of_idx(images), read_idx(labels)
    if target.ndim != 1 or len(target) != len(pixels):
        raise ValueError(
            f"'{labels}' has shape {target.shape} and '{images}' {len(pixels)} pictures; give one label for each"
        )
    return Pictures(pixels, [str(label) for label in target.tolist()], [], len(pixels), digest_of(pixels, target))


def pictures_of_idx(path: str | Path) -> np.ndarray:
    """Return the pictures (n, H, W, C) of an idx file.

    Raises:
        ValueError: as `read_idx`; or it holds no pictures.
    """
    pixels = read_idx(path)
    if pixels.ndim < 3:
        raise ValueError(f"'{path}' has shape {pixels.shape}: no pictures, which are (n, height, width)")
    return channelled(pixels, path)


def labels_beside(images: str | Path) -> Path:
    """Return the file of labels that belongs to an idx file by its name: train-images-idx3 has train-labels-idx1.

    Raises:
        ValueError: there is no such file.
    """
    images = Path(images)
    found = images.with_name(images.name.replace("images", "labels").replace("idx3", "idx1"))
    if found == images or not found.is_file():
        raise ValueError(f"no labels beside '{images}': name the idx file that holds them with --labels")
    return found
