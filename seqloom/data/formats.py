"""Formats of tables: delimited text, JSON lines and Parquet, each to records of the columns asked for."""

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import duckdb

from seqloom.core.registry import nearest
from seqloom.data.columns import Column, NoColumn
from seqloom.data.lines import TextFile
from seqloom.data.records import TOO_LONG, Record, Reject, Survey, fits_quotes, read_enclosed, read_plain, survey

DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
NAMED = (".jsonl", ".ndjson", ".json", ".parquet")  # formats whose columns have names and no numbers

_SHOWN = 20  # columns that a message lists
_LOOKED_AT = 1000  # objects whose keys a message lists
_PATIENCE = 100_000  # objects without a column, after which it is taken for missing
_FETCHED = 10_000  # rows of Parquet at a time, to bound memory


def is_table(path: str | Path, delimiter: str | None = None) -> bool:
    """Tell whether a file's name, or that there is a delimiter, says that it is a table."""
    kind = Path(Path(path).name.lower().removesuffix(".gz")).suffix
    return delimiter is not None or kind in DELIMITERS or kind in NAMED


@dataclass(frozen=True)
class Raw:
    """A file's rows before their cells are judged."""

    rows: Iterator[Record]  # line, and the cells asked for; each is read when it is asked for
    header: bool = True  # whether the first row names the columns, or every row does
    quoted: bool = False  # whether quotes enclose cells


def delimited(
    path: Path, columns: Sequence[Column], encoding: str, header: bool | None, delimiter: str
) -> tuple[Raw, TextFile]:
    """Return the rows of CSV and its like; a header is the first row, if there is one.

    The file is read once more before where quotes may be characters like any other, or there is no header that says how
    many cells a row has.

    Raises:
        ValueError: nothing but empty lines, a broken header, or no such column.
    """
    text = TextFile(path, encoding, newline="")
    named = any(isinstance(column, str) for column in columns)
    if named and header is False:
        raise ValueError(f"'{path}' is said to have no header, so its columns have no names; give numbers, from 0")
    header = named if header is None else header
    quoted, found = _surveyed(text, delimiter, header)
    records = _read(text, delimiter, quoted)
    first = next(records, None)
    if first is None:
        raise ValueError(f"'{path}' has only empty lines; give a file with rows in it")
    if header and isinstance(first, Reject):
        raise ValueError(f"'{path}': the header in line {first.line} is broken: {first.reason}")
    if not header:
        records = chain([first], records)
    width = found.width if found is not None else len(first[1])
    cells = [] if isinstance(first, Reject) else first[1]
    places = [_place(path, column, cells, width, delimiter) for column in columns] if width else []
    return Raw(_rows(records, header, width, places), header, quoted), text


def _read(text: TextFile, delimiter: str, quoted: bool) -> Iterator[Record]:
    return (read_enclosed if quoted else read_plain)(text, delimiter)


def _surveyed(text: TextFile, delimiter: str, header: bool) -> tuple[bool, Survey | None]:
    """Return whether quotes enclose cells, and what the records are like if the rows alone tell how wide they are."""
    # commas stand in any text, so that CSV must quote; in other files quotes are often characters like any other
    if delimiter == "," or ".csv" in text.path.suffixes:
        return True, None if header else survey(_read(text, delimiter, True))
    if not any('"' in line for line in text if line is not None):
        return False, None if header else survey(_read(text, delimiter, False))
    plain, enclosed = (survey(_read(text, delimiter, quoted)) for quoted in (False, True))
    quoted = fits_quotes(enclosed, plain)
    return quoted, None if header else enclosed if quoted else plain


def _rows(records: Iterator[Record], header: bool, width: int, places: list[int]) -> Iterator[Record]:
    rule = "the header has" if header else "most rows have"
    for record in records:
        if isinstance(record, Reject):
            yield record
            continue
        line, cells = record
        if len(cells) == width:
            yield line, [cells[place] for place in places]
        elif len(cells) > 1 or cells[0].strip():  # else a line of blanks
            yield Reject(line, f"{len(cells)} cell{'s' * (len(cells) > 1)} where {rule} {width}")


def _place(path: Path, column: Column, first: list[str], width: int, delimiter: str) -> int:
    """Return where a column stands in each row."""
    if isinstance(column, int):
        if 0 <= column < width:
            return column
        raise NoColumn(column, path, f": it has {width}, numbered 0 to {width - 1}")
    names = [name.strip() for name in first]
    if names.count(column) > 1:
        raise ValueError(f"'{path}' has {names.count(column)} columns '{column}'; give each a name of its own")
    if column in names:
        return names.index(column)
    other = next((mark for mark in "\t;|," if mark in first[0] and mark != delimiter), None) if width == 1 else None
    shown = "tab" if other == "\t" else f"'{other}'"
    advice = f"If {shown} separates its cells, add --delimiter {shown}. " if other else ""
    raise _no_column(path, column, names, advice + "If it has no header, give column numbers, from 0")


def _no_column(path: Path, column: Column, names: list[str], advice: str) -> NoColumn:
    hint = nearest(str(column), names)
    hint = hint if "Did you mean" in hint else "."
    shown = ", ".join(f"'{name[:40]}'" for name in names[:_SHOWN]) + ", …" * (len(names) > _SHOWN)
    return NoColumn(column, path, f"{hint} Its columns: {shown}. {advice}")


def names_delimited(path: Path, encoding: str, header: bool, delimiter: str) -> list[Column]:
    """Return the names in the first row of CSV and its like, or the columns' numbers from 0 without a header.

    Raises:
        ValueError: nothing but empty lines.
    """
    text = TextFile(path, encoding, newline="")
    quoted, found = _surveyed(text, delimiter, header)
    if found is not None:
        return list(range(found.width))
    first = next((record for record in _read(text, delimiter, quoted) if not isinstance(record, Reject)), None)
    if first is None:
        raise ValueError(f"'{path}' has only empty lines; give a file with rows in it")
    return [name.strip() for name in first[1]]


