"""Tables of users: CSV, TSV, other delimited text, JSON lines and Parquet, with an account of every row.

Rows in = rows used + rows rejected, and each reject is listed with its line and a reason. Nothing is guessed about the
columns: named ones are looked up in the header (the first row), numbered ones (from 0) mean a file without a header
unless it is said that there is one.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seqloom.data.formats import (
    DELIMITERS,
    NAMED,
    Column,
    delimited,
    is_table,
    json_lines,
    names_delimited,
    names_json,
    names_parquet,
    parquet,
)
from seqloom.data.inputs import BLANK, Line, read_lines
from seqloom.data.lines import TextFile, check_readable, file_digest
from seqloom.data.records import Reject

CELL_BYTES = 10_000_000  # a longer cell is no example but an accident, e.g. a quote that is not closed
REJECTED_SHARE = 0.001  # more rejects than this stop the work, unless they are allowed
LISTED = 100_000  # rejects that are listed; more are counted
NO_VALUE = frozenset(("NaN", "nan", "NAN", "NA", "N/A", "n/a", "#N/A", "<NA>", "NULL", "null"))

_SHOWN = 5  # rejects that a message tells of


@dataclass(frozen=True)
class Table:
    """The columns asked for of the rows that are used, and what became of the others."""

    path: Path
    rows: dict[Column, list[str]]  # column -> one cell a row used
    line: np.ndarray  # (rows used,) int64, where each row begins, from 1; in Parquet its number
    rejects: list[Reject]  # the first LISTED
    rows_in: int  # rows used + rejects; a header and empty lines are no rows
    header: bool  # whether the first row names the columns
    quoted: bool  # whether quotes enclose cells
    digest: str  # of the file's content, unpacked

    def __len__(self) -> int:
        return len(self.line)


class Rows:
    """The rows of a table that are used, one in memory at a time; what became of the others is known after the last.

    Args: as of `read_table`.

    Raises:
        ValueError: as `read_table`, here or while the rows are read.
    """

    def __init__(
        self,
        path: str | Path,
        columns: Sequence[Column],
        *,
        optional: Collection[Column] = (),
        encoding: str = "utf-8",
        header: bool | None = None,
        delimiter: str | None = None,
        allow_rejects: bool = False,
    ) -> None:
        self.path = path = Path(path)
        assert columns and len(set(columns)) == len(columns), "ask for columns, each once"
        self._columns, self._optional, self._allow_rejects = columns, optional, allow_rejects
        self.rejects: list[Reject] = []  # the first LISTED
        self.rows_in = self.rows_rejected = 0
        kind = Path(path.name.lower().removesuffix(".gz")).suffix
        self._text: TextFile | None = None
        if kind in NAMED and delimiter is None:
            if header is not None:
                raise ValueError(
                    f"'{path}' names its columns by itself: header = {header} means nothing here; leave it out"
                )
            if kind == ".parquet":
                check_readable(path)
                self._raw = parquet(path, columns)
            else:
                self._raw, self._text = json_lines(path, columns, encoding, optional)
        else:
            self._raw, self._text = delimited(path, columns, encoding, header, _delimiter(path, kind, delimiter))
        self.header, self.quoted = self._raw.header, self._raw.quoted

    @property
    def digest(self) -> str:
        """Return 12 hexadecimal digits of the SHA-256 of the content, unpacked; ask after the last row."""
        return self._text.digest if self._text is not None else file_digest(self.path)[:12]

    @property
    def share_read(self) -> float:
        """Return how much of the file has been read, from 0 to 1; 0 where that is not known."""
        return self._text.share_read if self._text is not None else 0.0

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        """Give the line and the cells of each row that is used, once."""
        for record in self.every():
            if not isinstance(record, Reject):
                yield record
        check_rejects(self.path, self.rejects, self.rows_in, self._allow_rejects, self.rows_rejected)

    def every(self) -> Iterator[tuple[int, list[str]] | Reject]:
        """Give each row, once: the line and the cells of one that is used, in place of another why it is not."""
        for record in self._raw.rows:
            self.rows_in += 1
            if not isinstance(record, Reject):
                cells = record[1] if not self._optional else self._with_blanks(record[1])
                reason = self._unfit(cells)
                if reason is None:
                    yield record[0], cells
                    continue
                record = Reject(record[0], reason)
            self.rows_rejected += 1
            if len(self.rejects) < LISTED:
                self.rejects.append(record)
            yield record
        if not self.rows_in:
            raise ValueError(f"'{self.path}' has a header and no rows; give a file with rows in it")

    def _with_blanks(self, cells: list[str]) -> list[str]:
        return [
            _known(cell) if column in self._optional else cell
            for cell, column in zip(cells, self._columns, strict=True)
        ]

    def _unfit(self, cells: list[str]) -> str | None:
        for cell, column in zip(cells, self._columns, strict=True):
            if (cell or column not in self._optional) and (reason := _unfit(cell, column)) is not None:
                return reason
        return None


def read_table(
    path: str | Path,
    columns: Sequence[Column],
    *,
    optional: Collection[Column] = (),
    encoding: str = "utf-8",
    header: bool | None = None,
    delimiter: str | None = None,
    allow_rejects: bool = False,
) -> Table:
    """Read columns of a table in which every cell asked for holds something.

    A row is rejected if it is ragged or broken, or if a cell asked for is missing, blank, one of NO_VALUE, or larger
    than CELL_BYTES. The file's name tells its format: .csv, .tsv, .tab, .jsonl, .ndjson, .json (one object a line),
    each also .gz, or .parquet; other names need a delimiter. In CSV quotes enclose cells; in other delimited text they
    do if fewer rows are broken that way, else they are characters like any other (see `read_records`).

    Args:
        path: the file.
        columns: names, or numbers from 0; at least one, none twice.
        optional: those of them whose cells may be missing, blank or one of NO_VALUE: such a cell reads as "".
        encoding: of text files.
        header: whether the first row names the columns; None: it does if a column is asked for by name.
        delimiter: one character; None: by the file's name.
        allow_rejects: whether to go on with more than REJECTED_SHARE of the rows rejected.

    Raises:
        ValueError: the file or a column is missing, nothing is in it, it is not in that encoding, a setting does not
            suit the format, or too many rows are rejected; the message says where and what to do.
    """
    rows = Rows(
        path,
        columns,
        optional=optional,
        encoding=encoding,
        header=header,
        delimiter=delimiter,
        allow_rejects=allow_rejects,
    )
    kept = list(rows)
    cells = {column: [cells[i] for _, cells in kept] for i, column in enumerate(columns)}
    lines = np.array([line for line, _ in kept], dtype=np.int64)
    return Table(rows.path, cells, lines, rows.rejects, rows.rows_in, rows.header, rows.quoted, rows.digest)


def read_inputs(
    path: str | Path,
    column: Column,
    *,
    encoding: str = "utf-8",
    header: bool | None = None,
    delimiter: str | None = None,
) -> Iterator[Line | Reject]:
    """Give the cell of a column in each row of a table, and of a file that is none each line, but blank ones.

    What cannot be used is a Reject, a blank line with the reason BLANK.

    Args:
        path: the file; its name, or that there is a delimiter, tells whether it is a table.
        column: of a table: name, or number from 0.
        encoding, header, delimiter: as of `read_table`.

    Raises:
        ValueError: the file cannot be read, or has no such column.
    """
    if not is_table(path, delimiter):
        for line in read_lines(path, encoding):
            blank = isinstance(line, Line) and not line.strip()
            yield Reject(line.line, BLANK) if blank else line
        return
    for record in Rows(path, [column], encoding=encoding, header=header, delimiter=delimiter).every():
        yield record if isinstance(record, Reject) else Line(record[1][0], record[0])


def column_names(
    path: str | Path, *, encoding: str = "utf-8", header: bool | None = None, delimiter: str | None = None
) -> list[Column]:
    """Return the columns of a table: their names, or their numbers from 0 if `header` is False.

    Raises:
        ValueError: as `read_table`.
    """
    path = Path(path)
    kind = Path(path.name.lower().removesuffix(".gz")).suffix
    if kind == ".parquet" and delimiter is None:
        return names_parquet(path)
    if kind in NAMED and delimiter is None:
        return names_json(path, encoding)
    return names_delimited(path, encoding, header is not False, _delimiter(path, kind, delimiter))


def _delimiter(path: Path, kind: str, delimiter: str | None) -> str:
    given = {"\\t": "\t", "tab": "\t"}.get(delimiter, delimiter) if delimiter else DELIMITERS.get(kind)
    if given is None:
        known = ", ".join((*DELIMITERS, *NAMED))
        raise ValueError(f"'{path}' ends in none of {known}; rename it, or add --delimiter with what separates cells")
    if len(given) != 1 or given in '"\r\n':
        raise ValueError(f"delimiter '{given}' must be one character, and no quote or line end")
    return given


def check_rejects(
    path: Path, rejects: list[Reject], rows_in: int, allow_rejects: bool, rejected: int | None = None
) -> None:
    """Refuse a file of which no row can be used, or too few.

    Args:
        path: the file.
        rejects: of its rows.
        rows_in: all of its rows.
        allow_rejects: whether to go on with more than REJECTED_SHARE of the rows rejected.
        rejected: how many are rejected; None: as many as are listed.

    Raises:
        ValueError: all of its rows are rejected; or more than REJECTED_SHARE of them, unless they are allowed.
    """
    rejected = len(rejects) if rejected is None else rejected
    if rejected == rows_in or (rejected > REJECTED_SHARE * rows_in and not allow_rejects):
        raise ValueError(_too_many(path, rejects, rejected, rows_in))


def _known(cell: str) -> str:
    return "" if not cell.strip() or cell.strip() in NO_VALUE else cell


def _unfit(cell: str, column: Column) -> str | None:
    """Return why a cell cannot be used; None: it can."""
    if len(cell) * 4 > CELL_BYTES and (size := len(cell.encode("utf-8", "replace"))) > CELL_BYTES:
        return f"column '{column}' has {size} bytes; a cell may have {CELL_BYTES}"
    if "\0" in cell:
        return f"column '{column}' holds a NUL byte"
    if not cell.strip():
        return f"column '{column}' is empty"
    if cell.strip() in NO_VALUE:
        return f"column '{column}' is '{cell.strip()}', which means no value"
    return None


def _too_many(path: Path, rejects: list[Reject], rejected: int, rows_in: int) -> str:
    shown = "; ".join(f"line {line}: {reason}" for line, reason in rejects[:_SHOWN])
    more = f"; and {rejected - _SHOWN} more" if rejected > _SHOWN else ""
    some = f"more than {REJECTED_SHARE:.1%} of them; correct them, or add --allow-rejects"
    rule = some if rejected < rows_in else "all of them"
    return f"'{path}': {rejected} of {rows_in} rows cannot be used, {rule}. {shown[0].upper()}{shown[1:]}{more}"
