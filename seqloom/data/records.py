"""Delimited text to records: Python's csv module, made to go on after a broken record and to tell its line."""

import csv
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from seqloom.data.lines import LONGEST

TOO_LONG = f"a line of more than {LONGEST} characters; is a line end missing?"


class Reject(NamedTuple):
    """A row that is not used, and why."""

    line: int  # from 1; where the row begins
    reason: str


Record = tuple[int, list[str]] | Reject  # the line where it begins, from 1, and its cells


class Survey(NamedTuple):
    """What the records of a file are like."""

    widths: Counter[int]  # number of cells -> records
    rejects: int

    @property
    def records(self) -> int:
        """Return how many could be read."""
        return self.widths.total()

    @property
    def width(self) -> int:
        """Return how many cells most records have."""
        return self.widths.most_common(1)[0][0] if self.widths else 0

    @property
    def broken(self) -> int:
        """Return how many could not be read or are not as wide as most."""
        return self.rejects + self.records - self.widths[self.width]


def survey(records: Iterable[Record]) -> Survey:
    """Count records by their number of cells, and those that could not be read."""
    widths: Counter[int] = Counter()
    rejects = 0
    for record in records:
        if isinstance(record, Reject):
            rejects += 1
        else:
            widths[len(record[1])] += 1
    return Survey(widths, rejects)


def fits_quotes(enclosed: Survey, plain: Survey) -> bool:
    """Tell whether quotes enclose cells: fewer records are broken so, or as many of as many records."""
    fewer = plain.broken - enclosed.broken
    return fewer > 0 or (fewer == 0 and enclosed.records == plain.records)


def read_plain(lines: Iterable[str | None], delimiter: str) -> Iterator[Record]:
    """Give the records of delimited text in which a line is a record, whatever quotes it holds. Empty lines are none.

    Args:
        lines: with their ends; None: one too long to read.
        delimiter: one character.
    """
    for number, line in enumerate(lines, 1):
        if line is None:
            yield Reject(number, TOO_LONG)
        elif line := line.rstrip("\r\n"):
            yield number, line.split(delimiter)


def read_enclosed(lines: Iterable[str | None], delimiter: str) -> Iterator[Record]:
    """Give the records of delimited text whose cells may stand in quotes and then hold delimiters, line ends and
    doubled quotes (RFC 4180). Empty lines are none.

    After a broken record go on at the line below its first: one stray quote costs one row. Work O(length of the text):
    a broken record ends at the next quote that does not fit, so no line is read thrice. Memory: one record, and a
    record of more than LONGEST characters is broken.
    """
    csv.field_size_limit(LONGEST)  # of the module, and too low for texts; a lower one would serve nobody else
    source = _Again(lines)
    while not source.ended:
        try:
            for cells in csv.reader(source, delimiter=delimiter, strict=True):
                if cells:
                    yield source.first, cells
                source.forget()
        except csv.Error as error:
            yield Reject(source.first, _broken_quote(error, source.first, source.last))
            source.back()
        if source.skipped:
            yield source.skipped
            source.skipped = None


class _Again:
    """Lines that can be read again from below the first that is not forgotten."""

    def __init__(self, lines: Iterable[str | None]) -> None:
        self._lines = iter(lines)
        self._pending: deque[str | None] = deque()  # to be read again
        self._held: list[str | None] = []  # of the record in hand
        self._size = 0
        self.first = 1  # line at which the record in hand begins
        self.ended = False
        self.skipped: Reject | None = None  # a line too long, between two records

    @property
    def last(self) -> int:
        """Return the number of the line read last."""
        return self.first + len(self._held) - 1

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._pending.popleft() if self._pending else next(self._lines, "")
        if line == "":
            self.ended = not self._held
            raise StopIteration
        if line is None and not self._held:
            self.skipped = Reject(self.first, TOO_LONG)
            self.first += 1
            raise StopIteration  # the reader has nothing in hand, and a new one goes on
        self._held.append(line)
        self._size += len(line or "")
        if line is None or self._size > LONGEST:
            raise csv.Error("unexpected end of data")
        return line

    def forget(self) -> None:
        """Let the lines of the record in hand go."""
        self.first += len(self._held)
        self._held.clear()
        self._size = 0

    def back(self) -> None:
        """Have the lines below the first of the record in hand read again."""
        self._pending.extendleft(reversed(self._held[1:]))
        self.first += 1
        self._held.clear()
        self._size = 0


def _broken_quote(error: csv.Error, first: int, last: int) -> str:
    if "unexpected end" in str(error):
        return "a quote that is never closed; quotes inside a cell must be doubled, and the cell in quotes"
    where = "" if first == last else f" in line {last}"
    return f"text behind a closing quote{where}; quotes inside a cell must be doubled, and the cell in quotes"
