"""Fetching files over the network: the only place that does. Over https, resumed where it stopped, bounded, checked."""

import http.client
import os
import shutil
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import urlsplit

from seqloom.core import runtime
from seqloom.data.lines import file_digest, open_binary
from seqloom.data.telling import tell

SCHEMES = ("https",)  # what is fetched over; redirections are held to it too
_TIMEOUT_S = 30.0
_BLOCK = 2**18
_AGENT = "seqloom"

Members = Iterator[tuple[str, IO[bytes]]]  # name in the archive, content


@dataclass(frozen=True)
class Download:
    """A file to be fetched, and what becomes of it.

    Args:
        url: of the file.
        to: name to keep it under, unpacked if it is .gz and the name is not; or of an archive (.zip, .tar.gz) the names
            of its members, which may hold * and ?, with the name to keep each under (ending in /: in that folder).
        sha256: of the file as it is fetched; None: not known, so the first fetch is trusted and recorded.
        most_bytes: more are refused, of the file and of what it unpacks to.
        arrange: makes files in a folder of an archive's members; instead of `to`.
    """

    url: str
    to: "str | dict[str, str]" = ""
    sha256: str | None = None
    most_bytes: int = 200_000_000
    arrange: Callable[[Members, Path], None] | None = None


def fetch(download: Download, path: Path) -> str:
    """Fetch a file to a path, and return its SHA-256. What a broken connection left is gone on with.

    Raises:
        ValueError: SEQLOOM_OFFLINE is set, the address is none over https, the host does not give the file, it is
            larger than was said, or not the one that was meant.
    """
    if runtime.offline():
        raise ValueError(f"'{download.url}' is needed, and SEQLOOM_OFFLINE asks to leave the network alone: unset it")
    _check_scheme(download.url)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        _receive(download, part)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise ValueError(
            f"cannot fetch '{download.url}': {reason}; try again, it goes on where it stopped, or fetch it by hand"
        ) from None
    found = file_digest(part)
    if download.sha256 is not None and found != download.sha256:
        part.unlink()
        raise ValueError(
            f"'{download.url}' gave a file with SHA-256 {found}, not {download.sha256}: it is damaged or another; "
            "it was deleted, try again"
        )
    os.replace(part, path)
    return found


def _receive(download: Download, part: Path) -> None:
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(download.url, headers={"User-Agent": _AGENT})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        answer = _opener().open(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:  # nothing behind what is there: it was whole, or is another file's
            raise
        error.close()
        if download.sha256 is not None and file_digest(part) == download.sha256:
            return
        part.unlink()
        _receive(download, part)
        return
    with answer:
        if have and answer.status != 206:
            have = 0  # the host begins anew
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length is not None else None
        _check_size(download, total or 0, part)
        with part.open("ab" if have else "wb") as file:
            for block in iter(lambda: answer.read(_BLOCK), b""):
                have += len(block)
                _check_size(download, have, part)
                file.write(block)
                tell(f"fetching {PurePosixPath(urlsplit(download.url).path).name}", have / total if total else 0.0)
            file.flush()
            os.fsync(file.fileno())
    if total is not None and have < total:
        raise ConnectionError(f"the connection ended after {have} of {total} bytes")


def _opener() -> urllib.request.OpenerDirector:
    class Redirections(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
            _check_scheme(newurl)
            return super().redirect_request(req, fp, code, msg, headers, newurl)

    return urllib.request.build_opener(Redirections)


def _check_scheme(url: str) -> None:
    if urlsplit(url).scheme not in SCHEMES:
        raise ValueError(f"'{url}' is not fetched: only over {' or '.join(SCHEMES)}")


def _check_size(download: Download, size: int, part: Path) -> None:
    if size > download.most_bytes:
        part.unlink(missing_ok=True)
        raise ValueError(
            f"'{download.url}' has more than {download.most_bytes} bytes, which is more than this source has; it is "
            "another file, and is not fetched"
        )


def unpack(download: Download, path: Path, folder: Path) -> None:
    """Make of a fetched file what it is kept as, in a folder. Only the names that are asked for are written.

    Raises:
        ValueError: it is damaged, lacks a file, or unpacks to more than was said.
    """
    try:
        if download.arrange is not None:
            with _members(path) as members:
                download.arrange(members, folder)
        elif isinstance(download.to, str):
            with open_binary(path) as (raw, content), (folder / download.to).open("wb") as file:
                _copy(raw if download.to.endswith(".gz") else content, file, download)
        else:
            _take(download, path, folder)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"'{download.url}' gave a damaged archive: {error}") from None


def _take(download: Download, path: Path, folder: Path) -> None:
    assert isinstance(download.to, dict)
    missing = set(download.to)
    with _members(path) as members:
        for name, content in members:
            pattern = next((pattern for pattern in download.to if fnmatch(name, pattern)), None)
            if pattern is None:
                continue
            missing.discard(pattern)
            kept = download.to[pattern]
            target = folder / (kept + PurePosixPath(name).name if kept.endswith("/") else kept)
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as file:
                _copy(content, file, download)
    if missing:
        raise ValueError(f"'{download.url}' has no {', '.join(sorted(missing))}: it is another archive than was meant")


@contextmanager
def _members(path: Path) -> Iterator[Members]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield ((item.filename, archive.open(item)) for item in archive.infolist() if not item.is_dir())
        return
    with tarfile.open(path, "r|*") as archive:  # as a stream: members come in their order, each read once
        files = ((item.name, archive.extractfile(item)) for item in archive if item.isfile())
        yield ((name, content) for name, content in files if content is not None)


def _copy(content: IO[bytes], file: IO[bytes], download: Download) -> None:
    size = 0
    for block in iter(lambda: content.read(_BLOCK), b""):
        size += len(block)
        if size > 10 * download.most_bytes:
            raise ValueError(f"'{download.url}' unpacks to more than {10 * download.most_bytes} bytes: not taken")
        file.write(block)


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file in a folder, by its path in it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in files}


def fresh(folder: Path) -> Path:
    """Return an empty folder beside another, to be renamed to it."""
    made = folder.with_name(f"{folder.name}.{os.getpid()}.part")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    return made
