"""Arrays that grow piece by piece, in memory or in files that are then mapped into it."""

import os
from pathlib import Path

import numpy as np


class Growing:
    """An array (n, ...) that pieces are added to; with a path it grows in that file, and memory holds one piece.

    Args:
        dtype: of the array; None: of the first piece.
        path: file to grow in; None: in memory.
    """

    def __init__(self, dtype: np.dtype | type | None = None, path: Path | None = None) -> None:
        self.dtype = None if dtype is None else np.dtype(dtype)
        self.path = path
        self.length = 0
        self._pieces: list[np.ndarray] = []
        self._file = path.open("w+b") if path is not None else None
        self._whole: np.ndarray | None = None

    def add(self, piece: np.ndarray) -> None:
        """Add values (m,) behind those that are there."""
        assert self._whole is None, "nothing can be added to a whole array"
        self.dtype = self.dtype or piece.dtype
        piece = np.ascontiguousarray(piece, dtype=self.dtype)
        self.length += len(piece)
        if self._file is None:
            self._pieces.append(piece)
        else:
            self._file.write(piece.data)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return values start ... stop - 1 of those that are there; from a file they are read, and not mapped."""
        assert self.dtype is not None
        if self._file is None:
            return self.array()[start:stop]
        self._file.flush()
        size = self.dtype.itemsize
        return np.frombuffer(os.pread(self._file.fileno(), (stop - start) * size, start * size), dtype=self.dtype)

    def array(self) -> np.ndarray:
        """Return all values (n,), those of a file mapped and read-only; nothing can be added afterwards."""
        if self._whole is None:
            dtype = self.dtype or np.dtype(np.int64)
            if self._file is None or self.path is None:
                self._whole = np.concatenate([np.zeros(0, dtype), *self._pieces])
                self._pieces.clear()
            else:
                self._file.flush()
                self._whole = mapped(self.path, dtype, self.length)
        return self._whole

    def close(self) -> None:
        """Close the file; an array of it stays as it is."""
        if self._file is not None:
            self._file.close()


def mapped(path: Path, dtype: np.dtype, length: int) -> np.ndarray:
    """Return the values (length,) in a file, mapped and read-only."""
    return (
        np.memmap(path, dtype=dtype, mode="r", shape=(length,)) if length else np.zeros(0, dtype)
    )  # none maps nothing
