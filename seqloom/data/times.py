"""Time columns: cells to points in time, the regular grid they stand on, its season, and features of the calendar."""

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np

_DATES = ("%Y/%m/%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%m-%d-%Y", "%d-%m-%Y", "%d %b %Y", "%b %d, %Y")
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
_FORMATS = (*(date + clock for date in _DATES for clock in _CLOCKS), "%Y-%m", "%Y/%m", "%m/%Y", "%b %Y")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?")
_EPOCHS = ((1e8, 1e11, 1.0), (1e11, 1e14, 1e-3), (1e14, 1e17, 1e-6), (1e17, 1e20, 1e-9))  # from, to, seconds of a unit
_SAMPLED = 200  # cells that candidates are judged by before all are read
_UNEVEN, _UNEVEN_SHARE = 0.25, 0.05  # steps that a difference may lie beside the grid, and the share that may lie more
_SAME = 0.01  # of its step, by which a grid may differ from the one that was learnt from

MICROSECOND = np.timedelta64(1, "us")
_DAY = 86_400_000_000  # microseconds


@dataclass(frozen=True)
class Grid:
    """Equal steps of time: microseconds, calendar months, or plain numbers."""

    unit: Literal["microseconds", "months", "numbers"]
    step: float
    month_end: bool = False  # the months' last days, whatever their number

    def after(self, time: Any, steps: np.ndarray) -> np.ndarray:
        """Return the points in time so many steps (n,) after one or each of n."""
        if self.unit == "numbers":
            return time + self.step * steps
        if self.unit == "microseconds":
            return time + np.round(self.step * steps).astype(np.int64) * MICROSECOND
        time = np.asarray(time, dtype="datetime64[us]")
        month = time.astype("datetime64[M]")
        later = month + (self.step * steps).astype(np.int64)
        if not self.month_end:
            return later.astype("datetime64[us]") + (time - month.astype("datetime64[us]"))
        clock = time - time.astype("datetime64[D]").astype("datetime64[us]")
        return ((later + 1).astype("datetime64[D]") - 1).astype("datetime64[us]") + clock

    def season(self) -> int:
        """Return the steps of the season that data of this frequency mostly have; 1: none is known.

        A day of steps shorter than one (of a minute or more), a week of days, a year of weeks, months or quarters.
        """
        if self.unit == "numbers":
            return 1
        if self.unit == "months":
            return round(12 / self.step) if 12 % self.step == 0 else 1
        if self.step < _DAY:
            return round(_DAY / self.step) if self.step >= 60_000_000 and _DAY % self.step == 0 else 1
        return {_DAY: 7, 7 * _DAY: 52}.get(int(self.step), 1)

    def words(self) -> str:
        """Return the step in words."""
        if self.unit != "microseconds":
            return f"{self.step:g} {'months' if self.unit == 'months' else 'in the time column'}"
        seconds = self.step / 1e6
        for name, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
            if seconds >= size and seconds % size == 0:
                return f"{seconds / size:g} {name}"
        return f"{seconds:g} seconds"

    def to_data(self) -> dict[str, Any]:
        """Return JSON values; `Grid(**data)` is the grid again."""
        return asdict(self)


def shown(time: Any, clock: bool = False) -> str | float:
    """Return a point in time as ISO 8601 writes it, midnight as its date unless with a clock; or a number as it is."""
    if not isinstance(time, np.datetime64):
        return float(time)
    text = str(time.astype("datetime64[us]")).replace("T", " ")
    text = text.removesuffix(".000000")
    return text if clock else text.removesuffix(" 00:00:00")


