"""Every row of a table is used or listed with its line and a reason; what the csv module writes is what is read."""

import csv
import gzip
import io
import json
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqloom.data.files import CELL_BYTES, NO_VALUE, Table, read_table

NAMES = ["text", "label"]

# any character but NUL, which no text has, and halves of surrogate pairs, which no file can hold
CELL = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=12) | st.text(
    '",\n\r\t; a\u2028\x0b', max_size=8
)
FULL = CELL.filter(lambda cell: cell.strip() and cell.strip() not in NO_VALUE)
in_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)


def table(folder: Path, content: str | bytes, name: str = "a.csv", columns: list | None = None, **options) -> Table:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(path, columns or NAMES, **options)


def refused(folder: Path, content: str | bytes, message: str, name: str = "a.csv", **options) -> None:
    with pytest.raises(ValueError, match=message):
        table(folder, content, name, **options)


def written(rows: list[list[str]], **options) -> str:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, **options).writerows(rows)
    return buffer.getvalue()


def lines_of(text: str) -> int:
    return len(list(io.StringIO(text, newline="")))


@in_one_folder
@given(
    rows=st.lists(st.lists(FULL, min_size=3, max_size=3), min_size=1, max_size=20),
    # less than all quoted, the csv module leaves those line ends bare in cells that do not end its own lines
    quoting=st.sampled_from([(csv.QUOTE_MINIMAL, "\r\n"), *((csv.QUOTE_ALL, end) for end in ("\n", "\r\n", "\r"))]),
    delimiter=st.sampled_from(",;\t|"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "gb18030"]),
    packed=st.booleans(),
)
def test_what_the_csv_module_writes_is_what_is_read(
    tmp_path: Path, rows: list[list[str]], quoting: tuple, delimiter: str, encoding: str, packed: bool
) -> None:
    style = {"delimiter": delimiter, "quoting": quoting[0], "lineterminator": quoting[1]}
    header = [*NAMES, "more"]
    content = written([header, *rows], **style).encode(encoding)
    read = table(
        tmp_path,
        gzip.compress(content, 1) if packed else content,
        "a.csv.gz" if packed else "a.csv",
        delimiter=delimiter,
        encoding=encoding.removesuffix("-sig"),
    )
    assert read.rows == {"text": [row[0] for row in rows], "label": [row[1] for row in rows]}
    assert (read.rows_in, read.rejects) == (len(rows), [])
    assert read.line.tolist() == [1 + lines_of(written([header, *rows[:i]], **style)) for i in range(len(rows))]


# rows and what becomes of them: each is good, or broken in one way, and stands on lines of its own
GOOD = st.lists(FULL, min_size=2, max_size=2).map(lambda row: (written([row]), None))
BAD = st.sampled_from(
    [
        ("alone\n", "1 cell where the header has 2"),
        ("one,two,three\n", "3 cells where the header has 2"),
        (",label\n", "column 'text' is empty"),
        ("text,  \n", "column 'label' is empty"),
        ("text,NaN\n", "column 'label' is 'NaN', which means no value"),
        ("te\0xt,label\n", "column 'text' holds a NUL byte"),
        ('"text" more,label\n', "text behind a closing quote"),
    ]
)


@in_one_folder
@given(rows=st.lists(GOOD | BAD, max_size=30), end=st.sampled_from(["", "\n\n", " \n"]))
def test_rows_in_are_rows_used_and_rows_rejected(tmp_path: Path, rows: list[tuple[str, str | None]], end: str) -> None:
    # one more row, so that there is one to use
    text = "text,label\n" + "".join(written for written, _ in rows) + "last,row\n" + end
    read = table(tmp_path, text, allow_rejects=True)
    assert read.rows_in == len(rows) + 1 == len(read) + len(read.rejects)
    starts = [1 + lines_of("text,label\n" + "".join(written for written, _ in rows[:i])) for i in range(len(rows))]
    expected = [(start, reason) for start, (_, reason) in zip(starts, rows, strict=True) if reason]
    assert [line for line, _ in read.rejects] == [line for line, _ in expected]
    for (_, reason), (_, wanted) in zip(read.rejects, expected, strict=True):
        assert reason.startswith(wanted)
    used = [start for start, (_, reason) in zip(starts, rows, strict=True) if not reason]
    assert read.line[:-1].tolist() == used


@in_one_folder
@given(
    values=st.lists(st.tuples(FULL, st.integers() | st.booleans() | FULL), min_size=1, max_size=20),
    escaped=st.booleans(),
)
def test_what_the_json_module_writes_is_what_is_read(tmp_path: Path, values: list, escaped: bool) -> None:
    lines = [json.dumps({"text": text, "label": label}, ensure_ascii=escaped) for text, label in values]
    read = table(tmp_path, "\n".join(lines), "a.jsonl")
    assert read.rows["text"] == [text for text, _ in values]
    spelt = [str(label).lower() if isinstance(label, bool) else str(label) for _, label in values]
    assert read.rows["label"] == spelt and read.line.tolist() == list(range(1, len(values) + 1))


