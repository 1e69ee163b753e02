"""Lines of text files of any size, plain or gzip, read as often as asked for, with one line in memory."""

import gzip
import hashlib
import io
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

from seqloom.data.text import READING, check_start, unreadable, wrong_byte

LONGEST = 2**25  # characters of a line, or of a record of several; a longer one is an accident
_BLOCK = 2**20  # bytes read at a time
_HEAD = 4096  # bytes that tell the encoding


class TextFile:
    """The lines of a text file.

    Args:
        path: the file; gzip is unpacked.
        encoding: of the file.
        newline: what ends a line: "\n" alone, or with "" any of the three ways, also mixed.

    Raises:
        ValueError: the file is missing, unreadable or empty, or is not in that encoding by its first bytes.
    """

    def __init__(self, path: Path, encoding: str, newline: str) -> None:
        self.path, self.encoding, self._newline = path, encoding, newline
        self._raw: BinaryIO | None = None  # in the pass under way
        head = check_readable(path)
        self.size = path.stat().st_size
        self._codec = check_start(head, path, encoding)
        self._digest: str | None = None

    @property
    def digest(self) -> str:
        """Return 12 hexadecimal digits of the SHA-256 of the content, unpacked; known once the lines were read."""
        assert self._digest is not None, "read the lines first"
        return self._digest

    @property
    def share_read(self) -> float:
        """Return how much of the file the pass under way has read, from 0 to 1."""
        return 1.0 if self._raw is None or self._raw.closed else self._raw.tell() / self.size

    def __iter__(self) -> Iterator[str | None]:
        """Give each line with its end; None for one that is longer than LONGEST.

        Raises:
            ValueError: the file is damaged or not in its encoding; the message names the first wrong byte.
        """
        return self._passed(partial(_bounded, ends=self._newline or "\r\n"))

    def pieces(self) -> Iterator[str]:
        """Give the text as it comes, some characters at a time. Raises as lines do."""
        return self._passed(lambda text: iter(partial(text.read, _BLOCK), ""))

    def _passed(self, read: Callable[[io.TextIOWrapper], Iterator[Any]]) -> Iterator[Any]:
        try:
            with open_binary(self.path) as (raw, content):
                hashed = _Hashed(content)
                self._raw = raw
                text = io.TextIOWrapper(cast(BinaryIO, hashed), encoding=self._codec, newline=self._newline)
                pieces = read(text)
                for first in islice(pieces, 1):
                    yield first.removeprefix("\ufeff") if first is not None else None
                yield from pieces
                self._raw = None
                self._digest = hashed.sha.hexdigest()[:12]
        except UnicodeError:
            with open_binary(self.path) as (_, content):
                raise wrong_byte(iter(partial(content.read, _BLOCK), b""), self.path, self.encoding) from None
        except READING as error:
            raise unreadable(self.path, error) from None


def check_readable(path: Path) -> bytes:
    """Return the first bytes of a file, unpacked.

    Raises:
        ValueError: it is missing, unreadable or empty.
    """
    try:
        with open_binary(path) as (_, content):
            head = content.read(_HEAD)
    except READING as error:
        raise unreadable(path, error) from None
    if not head:
        raise ValueError(f"'{path}' is empty; give a file with data in it")
    return head


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as they lie there. Work O(bytes), in bounded memory.

    Raises:
        ValueError: it is missing or unreadable.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from None


class open_binary:  # noqa: N801  used as a function
    """Open a file for reading, unpacked if it is gzip: `with open_binary(path) as (file as it lies there, content)`."""

    def __init__(self, path: Path) -> None:
        self._raw: BinaryIO = path.open("rb", buffering=_BLOCK)
        packed = self._raw.peek(2)[:2] == b"\x1f\x8b" or path.suffix == ".gz"  # type: ignore[attr-defined]
        self._content = gzip.GzipFile(fileobj=self._raw) if packed else self._raw

    def __enter__(self) -> tuple[BinaryIO, BinaryIO]:
        return self._raw, self._content  # type: ignore[return-value]

    def __exit__(self, *_: object) -> None:
        self._content.close()
        self._raw.close()


class _Hashed(io.BufferedIOBase):
    """Passes bytes on and hashes them."""

    def __init__(self, content: BinaryIO) -> None:
        self._content, self.sha = content, hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read1(self, size: int = -1, /) -> bytes:
        found = self._content.read(max(size, _BLOCK))
        self.sha.update(found)
        return found


def _bounded(text: io.TextIOWrapper, ends: str) -> Iterator[str | None]:
    read = partial(text.readline, LONGEST)
    for line in iter(read, ""):
        if len(line) < LONGEST or line[-1] in ends:
            yield line
            continue
        while line and line[-1] not in ends:
            line = read()
        yield None