def parse_times(cells: Sequence[str], given: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the points in time of cells, (n,) datetime64[us] or float64, and which cells (n,) are none.

    Cells are in ISO 8601 or one of the common formats, the same in all; times of a known zone become UTC. Numbers are
    dates (20240131), years, or counts since 1970 in seconds, milli-, micro- or nanoseconds, told by their size; smaller
    ones are numbers, with no calendar.

    Args:
        cells: n of them.
        given: the format, as `datetime.strptime` has it; None: the one that reads most cells.

    Raises:
        ValueError: no format reads them, or day and month cannot be told apart.
    """
    stripped = [cell.strip() for cell in cells]
    if given is None and sum(bool(_NUMBER.fullmatch(cell)) for cell in stripped) > len(stripped) / 2:
        return _numbers(stripped)
    readers = _readers(stripped, given)
    if not readers:
        raise ValueError(
            f"'{stripped[0][:40]}' is no time in a known format; say which with --time-format, as %d/%m/%y"
        )
    found = [_read(stripped, reader) for reader in readers]
    kept = max(found, key=lambda item: -int(item[1].sum()))
    for times, none in found:
        apart = np.flatnonzero((times != kept[0]) & ~none & ~kept[1])
        if none.sum() == kept[1].sum() and len(apart):
            row = int(apart[0])
            raise ValueError(
                f"'{stripped[row][:40]}' may be {shown(kept[0][row])} or {shown(times[row])}; say which with "
                "--time-format, such as %d/%m/%Y for day first"
            )
    return kept


def parse_parts(columns: Sequence[Sequence[str]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the points in time of columns of year, month, day, hour, minute, second, as far as given; which are none.

    Raises:
        ValueError: more than six columns.
    """
    if len(columns) > 6:
        raise ValueError(f"{len(columns)} time columns; give at most six: year, month, day, hour, minute, second")

    def read(cell: tuple[str, ...]) -> datetime:
        year, month, day, hour, minute, second = (*map(int, map(float, cell)), *(1, 1, 1, 0, 0, 0)[len(cell) :])
        return datetime(year, month, day, hour, minute, second)

    times = np.full(len(columns[0]), np.datetime64("NaT"), dtype="datetime64[us]")
    for row, cell in enumerate(zip(*columns, strict=True)):
        try:
            times[row] = read(cell)
        except ValueError:
            continue
    return times, np.isnat(times)


def find_grid(times: np.ndarray, known: Grid | None = None) -> tuple[Grid, np.ndarray]:
    """Return the grid that rising points in time stand on, and the slot (n,) of each, from 0.

    The step is the median difference; months, if all times are the same day of theirs, or its last. A slot is counted
    from the one before it, so that clocks may drift.

    Raises:
        ValueError: fewer than three times, or more than 5 % of the differences are further than a quarter of a step
            from a whole number of steps; or the step is not within 1 % of the `known` grid's.
    """
    if len(times) < 3:
        raise ValueError(f"{len(times)} points in time are too few to tell their step; give three or more")
    grid = _grid(times)
    if known is not None:
        if grid.unit != known.unit or abs(grid.step / known.step - 1) > _SAME:
            raise ValueError(f"the times have a step of {grid.words()}, where one of {known.words()} was learnt from")
        grid = known
    if grid.unit == "months":
        apart = np.diff(times.astype("datetime64[M]").astype(np.int64)) / grid.step
    else:
        apart = np.diff(times) / (MICROSECOND if grid.unit == "microseconds" else 1) / grid.step
    whole = np.round(apart)
    uneven = (np.abs(apart - whole) > _UNEVEN) | (whole < 1)
    if uneven.mean() > _UNEVEN_SHARE:
        row = int(np.flatnonzero(uneven)[0])
        raise ValueError(
            f"the times are not regular: {uneven.mean():.0%} of the differences are no multiple of the median, "
            f"{grid.words()}, such as {shown(times[row])} to {shown(times[row + 1])}; bring them to equal steps first"
        )
    return grid, np.concatenate([[0], np.cumsum(np.maximum(whole, 1))]).astype(np.int64)


def calendar(times: np.ndarray, grid: Grid) -> np.ndarray:
    """Return sine and cosine of the hour in the day, the day in the week and the day in the year, (n, 2 k) float32.

    Only those that the step of the grid can show: no hour in days, no weekday in months, nothing in years.

    Raises:
        ValueError: the times are plain numbers.
    """
    if grid.unit == "numbers":
        raise ValueError("the time column holds numbers, which have no hour or weekday; leave --calendar out")
    days = times.astype("datetime64[D]")
    step = grid.step * (30.4 * _DAY if grid.unit == "months" else 1)
    phases: list[np.ndarray] = []
    if step < _DAY:
        phases.append((times - days.astype("datetime64[us]")) / np.timedelta64(_DAY, "us"))
    if step <= _DAY:
        phases.append((days.astype(np.int64) + 3) % 7 / 7)
    if step < 300 * _DAY:
        phases.append((days - days.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.int64) / 365.25)
    waves = [wave(2 * np.pi * phase) for phase in phases for wave in (np.sin, np.cos)]
    return np.stack(waves, axis=1).astype(np.float32) if waves else np.zeros((len(times), 0), dtype=np.float32)


def _grid(times: np.ndarray) -> Grid:
    if times.dtype.kind != "M":
        return Grid("numbers", float(np.median(np.diff(times))))
    step = float(np.median(np.diff(times) / MICROSECOND))
    days = times.astype("datetime64[D]")
    months = times.astype("datetime64[M]")
    ends = bool(((days + 1).astype("datetime64[M]") > months).all())
    same = len(np.unique((days - months.astype("datetime64[D]")).astype(np.int64))) == 1
    if step >= 27.5 * _DAY and (ends or same):
        return Grid("months", float(np.median(np.diff(months.astype(np.int64)))), ends and not same)
    return Grid("microseconds", step)


def _numbers(cells: list[str]) -> tuple[np.ndarray, np.ndarray]:
    wrong = np.array([not _NUMBER.fullmatch(cell) for cell in cells])
    right = [cell for cell, bad in zip(cells, wrong, strict=True) if not bad]
    for form, digits in (("%Y%m%d", 8), ("%Y", 4)):
        if all(len(cell) == digits for cell in right) and all("1500" <= cell[:4] <= "2500" for cell in right):
            times, none = _read(cells, _strptime(form))
            if none.sum() == wrong.sum():
                return times, none
    values = np.array([float("nan") if bad else float(cell) for cell, bad in zip(cells, wrong, strict=True)])
    size = float(np.nanmedian(np.abs(values)))
    unit = next((unit for low, high, unit in _EPOCHS if low <= size < high), None)
    if unit is None:
        return values, wrong
    # whole numbers are read as such: a float64 has 53 bits, nanoseconds since 1970 take 61
    micro = [0 if bad else round(int(cell) * unit * 1e6) if "." not in cell else round(float(cell) * unit * 1e6)
             for cell, bad in zip(cells, wrong, strict=True)]  # fmt: skip
    times = np.array(micro, dtype=np.int64).astype("datetime64[us]")
    times[wrong] = np.datetime64("NaT")
    return times, wrong


def _readers(cells: list[str], given: str | None) -> list[Callable[[str], datetime]]:
    """Return what reads most of a sample of the cells."""
    if given is not None:
        return [_strptime(given)]
    sample = cells[:: max(len(cells) // _SAMPLED, 1)]
    if (~_read(sample, datetime.fromisoformat)[1]).mean() > 0.5:
        return [datetime.fromisoformat]
    readers = [_strptime(form) for form in _FORMATS]
    hits = [int((~_read(sample, reader)[1]).sum()) for reader in readers]
    return [reader for reader, hit in zip(readers, hits, strict=True) if hit == max(hits) and hit > 0]


def _strptime(form: str) -> Callable[[str], datetime]:
    return lambda cell: datetime.strptime(cell, form)


def _read(cells: list[str], reader: Callable[[str], datetime]) -> tuple[np.ndarray, np.ndarray]:
    times = np.full(len(cells), np.datetime64("NaT"), dtype="datetime64[us]")
    for row, cell in enumerate(cells):
        try:
            time = reader(cell)
        except ValueError:
            continue
        times[row] = time if time.tzinfo is None else time.astimezone(UTC).replace(tzinfo=None)
    return times, np.isnat(times)
