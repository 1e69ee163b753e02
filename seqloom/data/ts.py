"""Series of users: .ts files of sktime and the UCR and UEA archives, and a csv per series.

A series is values (T, C) over time, float32, NaN where one is missing. Source of the format: sktime's documentation of
`.ts` files; the archives: Dau et al. 2019 (arXiv 1810.07758) and Bagnall et al. 2018 (arXiv 1811.00075).
"""

import csv
import io
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from seqloom.data.files import NO_VALUE, check_rejects, column_names
from seqloom.data.folders import Filed, check_files
from seqloom.data.formats import DELIMITERS
from seqloom.data.records import Reject
from seqloom.data.text import decode, digest, read_bytes, split_lines

MISSING = NO_VALUE | {"?", ""}

_FEW = 3  # cells of a row that may be an ordinary table without a header
_LARGEST = float(np.finfo(np.float32).max)
_DIRECTIVES = {  # of a header, in lower case; what is not needed is read over
    *("problemname", "timestamps", "missing", "univariate", "dimensions", "dimension", "equallength", "serieslength"),
    *("classlabel", "targetlabel", "data"),
}


class Series(NamedTuple):
    """Series with their labels, and what became of the others."""

    values: list[np.ndarray]  # (T, C) float32 each, NaN where a value is missing
    labels: list[str]  # one a series; none where the file has none
    names: list[str]  # "line 17" or the file's name
    rejects: list[dict[str, str | int]]  # "file", "line" if it has one, "reason"
    rows_in: int
    digest: str

    @property
    def channels(self) -> int:
        """Return the values of a step."""
        return self.values[0].shape[1]


class _Header(NamedTuple):
    classes: frozenset[str] | None  # None: rows have no label
    channels: int | None
    length: int | None
    data: int  # line behind @data, from 1


