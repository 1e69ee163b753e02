"""Time series of users: a table with a time column to a regular grid of numbers, with an account of what was done.

Rows are sorted by time, equal times are refused or averaged, gaps become steps without a value, and missing cells are
NaN. The formats are those of tables: CSV, TSV, JSON lines, Parquet.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from seqloom.data.files import Table, check_rejects, column_names, read_table
from seqloom.data.formats import Column
from seqloom.data.records import Reject
from seqloom.data.times import Grid, find_grid, parse_parts, parse_times, shown

Duplicates = Literal["refuse", "mean"]

_NUMERIC = 0.99  # share of a column's cells that are numbers, for it to be taken when none is named
_LONGEST = 10  # times as many steps as rows that filling gaps may make


@dataclass(frozen=True)
class Series:
    """Values on a regular grid of time, NaN where missing."""

    target: tuple[Column, ...]
    values: np.ndarray  # (N, C) float64
    covariates: np.ndarray  # (N, Q) float64
    times: np.ndarray  # (N,) datetime64[us], or float64 where the time is a plain number
    grid: Grid
    facts: dict[str, Any] = field(default_factory=dict)  # JSON values: what became of the rows
    rejects: list[Reject] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.times)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the targets."""
        return tuple(map(str, self.target))

    def only(self, kept: np.ndarray) -> "Series":
        """Return the series of some of the targets, (C,) bool."""
        target = tuple(column for column, keep in zip(self.target, kept, strict=True) if keep)
        return replace(self, target=target, values=self.values[:, kept])


def read_series(
    path: str | Path,
    time: Sequence[Column],
    target: Sequence[Column],
    covariates: Sequence[Column] = (),
    *,
    time_format: str | None = None,
    duplicates: Duplicates = "refuse",
    grid: Grid | None = None,
    encoding: str = "utf-8",
    header: bool | None = None,
    delimiter: str | None = None,
    allow_rejects: bool = False,
) -> Series:
    """Read series from a table.

    A row is rejected if its time cannot be read or a cell asked for is neither a number nor missing.

    Args:
        path: the file.
        time: its column; several are year, month, day, hour, minute and second, as far as given; (): rows in order.
        target: columns; (): all others whose cells are numbers.
        covariates: columns.
        time_format: as `datetime.strptime` has it; None: a common one.
        duplicates: "refuse" rows of one time, or take the "mean" of their known values.
        grid: of the series that these go on; None: found in the times.
        encoding, header, delimiter, allow_rejects: as `read_table`.

    Raises:
        ValueError: the table cannot be read; no column of numbers; times that are duplicated or irregular; gaps that
            would make the series ten times as long.
    """
    path = Path(path)
    options = {"encoding": encoding, "header": header, "delimiter": delimiter}
    named = [*time, *target, *covariates]
    if len(set(named)) < len(named):
        twice = next(column for column in named if named.count(column) > 1)
        raise ValueError(f"column '{twice}' is named twice among time, target and covariates; name each once")
    if not target:
        numbered = bool(named) and all(isinstance(column, int) for column in named)
        known = column_names(path, encoding=encoding, delimiter=delimiter, header=header is True or not numbered)
        target = [column for column in known if column not in named]
    columns = [*time, *target, *covariates]
    table = read_table(path, columns, optional=[*target, *covariates], allow_rejects=allow_rejects, **options)
    return _series(table, time, target, covariates, named, time_format, duplicates, grid, allow_rejects)


def _series(
    table: Table,
    time: Sequence[Column],
    target: Sequence[Column],
    covariates: Sequence[Column],
    named: Sequence[Column],
    time_format: str | None,
    duplicates: Duplicates,
    grid: Grid | None,
    allow_rejects: bool,
) -> Series:
    """Turn the cells of a table to numbers on a grid."""
    numbers = {column: _numbers(table.rows[column]) for column in (*target, *covariates)}
    taken = [column for column in target if column in named or _is_numeric(*numbers[column])]
    if not taken:
        raise ValueError(f"'{table.path}' has no column of numbers beside the time; name one with --target")
    times, wrong = _times(table, time, time_format)
    columns = (*taken, *covariates)
    rejects = sorted([*table.rejects, *_rejected(table, columns, numbers, wrong)])
    check_rejects(table.path, rejects, table.rows_in, allow_rejects)
    used = np.flatnonzero(~np.any([wrong, *(numbers[column][1] for column in columns)], axis=0))
    order = used[np.argsort(times[used], kind="stable")]
    values = np.stack([numbers[column][0][order] for column in columns], axis=1)
    distinct, values, doubled = _distinct(table.path, times[order], values, table.line[order], duplicates)
    steps, values, found, filled = _filled(table.path, distinct, values, grid)
    missing = zip(taken, np.isnan(values[:, : len(taken)]).mean(axis=0).tolist(), strict=True)
    return Series(
        target=tuple(taken),
        values=values[:, : len(taken)],
        covariates=values[:, len(taken) :],
        times=steps,
        grid=found,
        rejects=rejects,
        facts={
            "source": str(table.path),
            "rows_in": table.rows_in,
            "rows_used": len(used),
            "rows_rejected": len(rejects),
            "rows_out_of_order": int((times[used][1:] < times[used][:-1]).sum()),
            "rows_of_equal_time": doubled,
            "steps": len(steps),
            "steps_filled": filled,
            "step": found.words() if time else "a row",
            "from": shown(steps[0]),
            "to": shown(steps[-1]),
            "missing_share": {str(column): round(share, 4) for column, share in missing if share},
            "columns_left_out": [str(column) for column in target if column not in taken],
            "digests": [table.digest],
        },
    )


