"""The run directory: who may write in it, and whether what is asked for is what it holds.

run.json says what the run is and never changes; a run is gone on with only if it is the same. One process at a time
writes: it holds a lock that the system lets go of when the process ends, however it ends.
"""

import errno
import fcntl
import json
import os
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from seqloom.train.checkpoint import sweep, write_whole

RUN = "run.json"
CHECKPOINTS = "checkpoints"
LEDGER = "ledger.jsonl"
REPORT = "report.html"
ENCODING = "encoding.json"
_LOCK = ".lock"


class RunDirectory:
    """A run directory that this process may write in, until `close`.

    Args:
        path: made if absent. One that holds a run is refused without `resume` or `overwrite`.
        record: JSON values for run.json.
        same: keys of the record that must equal those of the run that is gone on with.
        resume: go on with the run there; begin where there is none.
        overwrite: remove the run there, and nothing else.
        owns: names in it, besides those of every run, that `overwrite` removes.
        encoding: JSON values for encoding.json, written where it is absent; None: there is none.

    Raises:
        ValueError: the directory cannot be written in, is in use, holds something else, or holds another run; the
            message names the fields that differ.
    """

    def __init__(
        self,
        path: Path,
        record: dict[str, Any],
        same: tuple[str, ...],
        resume: bool = False,
        overwrite: bool = False,
        owns: tuple[str, ...] = (),
        encoding: dict[str, Any] | None = None,
    ) -> None:
        refuse(path, resume, overwrite)
        self.path = path
        self.notices: list[str] = []
        self._owns = (CHECKPOINTS, LEDGER, REPORT, ENCODING, *owns)
        self._unlock: Callable[[], object] = lambda: None
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._unlock = weakref.finalize(self, os.close, _locked(path))  # at the latest when nobody holds this
            self.record = self._open(record, same, resume, overwrite)
            if encoding is not None and not (path / ENCODING).exists():  # a kill came between, or an older version
                write_whole(path / ENCODING, json.dumps(encoding, ensure_ascii=False).encode())
        except OSError as error:
            self.close()
            raise ValueError(f"cannot write in '{path}': {error.strerror}; name another directory with --out") from None
        except BaseException:
            self.close()
            raise

    @property
    def checkpoints(self) -> Path:
        """Return the directory of the checkpoints."""
        return self.path / CHECKPOINTS

    @property
    def ledger(self) -> Path:
        """Return the file of the measurements."""
        return self.path / LEDGER

    def close(self) -> None:
        """Let others write in the directory."""
        self._unlock()

    def _open(self, record: dict[str, Any], same: tuple[str, ...], resume: bool, overwrite: bool) -> dict[str, Any]:
        sweep(self.path)
        refuse(self.path, resume, overwrite)  # again, now that nobody else can write
        there = _content(self.path)
        if there and resume:
            before = read_record(self.path)
            differing = differences(
                {key: before.get(key) for key in same}, {key: _plain(record.get(key)) for key in same}
            )
            if differing:
                raise ValueError(
                    f"the run in '{self.path}' is another: {'; '.join(differing)}. Ask for the same, or name another "
                    "directory with --out"
                )
            return before
        if overwrite and RUN in there:
            self._remove()
        elif resume:
            self.notices.append(f"'{self.path}' holds no run yet; beginning one")
        write_whole(self.path / RUN, (json.dumps(record, indent=2) + "\n").encode())
        return record

    def _remove(self) -> None:
        for name in self._owns:
            found = self.path / name
            if found.is_dir():
                aside = self.path / f".{name}.tmp"
                found.rename(aside)  # at once, so that a kill leaves no half of it
                shutil.rmtree(aside)
            else:
                found.unlink(missing_ok=True)


def refuse(path: Path, resume: bool, overwrite: bool) -> None:
    """Raise if a run may not write in a directory as it is; nothing is touched, so it can be asked early.

    Raises:
        ValueError: the directory holds a run and neither `resume` nor `overwrite` is asked, or it holds other things.
    """
    if resume and overwrite:
        raise ValueError("resume and overwrite exclude each other: go on with the run there, or replace it")
    if not path.exists():
        return
    if not path.is_dir():
        raise ValueError(f"'{path}' is not a directory; name another with --out")
    there = _content(path)
    if RUN in there and not (resume or overwrite):
        raise ValueError(
            f"'{path}' holds a run already; go on with it (--resume), replace it (--overwrite), or name another "
            "directory with --out"
        )
    if there and RUN not in there and not (overwrite and not {CHECKPOINTS, LEDGER, REPORT} & there):
        raise ValueError(
            f"'{path}' exists and holds no run but other things ({min(there)}, …); name another directory with --out"
        )


def read_record(path: Path) -> dict[str, Any]:
    """Return the content of a directory's run.json.

    Raises:
        ValueError: there is none, or it is not what a run writes.
    """
    try:
        record = json.loads((path / RUN).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"'{path}' holds no run: there is no {RUN}; name a directory that --out made") from None
    except OSError as error:
        raise ValueError(f"cannot read '{path / RUN}': {error.strerror}") from None
    except ValueError:
        raise ValueError(f"'{path / RUN}' is damaged; restore it from a copy, or begin anew with --overwrite") from None
    if not isinstance(record, dict):
        raise ValueError(f"'{path / RUN}' is not what a run writes; name a directory that --out made")
    return record


def launched(path: Path) -> str | None:
    """Return which start of several processes began the run in a directory; None where there is no run."""
    return read_record(path).get("launch") if (path / RUN).exists() else None


def read_encoding(path: Path) -> dict[str, Any] | None:
    """Return the content of a directory's encoding.json; None if there is none.

    Raises:
        ValueError: it is damaged.
    """
    try:
        encoding = json.loads((path / ENCODING).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(f"cannot read '{path / ENCODING}': {error.strerror}") from None
    except ValueError:
        encoding = None
    if not isinstance(encoding, dict):
        raise ValueError(f"'{path / ENCODING}' is damaged; restore it from a copy, or remove it and --resume the run")
    return encoding


def differences(before: Any, now: Any, at: str = "") -> list[str]:
    """Return a sentence for each field in which two JSON values differ."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = [*before, *(key for key in now if key not in before)]
        return [
            line for key in keys for line in differences(before.get(key), now.get(key), f"{at}.{key}".removeprefix("."))
        ]
    return [] if before == now else [f"{at} is {json.dumps(before)} there and {json.dumps(now)} now"]


def _content(path: Path) -> set[str]:
    # without the lock, and what a killed writer left half done
    return {item.name for item in path.iterdir() if item.name != _LOCK and not item.match(".*.tmp")}


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _locked(path: Path) -> int:
    handle = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise ValueError(f"another process is writing in '{path}'; wait for it, or name another directory") from None
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP):  # a file system without locks
            os.close(handle)
            raise
    return handle