def read_ts(path: str | Path, allow_rejects: bool = False) -> Series:
    """Read a .ts file, univariate or multivariate, of series of one length or several.

    A row is rejected if a value is no number, or infinite, or none is there; if its channels differ in length from one
    another, or in number from the header's or, where that says nothing, the first row's; if its length is not the one
    that the header says all have, or its label none of the header's.

    Raises:
        ValueError: the file cannot be read, has no @data or no rows, has time stamps or a target that is no class, or
            more than 0.1 % of the rows are rejected.
    """
    path = Path(path)
    content = read_bytes(path)
    lines = split_lines(decode(content, path))
    header = _header(path, lines)
    values: list[np.ndarray] = []
    labels: list[str] = []
    names: list[str] = []
    rejects: list[Reject] = []
    channels = header.channels
    for number, line in enumerate(lines[header.data :], header.data + 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            found, label = _row(line.strip(), header, channels)
        except ValueError as error:
            rejects.append(Reject(number, str(error)))
            continue
        channels = found.shape[1]
        values.append(found)
        names.append(f"line {number}")
        if label is not None:
            labels.append(label)
    rows_in = len(values) + len(rejects)
    if not rows_in:
        raise ValueError(f"'{path}' has no rows behind @data; give a file with series in it")
    check_rejects(path, rejects, rows_in, allow_rejects)
    told: list[dict[str, str | int]] = [{"file": str(path), "line": line, "reason": why} for line, why in rejects]
    return Series(values, labels, names, told, rows_in, digest(content))


def read_folder(filed: Filed, folder: Path, allow_rejects: bool = False) -> Series:
    """Read a csv per series: a row a step, a column a channel, with or without a header.

    A file is rejected if it cannot be read, has a cell that is no number, rows of different lengths or no value at
    all, or other channels than most files have.

    Raises:
        ValueError: more than 0.1 % of the files are rejected.
    """
    kept: list[tuple[np.ndarray, str, str]] = []
    rejects: list[tuple[str, str]] = []
    for file, label in zip(filed.files, filed.labels, strict=True):
        try:
            kept.append((read_series(file), label, str(file)))
        except ValueError as error:
            rejects.append((str(file), str(error)))
    usual = Counter(values.shape[1] for values, _, _ in kept).most_common(1)[0][0] if kept else 0
    rejects += [(f, f"{v.shape[1]} channels where most files have {usual}") for v, _, f in kept if v.shape[1] != usual]
    kept = [item for item in kept if item[0].shape[1] == usual]
    check_files(folder, rejects, len(filed.files), allow_rejects)
    values, labels, names = (list(part) for part in zip(*kept, strict=True))
    told = [*filed.rejects, *({"file": file, "reason": reason} for file, reason in rejects)]
    rows_in = len(filed.files) + len(filed.rejects)
    return Series(values, labels, names, told, rows_in, filed.digest)


def read_series(path: Path) -> np.ndarray:
    """Return the values (T, C) of one csv or tsv: a row a step, a column a channel; a first row of names is left out.

    Names are also the numbers of the columns from 0, as pandas writes them: in a first row that is just these, of three
    columns or more, or where no value of the file is spelt as a whole number. So is its index, a first column without a
    name that numbers the rows from 0.

    Raises:
        ValueError: it cannot be read, has no number, or rows of different lengths.
    """
    text = decode(read_bytes(path), path)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=DELIMITERS[path.suffix.lower()], strict=True)
    try:
        rows = [(reader.line_num, cells) for cells in reader if any(map(str.strip, cells))]
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from None
    if _has_index([cells for _, cells in rows]) and len(rows[0][1]) > 1:
        rows = [(line, cells[1:]) for line, cells in rows]
    if rows and (not any(map(_is_value, rows[0][1])) or _numbers_columns([cells for _, cells in rows])):
        rows = rows[1:]
    if not rows:
        raise ValueError(f"'{path}' has no row of numbers")
    width = len(rows[0][1])
    found = np.empty((len(rows), width), dtype=np.float32)
    for row, (line, cells) in enumerate(rows):
        if len(cells) != width:
            raise ValueError(f"line {line}: {len(cells)} cells where the first row has {width}")
        found[row] = [_number(cell, f"line {line}") for cell in cells]
    if np.isnan(found).all():
        raise ValueError(f"'{path}' has no value that is not missing")
    return found


def parse_series(text: str) -> np.ndarray:
    """Return the values (T, C) of a line as .ts files have it, without a label: `1,2,3:4,5,6` has two channels.

    Raises:
        ValueError: a value is no number, channels differ in length, or no value is there.
    """
    parts = [[_number(cell, f"channel {i}") for cell in part.split(",")] for i, part in enumerate(text.split(":"), 1)]
    lengths = {len(part) for part in parts}
    if len(lengths) > 1:
        raise ValueError(f"channels of {', '.join(map(str, sorted(lengths)))} values; all must be of one length")
    found = np.array(parts, dtype=np.float32).T
    if np.isnan(found).all():
        raise ValueError("no value that is not missing")
    return found


