"""Tables of users: CSV, TSV, other delimited text, JSON lines and Parquet, with an account of every row.

Rows in = rows used + rows rejected, and each reject is listed with its line and a reason. Nothing is guessed about the
columns: named ones are looked up in the header (the first row), numbered ones (from 0) mean a file without a header
unless it is said that there is one.
"""

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seqloom.data.formats import (
    DELIMITERS,
    NAMED,
    Column,
    Raw,
    delimited,
    json_lines,
    names_delimited,
    names_json,
    names_parquet,
    parquet,
)
from seqloom.data.records import Reject
from seqloom.data.text import digest, read_bytes

CELL_BYTES = 10_000_000  # a longer cell is no example but an accident, e.g. a quote that is not closed
REJECTED_SHARE = 0.001  # more rejects than this stop the work, unless they are allowed
NO_VALUE = frozenset(("NaN", "nan", "NAN", "NA", "N/A", "n/a", "#N/A", "<NA>", "NULL", "null"))

_SHOWN = 5  # rejects that a message tells of


@dataclass(frozen=True)
class Table:
    """The columns asked for of the rows that are used, and what became of the others."""

    path: Path
    rows: dict[Column, list[str]]  # column -> one cell a row used
    line: np.ndarray  # (rows used,) int64, where each row begins, from 1; in Parquet its number
    rejects: list[Reject]
    rows_in: int  # rows used + rejects; a header and empty lines are no rows
    header: bool  # whether the first row names the columns
    quoted: bool  # whether quotes enclose cells
    digest: str  # of the file's content, unpacked

    def __len__(self) -> int:
        return len(self.line)


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
    path = Path(path)
    assert columns and len(set(columns)) == len(columns), "ask for columns, each once"
    content = read_bytes(path)
    kind = Path(path.name.lower().removesuffix(".gz")).suffix
    if kind in NAMED and delimiter is None:
        if header is not None:
            raise ValueError(
                f"'{path}' names its columns by itself: header = {header} means nothing here; leave it out"
            )
        raw = parquet(path, columns) if kind == ".parquet" else json_lines(path, content, columns, encoding, optional)
    else:
        raw = delimited(path, content, columns, encoding, header, _delimiter(path, kind, delimiter))
    return _account(path, raw, columns, optional, digest(content), allow_rejects)


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
    content = read_bytes(path)
    if kind in NAMED and delimiter is None:
        return names_json(path, content, encoding)
    return names_delimited(path, content, encoding, header is not False, _delimiter(path, kind, delimiter))


def _delimiter(path: Path, kind: str, delimiter: str | None) -> str:
    given = {"\\t": "\t", "tab": "\t"}.get(delimiter, delimiter) if delimiter else DELIMITERS.get(kind)
    if given is None:
        known = ", ".join((*DELIMITERS, *NAMED))
        raise ValueError(f"'{path}' ends in none of {known}; rename it, or add --delimiter with what separates cells")
    if len(given) != 1 or given in '"\r\n':
        raise ValueError(f"delimiter '{given}' must be one character, and no quote or line end")
    return given


def _account(
    path: Path, raw: Raw, columns: Sequence[Column], optional: Collection[Column], content: str, allow_rejects: bool
) -> Table:
    """Sort records into rows used and rejects, and stop if too many are rejected."""
    lines: list[int] = []
    kept: list[list[str]] = []
    rejects: list[Reject] = []
    for record in raw.rows:
        if not isinstance(record, Reject):
            cells = [
                _known(cell) if column in optional else cell for cell, column in zip(record[1], columns, strict=True)
            ]
            asked = (pair for pair in zip(cells, columns, strict=True) if pair[0] or pair[1] not in optional)
            reason = next(filter(None, itertools.starmap(_unfit, asked)), None)
            if reason is None:
                lines.append(record[0])
                kept.append(cells)
                continue
            record = Reject(record[0], reason)
        rejects.append(record)
    rejects.sort()
    rows_in = len(kept) + len(rejects)
    if not rows_in:
        raise ValueError(f"'{path}' has a header and no rows; give a file with rows in it")
    check_rejects(path, rejects, rows_in, allow_rejects)
    rows = {column: [cells[i] for cells in kept] for i, column in enumerate(columns)}
    return Table(path, rows, np.array(lines, dtype=np.int64), rejects, rows_in, raw.header, raw.quoted, content)


def check_rejects(path: Path, rejects: list[Reject], rows_in: int, allow_rejects: bool) -> None:
    """Refuse a file of which no row can be used, or too few.

    Raises:
        ValueError: all of its rows are rejected; or more than REJECTED_SHARE of them, unless they are allowed.
    """
    used = rows_in - len(rejects)
    if not used or (len(rejects) > REJECTED_SHARE * rows_in and not allow_rejects):
        raise ValueError(_too_many(path, rejects, rows_in, used > 0))


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


def _too_many(path: Path, rejects: list[Reject], rows_in: int, some: bool) -> str:
    shown = "; ".join(f"line {line}: {reason}" for line, reason in rejects[:_SHOWN])
    more = f"; and {len(rejects) - _SHOWN} more" if len(rejects) > _SHOWN else ""
    rule = f"more than {REJECTED_SHARE:.1%} of them; correct them, or add --allow-rejects" if some else "all of them"
    return f"'{path}': {len(rejects)} of {rows_in} rows cannot be used, {rule}. {shown[0].upper()}{shown[1:]}{more}"
