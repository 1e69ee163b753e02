"""The cache of prepared data: arrays and JSON values made of files, kept under a hash of all that they depend on.

An entry is a folder, made beside its place and renamed into it when it is whole on the disk, so that a killed process
leaves none half done. Processes that want the same entry wait for each other; the system lets go of the lock when its
holder ends, however it ends. An entry is checked against its hashes whenever it is read, and made again where it is
damaged. The folder may be deleted at any time while no process works with it.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seqloom.core.runtime import cache_dir
from seqloom.data.growing import Growing, mapped
from seqloom.data.lines import file_digest
from seqloom.data.telling import tell

FORMAT = 1  # of an entry and of what builders put there; another one makes all entries again
SMALL_BYTES = 8 * 2**20  # files of fewer in all are prepared in memory, which is as quick as reading the cache
_FOLDER = "prepared"
_MANIFEST = "manifest.json"
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP)  # of file systems without locks


class Prepared(NamedTuple):
    """What was made of files."""

    arrays: Mapping[str, np.ndarray]  # those of a cache entry are mapped, and read-only
    values: dict[str, Any]  # JSON


class Workplace:
    """Where a builder's arrays grow: in memory, or in the folder of an entry.

    Args:
        folder: None: in memory.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.kept: dict[str, Growing] = {}
        self._scratches: list[Growing] = []

    def grow(self, name: str, dtype: Any = None) -> Growing:
        """Return an array to add to, part of what is prepared under this name."""
        self.kept[name] = Growing(dtype, None if self.folder is None else self.folder / f"{name}.bin")
        return self.kept[name]

    def scratch(self, dtype: Any = None) -> Growing:
        """Return an array to add to that is gone when all is prepared."""
        number = len(self._scratches)
        self._scratches.append(Growing(dtype, None if self.folder is None else self.folder / f"{number}.scratch"))
        return self._scratches[-1]

    def close(self) -> None:
        """Close the files, and delete those that are not kept."""
        for growing in (*self.kept.values(), *self._scratches):
            growing.close()
        for growing in self._scratches:
            if growing.path is not None:
                growing.path.unlink()


Builder = Callable[[Workplace], dict[str, Any]]  # grows arrays, and returns JSON values


def prepared(files: Sequence[Path], settings: Any, build: Builder) -> Prepared:
    """Return what `build` makes of files: made now if they are small, else from the cache, where it is made once.

    Args:
        files: all that it is made of; their content counts, not their names.
        settings: all else that it depends on: JSON values.
        build: makes it. It is told a place for its arrays, and returns JSON values.

    Raises:
        ValueError: a file is missing; what `build` raises; the cache cannot be written.
    """
    if sum(path.stat().st_size for path in files if path.exists()) < SMALL_BYTES:
        place = Workplace()
        values = build(place)
        return Prepared({name: array.array() for name, array in place.kept.items()}, values)
    digests = [_digest(path) for path in files]
    key = hashlib.sha256(json.dumps([FORMAT, settings, digests], sort_keys=True).encode()).hexdigest()[:32]
    folder = cache_dir() / _FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / f"{key}.lock"):
            return _entry(folder / key, build)
    except OSError as error:
        raise ValueError(
            f"cannot keep prepared data in '{folder}': {error.strerror or error}; make room, or name another folder "
            "with SEQLOOM_CACHE"
        ) from None


def _digest(path: Path) -> str:
    tell(f"hashing {path.name}", 0.0)
    return file_digest(path)


def _entry(folder: Path, build: Builder) -> Prepared:
    if folder.exists():
        try:
            return _read(folder)
        except (ValueError, KeyError, TypeError, OSError) as error:
            tell(f"prepared data in '{folder}' are damaged ({error}) and made again")
            shutil.rmtree(folder)
    for left in folder.parent.glob(f"{folder.name}.*.part"):
        shutil.rmtree(left, ignore_errors=True)  # of a process that was killed: whoever has the lock is alone here
    made = folder.with_name(f"{folder.name}.{os.getpid()}.part")
    try:
        made.mkdir()
        _write(made, build)
        os.rename(made, folder)
        _sync(folder.parent)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return _read(folder)


def _write(folder: Path, build: Builder) -> None:
    place = Workplace(folder)
    try:
        values = json.dumps(build(place))
        kept = {name: growing.array() for name, growing in place.kept.items()}
    finally:
        place.close()
    arrays: dict[str, Any] = {}
    for name, array in kept.items():
        path = folder / f"{name}.bin"
        arrays[name] = {"dtype": array.dtype.str, "length": len(array), "sha256": file_digest(path)}
        _sync(path)
    manifest = {"values": values, "values_sha256": _sha256(values), "arrays": arrays}
    (folder / _MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    _sync(folder / _MANIFEST)
    _sync(folder)


def _read(folder: Path) -> Prepared:
    """Return an entry whose bytes are those that were written.

    Raises:
        ValueError, KeyError, TypeError, OSError: it is damaged.
    """
    manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
    if _sha256(manifest["values"]) != manifest["values_sha256"]:
        raise ValueError("its values are not those that were written")
    arrays: dict[str, np.ndarray] = {}
    for number, (name, about) in enumerate(manifest["arrays"].items()):
        tell("checking prepared data", number / len(manifest["arrays"]))
        path = folder / f"{name}.bin"
        if file_digest(path) != about["sha256"]:
            raise ValueError(f"{path.name} is not what was written")
        arrays[name] = mapped(path, np.dtype(about["dtype"]), about["length"])
    return Prepared(arrays, json.loads(manifest["values"]))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Inside, hold the lock of a file; wait for whoever holds it. It ends with the process."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell("waiting for another process that prepares the same data")
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        yield
    finally:
        with contextlib.suppress(OSError):
            os.close(handle)