def rows_of(path: Path) -> Iterator[tuple[int, np.ndarray] | Reject]:
    """Yield the line and the values (T, C) of each row of a .ts file, or why it cannot be read; labels are left out.

    Raises:
        ValueError: the file cannot be read.
    """
    lines = split_lines(decode(read_bytes(path), path))
    header = _header(path, lines)
    for number, line in enumerate(lines[header.data :], header.data + 1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                yield number, _row(line.strip(), header._replace(classes=header.classes and frozenset()), None)[0]
            except ValueError as error:
                yield Reject(number, str(error))


def interpolated(values: np.ndarray) -> np.ndarray:
    """Return values (T, C) with straight lines where some are missing, level at the ends; 0 in a channel of none."""
    missing = np.isnan(values)
    if not missing.any():
        return values
    filled, time = values.copy(), np.arange(len(values))
    for channel in np.flatnonzero(missing.any(axis=0)):
        gone = missing[:, channel]
        known = time[~gone]
        filled[gone, channel] = np.interp(time[gone], known, values[known, channel]) if len(known) else 0.0
    return filled


def _header(path: Path, lines: list[str]) -> _Header:
    said: dict[str, list[str]] = {}
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        name = words[0].lower().removeprefix("@")
        if not words[0].startswith("@") or name not in _DIRECTIVES:
            raise ValueError(
                f"'{path}', line {number}: '{line.strip()[:40]}' is no line of a header; is @data missing?"
            )
        said[name] = words[1:]
        if name == "data":
            return _read_header(path, said, number)
    raise ValueError(f"'{path}' has no line @data; give a .ts file, as sktime and the UCR archive have them")


def _read_header(path: Path, said: dict[str, list[str]], data: int) -> _Header:
    def flag(name: str) -> bool:
        return [word.lower() for word in said.get(name, [])[:1]] == ["true"]

    if flag("timestamps"):
        raise ValueError(f"'{path}' has time stamps, which are not read: write values alone, evenly spaced")
    if "targetlabel" in said and flag("targetlabel"):
        raise ValueError(f"'{path}' has numbers as targets (@targetlabel); to classify needs @classLabel")
    labelled = flag("classlabel")
    if labelled and len(said["classlabel"]) < 2:
        raise ValueError(f"'{path}': @classLabel true names no class; name them all in that line")
    sizes = [said[name][0] for name in ("dimensions", "dimension", "serieslength") if said.get(name)]
    if not all(size.isdecimal() for size in sizes):
        raise ValueError(f"'{path}': {', '.join(sizes)} in the header; dimensions and lengths are whole numbers")
    given = said.get("dimensions") or said.get("dimension")
    channels = 1 if flag("univariate") else int(given[0]) if given else None
    length = said.get("serieslength") if flag("equallength") else None
    return _Header(
        frozenset(said["classlabel"][1:]) if labelled else None, channels, int(length[0]) if length else None, data
    )


def _row(line: str, header: _Header, channels: int | None) -> tuple[np.ndarray, str | None]:
    """Return the values (T, C) and the label of a row; an empty set of classes lets every label through."""
    label = None
    if header.classes is not None:
        line, colon, label = line.rpartition(":")
        label = label.strip()
        if not colon or (header.classes and label not in header.classes):
            raise ValueError(f"label '{label[:40]}' is none of those that @classLabel names" if colon else "no label")
    found = parse_series(line)
    if channels is not None and found.shape[1] != channels:
        raise ValueError(f"{found.shape[1]} channels; must be {channels}")
    if header.length is not None and len(found) != header.length:
        raise ValueError(f"{len(found)} steps where the header says that all have {header.length}")
    return found, label


def _numbers_columns(rows: list[list[str]]) -> bool:
    """Return whether the first row numbers the columns."""
    if len(rows) < 2 or [cell.strip() for cell in rows[0]] != [str(number) for number in range(len(rows[0]))]:
        return False
    return len(rows[0]) >= 3 or not any(cell.strip().lstrip("-").isdecimal() for row in rows[1:] for cell in row)


def _has_index(rows: list[list[str]]) -> bool:
    """Return whether the first column numbers the rows below a header that leaves it unnamed."""
    return len(rows) > 1 and [row[0].strip() for row in rows] == ["", *map(str, range(len(rows) - 1))]


def is_rows_of_series(path: Path) -> bool:
    """Tell whether a table's first row is of numbers alone: a series a line with its label, as UCR's .tsv files are."""
    names = column_names(path, header=True)
    return len(names) > _FEW and all(_is_value(str(name)) for name in names)


def _is_value(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return cell.strip() == "?"
    return True


def _number(cell: str, where: str) -> float:
    cell = cell.strip()
    if cell in MISSING:
        return math.nan
    try:
        number = float(cell)
    except ValueError:
        raise ValueError(f"{where}: '{cell[:40]}' is no number") from None
    if math.isinf(number) or abs(number) > _LARGEST:
        raise ValueError(f"{where}: '{cell[:40]}' is infinite in 32 bits")
    return number
