"""Formats of tables: delimited text, JSON lines and Parquet, each to records of the columns asked for."""

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from seqloom.core.registry import nearest
from seqloom.data.records import Records, Reject, read_records, usual_width
from seqloom.data.text import decode

Column = str | int  # a name, or a number from 0

DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
NAMED = (".jsonl", ".ndjson", ".json", ".parquet")  # formats whose columns have names and no numbers

_SHOWN = 20  # columns that a message lists


@dataclass(frozen=True)
class Raw:
    """A file's rows before their cells are judged."""

    rows: Iterator[tuple[int, list[str]] | Reject]  # line, and the cells asked for
    header: bool = True  # whether the first row names the columns, or every row does
    quoted: bool = False  # whether quotes enclose cells


def delimited(
    path: Path, content: bytes, columns: Sequence[Column], encoding: str, header: bool | None, delimiter: str
) -> Raw:
    """Return the rows of CSV and its like; a header is the first row, if there is one.

    Raises:
        ValueError: nothing but empty lines, a broken header, or no such column.
    """
    # commas stand in any text, so that CSV must quote; in other files quotes are often characters like any other
    quoted = True if delimiter == "," or ".csv" in path.suffixes else None
    records = read_records(decode(content, path, encoding), delimiter, quoted)
    if not records.cells and not records.rejects:
        raise ValueError(f"'{path}' has only empty lines; give a file with rows in it")
    named = any(isinstance(column, str) for column in columns)
    if named and header is False:
        raise ValueError(f"'{path}' is said to have no header, so its columns have no names; give numbers, from 0")
    header = named if header is None else header
    if header:
        _check_header(path, records)
    width = len(records.cells[0]) if header else usual_width(records)
    places = [_place(path, column, records.cells[0], width, delimiter) for column in columns] if records.cells else []
    return Raw(_rows(records, header, width, places), header, records.quoted)


def _rows(records: Records, header: bool, width: int, places: list[int]) -> Iterator[tuple[int, list[str]] | Reject]:
    yield from records.rejects
    rule = "the header has" if header else "most rows have"
    for line, cells in zip(records.lines[header:], records.cells[header:], strict=True):
        if len(cells) == width:
            yield line, [cells[place] for place in places]
        elif len(cells) > 1 or cells[0].strip():  # else a line of blanks
            yield Reject(line, f"{len(cells)} cell{'s' * (len(cells) > 1)} where {rule} {width}")


def _check_header(path: Path, records: Records) -> None:
    if records.rejects and (not records.lines or records.rejects[0].line < records.lines[0]):
        line, reason = records.rejects[0]
        raise ValueError(f"'{path}': the header in line {line} is broken: {reason}")


def _place(path: Path, column: Column, first: list[str], width: int, delimiter: str) -> int:
    """Return where a column stands in each row."""
    if isinstance(column, int):
        if 0 <= column < width:
            return column
        raise ValueError(f"no column {column} in '{path}': it has {width}, numbered 0 to {width - 1}")
    names = [name.strip() for name in first]
    if names.count(column) > 1:
        raise ValueError(f"'{path}' has {names.count(column)} columns '{column}'; give each a name of its own")
    if column in names:
        return names.index(column)
    other = next((mark for mark in "\t;|," if mark in first[0] and mark != delimiter), None) if width == 1 else None
    shown = "tab" if other == "\t" else f"'{other}'"
    advice = f"If {shown} separates its cells, add --delimiter {shown}. " if other else ""
    raise _no_column(path, column, names, advice + "If it has no header, give column numbers, from 0")


def _no_column(path: Path, column: Column, names: list[str], advice: str) -> ValueError:
    hint = nearest(str(column), names)
    hint = hint if "Did you mean" in hint else "."
    shown = ", ".join(f"'{name[:40]}'" for name in names[:_SHOWN]) + ", …" * (len(names) > _SHOWN)
    return ValueError(f"no column '{column}' in '{path}'{hint} Its columns: {shown}. {advice}".rstrip())


