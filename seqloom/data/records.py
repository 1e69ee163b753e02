"""Delimited text to records: Python's csv module, made to go on after a broken record and to tell its line."""

import csv
import io
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

_CELL_CHARACTERS = 2**31 - 1  # the csv module's own limit of a cell, as high as it goes


class Reject(NamedTuple):
    """A row that is not used, and why."""

    line: int  # from 1; where the row begins
    reason: str


class Records(NamedTuple):
    """Records in the file's order, and what could not be read."""

    cells: list[list[str]]
    lines: list[int]  # where each record begins, from 1
    rejects: list[Reject]
    quoted: bool  # whether quotes enclose cells; else they are characters like any other


def read_records(text: str, delimiter: str, quoted: bool | None = None) -> Records:
    """Return the records of delimited text. Empty lines are no records.

    Args:
        text: the whole file; lines end in any of the three ways, also mixed.
        delimiter: one character.
        quoted: True: cells may stand in quotes and then hold delimiters, line ends and doubled quotes (RFC 4180).
            False: a line is a record, whatever quotes it holds. None: both ways are tried, and the quoted one is taken
            if fewer records are broken that way, or as many of as many records.

    Work O(length of the text): a broken record ends at the next quote that does not fit, so no line is read thrice.
    """
    lines = list(io.StringIO(text, newline=""))
    if quoted is None and '"' in text:
        plain, enclosed = _plain(lines, delimiter), _enclosed(lines, delimiter)
        return enclosed if _better(enclosed, plain) else plain
    # without any quote the two readings are the same, and splitting is quicker
    return _enclosed(lines, delimiter) if quoted and '"' in text else _plain(lines, delimiter)


def usual_width(records: Records) -> int:
    """Return how many cells most records have."""
    widths = Counter(map(len, records.cells))
    return widths.most_common(1)[0][0] if widths else 0


def _better(enclosed: Records, plain: Records) -> bool:
    fewer = _broken(plain) - _broken(enclosed)
    return fewer > 0 or (fewer == 0 and len(enclosed.cells) == len(plain.cells))


def _broken(records: Records) -> int:
    width = usual_width(records)
    return len(records.rejects) + sum(len(cells) != width for cells in records.cells)


def _plain(lines: list[str], delimiter: str) -> Records:
    kept = [(number, line.rstrip("\r\n")) for number, line in enumerate(lines, 1)]
    kept = [(number, line) for number, line in kept if line]
    return Records([line.split(delimiter) for _, line in kept], [number for number, _ in kept], [], False)


def _enclosed(lines: list[str], delimiter: str) -> Records:
    """Read with quotes. After a broken record go on at the line below its first: one stray quote costs one row."""
    records = Records([], [], [], True)
    start = 0
    with _long_cells():
        while start < len(lines):
            reader = csv.reader(_from(lines, start), delimiter=delimiter, strict=True)
            read = 0  # lines of complete records since `start`
            try:
                for cells in reader:
                    if cells:
                        records.cells.append(cells)
                        records.lines.append(start + read + 1)
                    read = reader.line_num
                return records
            except csv.Error as error:
                first, last = start + read + 1, start + reader.line_num
                records.rejects.append(Reject(first, _broken_quote(error, first, last)))
            start = first
    return records


def _from(lines: list[str], start: int) -> Iterator[str]:
    return map(lines.__getitem__, range(start, len(lines)))


@contextmanager
def _long_cells() -> Iterator[None]:
    before = csv.field_size_limit(_CELL_CHARACTERS)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _broken_quote(error: csv.Error, first: int, last: int) -> str:
    if "unexpected end" in str(error):
        return "a quote that is never closed; quotes inside a cell must be doubled, and the cell in quotes"
    where = "" if first == last else f" in line {last}"
    return f"text behind a closing quote{where}; quotes inside a cell must be doubled, and the cell in quotes"
