"""Files of any size are read line by line in bounded memory, and what is wrong in them is told with its place."""

import gzip
import tracemalloc
from pathlib import Path

import pytest

from seqloom.data import lines, records
from seqloom.data.files import Rows, read_table
from seqloom.data.lines import TextFile

NAMES = ["text", "label"]


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> int:
    """Lower the limit of a line, so that the tests need not write 32 million characters."""
    monkeypatch.setattr(lines, "LONGEST", 1000)
    monkeypatch.setattr(records, "LONGEST", 1000)
    return 1000


@pytest.mark.parametrize("packed", [False, True])
def test_lines_are_those_of_the_content_as_often_as_asked_for(tmp_path: Path, packed: bool) -> None:
    content = "a\r\nb\rc\n\nd"
    path = tmp_path / "a.txt"
    path.write_bytes(gzip.compress(content.encode()) if packed else content.encode())
    file = TextFile(path, "utf-8", newline="")
    assert list(file) == list(file) == ["a\r\n", "b\r", "c\n", "\n", "d"]
    assert list(TextFile(path, "utf-8", newline="\n")) == ["a\r\n", "b\rc\n", "\n", "d"]


@pytest.mark.parametrize("mark", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "gb18030"])
def test_a_character_may_stand_across_two_blocks(tmp_path: Path, mark: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "_BLOCK", 7)
    text = "公司今天宣布，不会把全部\n生产转移到国外🙂\n" * 20
    (tmp_path / "a.txt").write_bytes(text.encode(mark))
    found = TextFile(tmp_path / "a.txt", mark.removesuffix("-sig"), newline="\n")
    assert "".join(line or "" for line in found) == text


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_a_wrong_byte_far_inside_is_told_with_its_place(tmp_path: Path, name: str) -> None:
    good = b"text,label\n" + b"a plain text,1\n" * 100_000
    content = good + "naïve,1\n".encode("latin-1") + b"a,1\n" * 10
    (tmp_path / name).write_bytes(gzip.compress(content, 1) if name.endswith(".gz") else content)
    message = rf"byte 0xef in line 100002 \(offset {len(good) + 2}\).*--encoding latin-1"
    with pytest.raises(ValueError, match=message):
        read_table(tmp_path / name, NAMES)


def test_a_damaged_gzip_is_refused_where_it_breaks(tmp_path: Path) -> None:
    whole = gzip.compress(b"text,label\n" + b"a,1\n" * 100_000)
    (tmp_path / "a.csv.gz").write_bytes(whole[:-20])
    with pytest.raises(ValueError, match="cannot read"):
        read_table(tmp_path / "a.csv.gz", NAMES)


def test_a_line_too_long_is_a_reject_and_the_next_is_read(tmp_path: Path, short: int) -> None:
    long = "x" * (3 * short)
    for name, content in {
        "a.csv": f"text,label\na,1\n{long},1\nb,2\n",
        "b.tsv": f"text\tlabel\na\t1\n{long}\t1\nb\t2\n",
        "c.jsonl": f'{{"text": "a", "label": 1}}\n{{"text": "{long}", "label": 1}}\n{{"text": "b", "label": 2}}\n',
    }.items():
        (tmp_path / name).write_text(content)
        read = read_table(tmp_path / name, NAMES, allow_rejects=True)
        assert read.rows["text"] == ["a", "b"] and read.rows_in == 3
        [reject] = read.rejects
        assert reject.line == (2 if name == "c.jsonl" else 3) and "more than" in reject.reason


def test_a_quote_that_is_never_closed_holds_no_more_than_a_record(tmp_path: Path, short: int) -> None:
    (tmp_path / "a.csv").write_text("text,label\n" + 'a,"1\n' + "b,2\n" * (3 * short))
    read = read_table(tmp_path / "a.csv", NAMES, allow_rejects=True)
    assert len(read) == 3 * short and read.line[0] == 3 and read.line[-1] == 3 * short + 2
    assert [line for line, _ in read.rejects] == [2] and "never closed" in read.rejects[0].reason


def test_a_line_too_long_inside_quotes_breaks_that_record(tmp_path: Path, short: int) -> None:
    (tmp_path / "a.csv").write_text(f'text,label\n"a\n{"x" * (2 * short)}\nb",1\nc,2\n')
    read = read_table(tmp_path / "a.csv", NAMES, allow_rejects=True)
    assert read.rows["text"][-1] == "c" and [line for line, _ in read.rejects[:2]] == [2, 3]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.tsv"])
def test_rows_of_fifty_megabytes_pass_through_a_few(tmp_path: Path, name: str) -> None:
    path, text = tmp_path / name, "a text of some length " * 400
    row = {"a.jsonl": f'{{"text": "{text}", "label": "1"}}\n', "a.csv": f'"{text}",1\n', "a.tsv": f"{text}\t1\n"}[name]
    with path.open("w") as file:
        file.write("" if name == "a.jsonl" else "text,label\n" if name == "a.csv" else "text\tlabel\n")
        for _ in range(500):
            file.write(row * (50_000_000 // len(row) // 500))
    rows = Rows(path, NAMES)
    tracemalloc.start()
    try:
        count = sum(1 for _ in rows)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == rows.rows_in == 50_000_000 // len(row) // 500 * 500
    assert peak < 10_000_000  # a block of 1 MiB, its characters, and a few lines of them