def test_every_broken_json_line_is_listed(tmp_path: Path) -> None:
    bad = {
        "{": "not JSON",
        "[1]": "a JSON list; must be an object",
        "7": "a JSON value; must be an object",
        '{"text": "a"}': "no column 'label'",
        '{"text": null, "label": 1}': "column 'text' is null",
        '{"text": ["a"], "label": 1}': "column 'text' is a list",
        '{"text": "a", "label": NaN}': "column 'label' is 'NaN'",
        '{"text": "\\ud800", "label": 1}': "half of a surrogate pair",
        '{"text": "a\0", "label": 1}': "a NUL byte",
        "[" * 100_000: "nested too deeply",
    }
    content = "\n".join(['{"text": "a", "label": 1}', "", *bad])
    read = table(tmp_path, content, "a.jsonl", allow_rejects=True)
    assert (len(read), read.rows_in) == (1, 11)
    assert [line for line, _ in read.rejects] == list(range(3, 13))
    assert all(wanted in reason for (_, reason), wanted in zip(read.rejects, bad.values(), strict=True))


def test_numbers_keep_their_spelling(tmp_path: Path) -> None:
    read = table(tmp_path, '{"text": 1.50, "label": ' + "9" * 5000 + "}", "a.jsonl")
    assert read.rows == {"text": ["1.50"], "label": ["9" * 5000]}


def test_columns_by_number_mean_no_header_unless_it_is_said(tmp_path: Path) -> None:
    text = "label,text\n1,a\n"
    without = table(tmp_path, text, columns=[1, 0])
    assert without.rows == {1: ["text", "a"], 0: ["label", "1"]} and not without.header
    said = table(tmp_path, text, columns=[1, 0], header=True)
    assert said.rows == {1: ["a"], 0: ["1"]} and said.line.tolist() == [2]
    assert table(tmp_path, text, columns=["text", 0]).rows == {"text": ["a"], 0: ["1"]}
    refused(tmp_path, text, "said to have no header", header=False)


def test_one_stray_quote_costs_one_row(tmp_path: Path) -> None:
    text = "text,label\n" + "a,1\n" * 1000 + 'b,"1\n' + "c,0\n" * 1000
    read = table(tmp_path, text)
    assert (len(read), read.rows_in) == (2000, 2001)
    assert read.rejects[0].line == 1002 and "never closed" in read.rejects[0].reason


def test_quotes_broken_everywhere_are_told_in_time(tmp_path: Path) -> None:
    refused(tmp_path, "text,label\n" + '"""a,1\n' * 20_000, "20000 of 20000 rows cannot be used")
    refused(
        tmp_path, "text,label\n" + 'a,"\n' + 'b,""\n' * 20_000, "20001 of 20001 .* Line 2: a quote that is never closed"
    )


def test_more_than_one_reject_in_a_thousand_stops(tmp_path: Path) -> None:
    rows = "a,1\n" * 1999
    assert len(table(tmp_path, "text,label\n" + rows + "a,\n")) == 1999
    assert len(table(tmp_path, "text,label\n" + rows[4:] + "a,\nb\n", allow_rejects=False).rejects) == 2
    three = "text,label\n" + rows[8:] + "a,\nb\nc,d,e\n"
    refused(tmp_path, three, "3 of 2000 rows cannot be used, more than 0.1% of them.*--allow-rejects. Line 1999: col")
    assert len(table(tmp_path, three, allow_rejects=True)) == 1997
    refused(tmp_path, "text,label\na\nb\n", "2 of 2 rows cannot be used, all of them", allow_rejects=True)


def test_a_tsv_keeps_quotes_that_enclose_nothing(tmp_path: Path) -> None:
    rows = [['"so" he said', "1"], ['he said "so"', "0"], ['" is a quote', "1"], ['""', "0"], ['5" disk', "1"]]
    read = table(tmp_path, "".join(f"{text}\t{label}\n" for text, label in rows), "a.tsv", columns=[0, 1])
    assert [list(row) for row in zip(read.rows[0], read.rows[1], strict=True)] == rows and not read.quoted


def test_a_quote_in_one_tsv_line_does_not_swallow_the_next(tmp_path: Path) -> None:
    read = table(tmp_path, 'text\tlabel\n"a\t1\nb"\t0\n', "a.tsv")
    assert read.rows == {"text": ['"a', 'b"'], "label": ["1", "0"]}