def _rejected(
    table: Table, columns: Sequence[Column], numbers: dict[Column, tuple[np.ndarray, np.ndarray]], timeless: np.ndarray
) -> list[Reject]:
    """Return the rows whose time cannot be read or in which a cell is no number, each once."""
    found = dict.fromkeys(np.flatnonzero(timeless), "the time cannot be read")
    for column in columns:
        for row in np.flatnonzero(numbers[column][1]):
            cell = table.rows[column][row].strip()[:40]
            found.setdefault(row, f"column '{column}' is '{cell}', which is no finite number")
    return [Reject(int(table.line[row]), reason) for row, reason in found.items()]


def _times(table: Table, time: Sequence[Column], time_format: str | None) -> tuple[np.ndarray, np.ndarray]:
    if not time:
        return np.arange(len(table), dtype=np.float64), np.zeros(len(table), dtype=bool)
    if len(time) == 1:
        return parse_times(table.rows[time[0]], time_format)
    return parse_parts([table.rows[column] for column in time])


def _numbers(cells: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of cells, NaN where missing, and which cells are neither."""
    values = np.full(len(cells), np.nan)
    wrong = np.zeros(len(cells), dtype=bool)
    for row, cell in enumerate(cells):
        if not cell:
            continue
        try:
            value = float(cell)
        except ValueError:
            value = math.nan
        wrong[row] = not math.isfinite(value) or "_" in cell  # Python's own 1_000
        values[row] = math.nan if wrong[row] else value
    return values, wrong


def _is_numeric(values: np.ndarray, wrong: np.ndarray) -> bool:
    known = int((~np.isnan(values)).sum())
    return known > 0 and known >= _NUMERIC * (known + int(wrong.sum()))


def _distinct(
    path: Path, times: np.ndarray, values: np.ndarray, lines: np.ndarray, duplicates: Duplicates
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return rising times, their values, and how many rows shared a time with one before."""
    first = np.concatenate([[True], times[1:] != times[:-1]])
    doubled = int((~first).sum())
    if not doubled:
        return times, values, 0
    if duplicates == "refuse":
        row = int(np.flatnonzero(~first)[0])
        raise ValueError(
            f"'{path}': {doubled} rows have the time of another, such as lines {lines[row - 1]} and {lines[row]}, "
            f"{shown(times[row])}; take them out, add --duplicates mean for the mean of their values, or, if the file "
            "holds several series below each other, give each a column"
        )
    at = np.flatnonzero(first)
    known = ~np.isnan(values)
    count = np.add.reduceat(known.astype(np.int64), at, axis=0)
    total = np.add.reduceat(np.where(known, values, 0.0), at, axis=0)
    return times[at], np.where(count > 0, total / np.maximum(count, 1), np.nan), doubled


def _filled(
    path: Path, times: np.ndarray, values: np.ndarray, grid: Grid | None
) -> tuple[np.ndarray, np.ndarray, Grid, int]:
    """Return the times and values at every step of the grid, the grid, and how many steps had no row."""
    found, slots = find_grid(times, grid)
    steps = int(slots[-1]) + 1
    if steps > _LONGEST * len(times):
        raise ValueError(
            f"'{path}': {len(times)} rows over {steps} steps of {found.words()} leave too many gaps; bring the rows to "
            "a longer step first, or split the file at its gaps"
        )
    at = np.arange(steps)
    before = np.searchsorted(slots, at, side="right") - 1
    full = np.full((steps, values.shape[1]), np.nan)
    full[slots] = values
    return found.after(times[before], at - slots[before]), full, found, steps - len(times)
