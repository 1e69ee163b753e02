"""Streams of lines: what has arrived on a pipe, and files that grow, are rotated or cut; in bounded memory."""

import codecs
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from seqloom.core.registry import nearest

LINE_BYTES = 1_000_000  # a longer line is broken: no text, or a file without line ends
_CHUNK = 1 << 16  # bytes read at once, and so of lines that are handed on together
_WIDE = ("utf-16", "utf-32")  # their line ends are more than one byte


class Line(NamedTuple):
    """A line of a stream: its text, or why it has none."""

    number: int  # from 1, broken and blank ones counted
    text: str
    broken: str | None = None


class Notice(NamedTuple):
    """What happened to the stream itself."""

    text: str


Arrived = Sequence[Line | Notice]  # what came together
Found = Iterator[bytes | Notice]  # pieces of a stream as they come


def piped(descriptor: int) -> Found:
    """Yield the bytes of a pipe, a terminal or a file as they arrive, to its end."""
    while piece := os.read(descriptor, _CHUNK):
        yield piece


def followed(path: Path, wait: Callable[[], bool], from_end: bool = False) -> Found:
    """Yield the bytes of a file and, forever, those that are added: of the file that has its name, as `tail -F`.

    A file put in its place (rotation) is read from its beginning once the old one is read out; one that became shorter
    (truncation) from its beginning too. One that was cut and has grown past the place that was read to cannot be told
    from one that grew.

    Args:
        path: the file.
        wait: called when there is nothing new; False ends the stream.
        from_end: pass over what is there already.

    Raises:
        ValueError: there is no such file at first, or it cannot be read.
    """
    file = _opened(path)
    try:
        if from_end:
            os.lseek(file, 0, os.SEEK_END)
        while True:
            if piece := os.read(file, _CHUNK):
                yield piece
                continue
            held, there = os.fstat(file), _status(path)
            if there is not None and (there.st_dev, there.st_ino) != (held.st_dev, held.st_ino):
                os.close(file)
                file = _opened(path)
                yield Notice(f"'{path}' is another file now: reading it from its beginning")
            elif held.st_size < os.lseek(file, 0, os.SEEK_CUR):
                os.lseek(file, 0, os.SEEK_SET)
                yield Notice(f"'{path}' was cut: reading it from its beginning")
            elif not wait():
                return
    finally:
        os.close(file)


def lines_of(
    pieces: Iterable[bytes | Notice],
    encoding: str = "utf-8",
    column: str | None = None,
) -> Iterator[Arrived]:
    """Yield the lines of a stream, those together that arrived together; no broken line ends it.

    A line is broken if it is blank, longer than LINE_BYTES, not of the encoding, or, with a column, no JSON object with
    text there. At most LINE_BYTES and one piece are held.

    Args:
        pieces: the bytes as they come. A notice ends the line before it.
        encoding: of the text.
        column: read each line as a JSON object, and take its text from here; None: a line is the text.

    Raises:
        ValueError: the encoding is unknown, or its line ends are not one byte.
    """
    return _lines(pieces, _checked(encoding), column)


def _lines(pieces: Iterable[bytes | Notice], encoding: str, column: str | None) -> Iterator[Arrived]:
    rest, number, skipping = b"", 0, False

    def line(content: bytes) -> Line:
        nonlocal number, skipping
        number += 1
        long, skipping = skipping or len(content) > LINE_BYTES, False
        if long:
            return Line(number, "", f"longer than {LINE_BYTES} bytes")
        return _read(number, content.removesuffix(b"\r"), encoding, column)

    for piece in pieces:
        if isinstance(piece, Notice):
            unfinished = [line(rest)] if rest or skipping else []
            rest = b""
            yield [*unfinished, piece]
            continue
        *whole, rest = (rest + piece).split(b"\n")
        if whole:
            yield [line(content) for content in whole]
        if len(rest) > LINE_BYTES:
            rest, skipping = b"", True
    if rest or skipping:
        yield [line(rest)]


def _read(number: int, content: bytes, encoding: str, column: str | None) -> Line:
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        return Line(number, "", f"byte 0x{content[error.start]:02x} is not {encoding}")
    if number == 1:
        text = text.removeprefix("\ufeff")
    if column is None:
        return Line(number, text, None if text.strip() else "blank")
    try:
        item = json.loads(text) if text.strip() else None
    except (json.JSONDecodeError, RecursionError) as error:
        return Line(number, "", f"not JSON: {error}")
    if not isinstance(item, dict):
        return Line(number, "", "blank" if not text.strip() else "no JSON object")
    value = item.get(column)
    if not isinstance(value, str) or not value.strip():
        reason = f"no '{column}'" if column not in item else f"no text in '{column}'"
        return Line(number, "", reason)
    return Line(number, value)


def _checked(encoding: str) -> str:
    try:
        known = codecs.lookup(encoding).name
        "a".encode(encoding)  # refuses codecs that are not of text
    except LookupError:
        hint = nearest(encoding, ["utf-8", "latin-1", "cp1252", "gb18030", "big5"])
        raise ValueError(f"encoding '{encoding}' is unknown{hint}") from None
    if known.startswith(_WIDE):
        raise ValueError(f"a stream cannot be read as {encoding}, whose line ends are several bytes; convert it first")
    return known


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY)
    except OSError as error:
        raise ValueError(f"cannot follow '{path}': {error.strerror}; name a file that can be read") from None


def _status(path: Path) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:  # between the renaming of the old file and the making of the new one
        return None