def test_a_tsv_whose_cells_need_their_quotes_is_read_with_them(tmp_path: Path) -> None:
    rows = [NAMES, ["a\tb", "1"], ["two\nlines", "0"], ['said "so"', "1"]]
    for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL):
        read = table(tmp_path, written(rows, delimiter="\t", quoting=quoting), "a.tsv")
        assert read.rows["text"] == ["a\tb", "two\nlines", 'said "so"'] and read.quoted
    every = table(tmp_path, '"text"\t"label"\n"a ""b"""\t"1"\n', "a.tsv")
    assert every.rows == {"text": ['a "b"'], "label": ["1"]}


def test_parquet_has_its_rows_accounted_for_too(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    values = "(VALUES ('a', 1), ('b', NULL), (NULL, 2), ('d', 3)) t(text, label)"
    duckdb.sql(f"COPY (FROM {values}) TO '{path}'")
    read = read_table(path, NAMES, allow_rejects=True)
    assert read.rows == {"text": ["a", "d"], "label": ["1", "3"]} and read.line.tolist() == [1, 4]
    assert [line for line, _ in read.rejects] == [2, 3]
    with pytest.raises(ValueError, match="no column 'txet'.*Did you mean 'text'"):
        read_table(path, ["txet"])
    refused(tmp_path, b"PAR1 no", "cannot read", "b.parquet")


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("a.csv", "", {}, "is empty"),
        ("a.csv", "\n\n", {}, "only empty lines"),
        ("a.jsonl", "\n \n", {}, "only empty lines"),
        ("a.csv", "text,label\n", {}, "a header and no rows"),
        ("a.csv", "txt,label\na,1\n", {}, "no column 'text'.*Did you mean 'txt'.*'txt', 'label'.*give column numbers"),
        ("a.jsonl", '{"txt": "a", "label": 1}', {}, "no column 'text'.*Did you mean 'txt'.*'txt', 'label'"),
        ("a.csv", "text;label\na;1\n", {}, "If ';' separates its cells, add --delimiter ';'"),
        ("a.csv", "text\tlabel\na\t1\n", {}, "If tab separates its cells, add --delimiter tab"),
        ("a.csv", "text,label,text\na,1,b\n", {}, "2 columns 'text'"),
        ("a.csv", '"text,label\na,1\n', {}, "header in line 1 is broken: a quote that is never closed"),
        ("a.csv", "a,1\n", {"columns": [0, 2]}, "no column 2 in .*it has 2, numbered 0 to 1"),
        ("a.csv", "a,1\n", {"columns": [-1, 0]}, "no column -1"),
        ("a.jsonl", '{"text": 1}', {"columns": [0, 1]}, "columns have names and no numbers"),
        ("a.jsonl", '{"text": 1, "label": 1}', {"header": True}, "leave it out"),
        ("a.json", '[\n{"text": 1, "label": 1}\n]', {}, "is one JSON list"),
        ("a.txt", "text,label\na,1\n", {}, "--delimiter"),
        ("a.csv", "a,1\n", {"delimiter": ";;"}, "must be one character"),
        ("a.csv", "a,1\n", {"encoding": "utf8x"}, "encoding 'utf8x' is unknown. Did you mean 'utf-8'"),
        ("a.csv", "text,label\nnaïve,1\n".encode("latin-1"), {}, "0xef in line 2 .*--encoding latin-1"),
        ("a.csv", "text,label\nnaïve,1\n".encode("utf-16"), {}, "--encoding utf-16"),
        ("a.csv", b"text,label\na\0,1\nb,0\n", {}, "Line 2: column 'text' holds a NUL byte"),
    ],
)
def test_bad_input_names_the_value_and_the_fix(
    tmp_path: Path, name: str, content: str | bytes, options: dict, message: str
) -> None:
    refused(tmp_path, content, message, name, **options)


def test_a_huge_cell_is_a_listed_reject(tmp_path: Path) -> None:
    content = b"text,label\n" + b"a,1\n" * 1000 + b"x" * (CELL_BYTES + 1) + b",1\n"
    read = table(tmp_path, content)
    assert read.rejects == [(1002, f"column 'text' has {CELL_BYTES + 1} bytes; a cell may have {CELL_BYTES}")]
    assert len(table(tmp_path, b"text,label\n" + b"x" * CELL_BYTES + b",1\n").rows["text"][0]) == CELL_BYTES


def test_another_delimiter_is_named(tmp_path: Path) -> None:
    read = table(tmp_path, "profit rose .@positive\n", "a.txt", columns=[0, 1], delimiter="@")
    assert read.rows == {0: ["profit rose ."], 1: ["positive"]}
    assert table(tmp_path, "a\t1\n", "a.txt", columns=[0, 1], delimiter="tab").rows[1] == ["1"]


def test_the_digest_is_of_the_content_and_not_of_its_packing(tmp_path: Path) -> None:
    text = b"text,label\na,1\n"
    plain, packed = table(tmp_path, text), table(tmp_path, gzip.compress(text), "a.csv.gz")
    assert plain.digest == packed.digest != table(tmp_path, text + b"b,1\n").digest