def names_json(path: Path, encoding: str) -> list[Column]:
    """Return the keys of the objects of a file with one JSON object a line, as they come."""
    names: dict[Column, None] = {}
    for line in TextFile(path, encoding, newline="\n"):
        if line is not None and isinstance(item := _parse(line), dict):
            names |= dict.fromkeys(item)
    return list(names)


def names_parquet(path: Path) -> list[Column]:
    """Return the names of a Parquet file's columns.

    Raises:
        ValueError: the file is damaged.
    """
    with duckdb.connect() as database:
        return list(_described(database, path))


def json_lines(
    path: Path, columns: Sequence[Column], encoding: str, optional: Collection[Column] = ()
) -> tuple[Raw, TextFile]:
    """Return the rows of a file with one JSON object a line. Numbers keep their spelling; true and false are words.

    A column that is `optional` reads as "" where it is absent or null. What no row has is told when the rows are read.

    Raises:
        ValueError: nothing but empty lines, one JSON list instead of lines, or no object has that column.
    """
    _check_names(path, columns)
    text = TextFile(path, encoding, newline="\n")
    return Raw(_objects(text, columns, optional)), text


def _objects(text: TextFile, columns: Sequence[Column], optional: Collection[Column]) -> Iterator[Record]:
    unseen, keys = set(columns), dict[str, None]()
    objects = others = 0
    listed = False  # whether the file opens a JSON list
    for number, line in enumerate(text, 1):
        if line is not None and (not line or line.isspace()):
            continue
        item = TOO_LONG if line is None else _parse(line.rstrip("\n"))
        if objects + others == 0 and number == 1:
            listed = line is not None and line.startswith("[")
            if listed and item in map(_parse, ("[", "[{},")):
                break
        if not isinstance(item, dict):
            others += 1
            yield Reject(number, item)
            continue
        objects += 1
        if unseen:
            unseen.difference_update(item)
            keys |= dict.fromkeys(item) if objects <= _LOOKED_AT else {}
        if unseen and objects == _PATIENCE:
            break
        yield _picked(number, item, columns, optional)
    if listed and not objects:
        raise ValueError(f"'{text.path}' is one JSON list; write one object a line, e.g. with jq -c '.[]'")
    if not objects + others:
        raise ValueError(f"'{text.path}' has only empty lines; give a file with rows in it")
    for column in columns:
        if objects and column in unseen:
            raise _no_column(text.path, column, list(keys), "")


def _picked(line: int, item: dict[str, Any], columns: Sequence[Column], optional: Collection[Column]) -> Record:
    item.update({str(column): "" for column in optional if item.get(str(column)) is None})
    reason = next(filter(None, (_unlike_text(item, column) for column in columns)), None)
    return Reject(line, reason) if reason else (line, [_text(item[str(column)]) for column in columns])


def _parse(line: str) -> dict[str, Any] | str:
    """Return a line's object, or why it has none."""
    try:
        item = json.loads(line, parse_float=str, parse_int=str, parse_constant=str)
    except json.JSONDecodeError as error:
        return "a NUL byte" if "\0" in line else f"not JSON: {error.msg} at column {error.colno}"
    except RecursionError:
        return "not readable: nested too deeply"
    return item if isinstance(item, dict) else f"a JSON {_kind(item)}; must be an object"


def _unlike_text(item: dict[str, Any], column: Column) -> str | None:
    """Return why a value is neither text nor a number; None: it is."""
    if column not in item:
        return f"no column '{column}'"
    value = item[column]
    if value is None or isinstance(value, list | dict):
        return f"column '{column}' is {'null' if value is None else 'a ' + _kind(value)}; must be text or a number"
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return f"column '{column}' holds half of a surrogate pair, which is no character"
    return None


def _text(value: str | bool) -> str:
    return value if isinstance(value, str) else str(value).lower()


def _kind(value: Any) -> str:
    return "list" if isinstance(value, list) else "object" if isinstance(value, dict) else "value"


def _check_names(path: Path, columns: Sequence[Column]) -> None:
    for column in columns:
        if isinstance(column, int):
            raise ValueError(f"column {column} of '{path}': its columns have names and no numbers; give the name")


def parquet(path: Path, columns: Sequence[Column]) -> Raw:
    """Return the rows of a Parquet file, numbered from 1, every value as text.

    Raises:
        ValueError: the file is damaged, or has no such column.
    """
    _check_names(path, columns)
    names = names_parquet(path)
    for column in columns:
        if column not in names:
            raise _no_column(path, column, [str(name) for name in names], "")
    return Raw(_values(path, columns))


def _values(path: Path, columns: Sequence[Column]) -> Iterator[Record]:
    picked = ", ".join(f'CAST("{str(column).replace(chr(34), chr(34) * 2)}" AS VARCHAR)' for column in columns)
    line = 0
    with duckdb.connect() as database:
        try:
            database.execute(f"SELECT {picked} FROM read_parquet(?)", [str(path)])
            while found := database.fetchmany(_FETCHED):
                for row in found:
                    line += 1
                    yield line, [cell or "" for cell in row]
        except duckdb.Error as error:
            raise ValueError(f"cannot read '{path}': {str(error).partition(chr(10))[0]}") from None


def _described(database: duckdb.DuckDBPyConnection, path: Path) -> list[str]:
    try:
        return [row[0] for row in database.execute("DESCRIBE FROM read_parquet(?)", [str(path)]).fetchall()]
    except duckdb.Error as error:
        raise ValueError(f"cannot read '{path}': {str(error).partition(chr(10))[0]}") from None