def names_delimited(path: Path, content: bytes, encoding: str, header: bool, delimiter: str) -> list[Column]:
    """Return the names in the first row of CSV and its like, or the columns' numbers from 0 without a header.

    Raises:
        ValueError: nothing but empty lines.
    """
    quoted = True if delimiter == "," or ".csv" in path.suffixes else None
    records = read_records(decode(content, path, encoding), delimiter, quoted)
    if not records.cells:
        raise ValueError(f"'{path}' has only empty lines; give a file with rows in it")
    return [name.strip() for name in records.cells[0]] if header else list(range(usual_width(records)))


def names_json(path: Path, content: bytes, encoding: str) -> list[Column]:
    """Return the keys of the objects of a file with one JSON object a line, as they come."""
    parsed = map(_parse, filter(str.strip, decode(content, path, encoding).split("\n")))
    return list(dict.fromkeys(key for item in parsed if isinstance(item, dict) for key in item))


def names_parquet(path: Path) -> list[Column]:
    """Return the names of a Parquet file's columns.

    Raises:
        ValueError: the file is damaged.
    """
    with duckdb.connect() as database:
        return list(_described(database, path))


def json_lines(
    path: Path, content: bytes, columns: Sequence[Column], encoding: str, optional: Collection[Column] = ()
) -> Raw:
    """Return the rows of a file with one JSON object a line. Numbers keep their spelling; true and false are words.

    A column that is `optional` reads as "" where it is absent or null.

    Raises:
        ValueError: nothing but empty lines, one JSON list instead of lines, or no object has that column.
    """
    _check_names(path, columns)
    lines = decode(content, path, encoding).split("\n")
    parsed = [(number, _parse(line)) for number, line in enumerate(lines, 1) if line and not line.isspace()]
    if not parsed:
        raise ValueError(f"'{path}' has only empty lines; give a file with rows in it")
    objects = [item for _, item in parsed if isinstance(item, dict)]
    if lines[0].startswith("[") and (not objects or parsed[0][1] in map(_parse, ("[", "[{},"))):
        raise ValueError(f"'{path}' is one JSON list; write one object a line, e.g. with jq -c '.[]'")
    for column in columns:
        if objects and not any(column in item for item in objects):
            names = list(dict.fromkeys(key for item in objects[:1000] for key in item))
            raise _no_column(path, column, names, "")
    return Raw(_picked(parsed, columns, optional))


def _picked(
    parsed: list[tuple[int, Any]], columns: Sequence[Column], optional: Collection[Column]
) -> Iterator[tuple[int, list[str]] | Reject]:
    for line, item in parsed:
        if not isinstance(item, dict):
            yield Reject(line, item)
            continue
        item.update({column: "" for column in optional if item.get(str(column)) is None})
        reason = next(filter(None, (_unlike_text(item, column) for column in columns)), None)
        yield Reject(line, reason) if reason else (line, [_text(item[column]) for column in columns])


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
    with duckdb.connect() as database:
        try:
            names = _described(database, path)
            for column in columns:
                if column not in names:
                    raise _no_column(path, column, names, "")
            picked = ", ".join(f'CAST("{str(column).replace(chr(34), chr(34) * 2)}" AS VARCHAR)' for column in columns)
            found = database.execute(f"SELECT {picked} FROM read_parquet(?)", [str(path)]).fetchall()
        except duckdb.Error as error:
            raise ValueError(f"cannot read '{path}': {str(error).partition(chr(10))[0]}") from None
    return Raw((line, [cell or "" for cell in row]) for line, row in enumerate(found, 1))


def _described(database: duckdb.DuckDBPyConnection, path: Path) -> list[str]:
    try:
        return [row[0] for row in database.execute("DESCRIBE FROM read_parquet(?)", [str(path)]).fetchall()]
    except duckdb.Error as error:
        raise ValueError(f"cannot read '{path}': {str(error).partition(chr(10))[0]}") from None
