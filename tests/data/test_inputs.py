"""Inputs of users: each line or row of a file has its place, whatever stands in it."""

import gzip
from pathlib import Path

import pytest

from seqloom.data import lines
from seqloom.data.files import read_inputs
from seqloom.data.inputs import BLANK, Line, read_lines
from seqloom.data.records import Reject
from seqloom.data.text import split_lines

ODD = "one\u2028two\r\n\n \tthree\x85\x0b\x0c\rfour\x1c\n\r\nlast"  # separators of Unicode, blank lines, no end
LINES = ["one\u2028two", "", " \tthree\x85\x0b\x0c\rfour\x1c", "", "last"]


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("name", ["plain.txt", "packed.txt.gz"])
@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "utf-16"])
def test_a_line_feed_alone_ends_a_line_and_blank_ones_are_kept(tmp_path: Path, name: str, encoding: str) -> None:
    path = written(tmp_path / name, f"\u4e2d{ODD}".encode(encoding))
    found = [line for line in read_lines(path, encoding) if isinstance(line, Line)]
    assert found == [f"\u4e2d{LINES[0]}", *LINES[1:]] and [line.line for line in found] == [1, 2, 3, 4, 5]


def test_lines_at_hand_are_cut_as_those_of_a_file(tmp_path: Path) -> None:
    for text in (ODD, f"{ODD}\n", "\n", "\n\n", "a\n", "a"):
        assert list(read_lines(written(tmp_path / "a.txt", text.encode()))) == split_lines(text)


def test_a_line_that_is_no_text_or_too_long_has_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST", 8)
    long = b"c" * 7 + b"\r" + b"c" * 30  # cut behind the carriage return, which ends nothing
    found = list(read_lines(written(tmp_path / "a.txt", b"a\nb\0\n" + long + b"\nd\n")))
    assert [type(line) for line in found] == [Line, Reject, Reject, Line]
    assert [line.line for line in found] == [1, 2, 3, 4]  # type: ignore[attr-defined]
    assert found[1] == (2, "a NUL byte") and "a line of more than" in str(found[2]) and found[3] == "d"


@pytest.mark.parametrize(
    ("name", "content", "column", "expected"),
    [
        ("a.csv", 'x,text\n1,"a\n\u2028b"\n2,\n3,c,d\n4,e\n', "text", ["a\n\u2028b", 4, 5, "e"]),
        ("a.tsv", "a\tb\n \tc\n", 0, ["a", 2]),
        ("a.jsonl", '{"text": "a"}\n{"text": null}\n{\n{"text": "b"}\n', "text", ["a", 2, 3, "b"]),
        ("a.txt", "a\n \nb,c\n", "text", ["a", 2, "b,c"]),
    ],
    ids=["csv", "tsv", "jsonl", "lines"],
)
def test_a_row_that_cannot_be_used_has_its_place(
    tmp_path: Path, name: str, content: str, column: str | int, expected: list[str | int]
) -> None:
    found = list(read_inputs(written(tmp_path / name, content.encode()), column))
    assert [row.line if isinstance(row, Reject) else row for row in found] == expected


def test_a_blank_line_says_so_and_a_file_without_any_is_refused(tmp_path: Path) -> None:
    assert list(read_inputs(written(tmp_path / "a.txt", b"\n"), 0)) == [(1, BLANK)]
    with pytest.raises(ValueError, match="is empty"):
        list(read_lines(written(tmp_path / "b.txt", b"")))
    with pytest.raises(ValueError, match=r"is not UTF-8: .*add --encoding gb18030"):
        list(read_lines(written(tmp_path / "c.txt", "中文的一句话，这是我们的".encode("gb18030"))))
