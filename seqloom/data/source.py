"""Sources: data that are on every machine."""

import hashlib
import sysconfig
from pathlib import Path
from typing import NamedTuple

import numpy as np

_TESTS = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}


class Source(NamedTuple):
    """One file of a source."""

    name: str
    content: bytes


def standard_library() -> list[Source]:
    """Return the Python standard library's own modules, without its tests, in the order of their names' hashes.

    The order, and any split by `share`, is the same wherever the files are.

    Raises:
        ValueError: this Python has no readable standard library.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    found: list[tuple[float, str, Path]] = []
    for path in root.rglob("*.py"):
        name = path.relative_to(root).as_posix()
        if not _TESTS.intersection(name.split("/")):
            found.append((share(name), name, path))
    if not found:
        raise ValueError(f"no modules of the standard library in {root}; name a text file with --data")
    return [Source(name, path.read_bytes()) for _, name, path in sorted(found)]


def share(name: str) -> float:
    """Return a number in [0, 1) that depends on the name alone, to split files by."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big") / 2**48


def handwritten_digits() -> tuple[np.ndarray, np.ndarray]:
    """Return scikit-learn's digits: images (1797, 8, 8) in 0 ... 16 and labels (1797,).

    Source: Alpaydin and Kaynak 1998, UCI Optical Recognition of Handwritten Digits (its test part).
    """
    from sklearn.datasets import load_digits  # here, since it takes a second that other sources need not wait

    images, labels = load_digits(return_X_y=True)
    return np.asarray(images, dtype=np.float32).reshape(-1, 8, 8), np.asarray(labels, dtype=np.int64)
