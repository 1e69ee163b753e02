"""Sources: data that are on every machine, and plain text of the user's."""

import gzip
import hashlib
import sysconfig
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_digits

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
    images, labels = load_digits(return_X_y=True)
    return np.asarray(images, dtype=np.float32).reshape(-1, 8, 8), np.asarray(labels, dtype=np.int64)


def read_text(path: str | Path) -> bytes:
    """Return a UTF-8 text file's bytes; one that ends in .gz is unpacked.

    Raises:
        ValueError: the file is missing, unreadable, empty, or not UTF-8; the message says where.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except FileNotFoundError:
        raise ValueError(f"no file '{path}'; check the path given as --data") from None
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"cannot read '{path}': {error}") from None
    if not content:
        raise ValueError(f"'{path}' is empty; name a file with text in it")
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"'{path}' is not UTF-8: byte 0x{content[error.start]:02x} in line {line} (offset {error.start}); "
            f"convert it, e.g. iconv -f latin1 -t utf-8"
        ) from None
    if 0 in content:
        line = content.count(b"\n", 0, content.index(0)) + 1
        raise ValueError(f"'{path}' has a NUL byte in line {line}: it is no text file, or UTF-16; convert it to UTF-8")
    return content
