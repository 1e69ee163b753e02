"""Streams: every line comes once, broken ones are told with a reason, and files may grow, be rotated or cut."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from seqloom.data import streams
from seqloom.data.streams import Line, Notice, followed, lines_of, piped


def read(pieces: list[bytes | Notice], **options: str) -> list[Line | Notice]:
    return [line for batch in lines_of(pieces, **options) for line in batch]


def waiting(*events: Callable[[], object]) -> Callable[[], bool]:
    """Return what, called when nothing is new, lets the next event happen; behind the last it ends the stream."""
    rest = iter(events)

    def wait() -> bool:
        event = next(rest, None)
        if event is not None:
            event()
        return event is not None

    return wait


def test_lines_are_the_same_however_the_bytes_are_cut() -> None:
    content = "one\r\ntwo 你好\n\nlast without an end".encode()
    whole = read([content])
    assert [line.text for line in whole] == ["one", "two 你好", "", "last without an end"]
    assert [line.broken for line in whole] == [None, None, "blank", None]
    for size in (1, 2, 3, 7):
        assert read([content[i : i + size] for i in range(0, len(content), size)]) == whole


def test_lines_that_arrived_together_come_together() -> None:
    assert [len(batch) for batch in lines_of([b"a\nb\nc", b"d\n", b"e"])] == [2, 1, 1]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "not JSON"),
        (b"[1]", "no JSON object"),
        (b'{"other": "x"}', "no 'text'"),
        (b'{"text": 3}', "no text in 'text'"),
        (b'{"text": "  "}', "no text in 'text'"),
        (b"  ", "blank"),
        (b"\xff", "0xff is not utf-8"),
    ],
)
def test_a_broken_line_is_told_and_the_stream_goes_on(line: bytes, reason: str) -> None:
    first, second = read([line + b'\n{"text": "good"}\n'], column="text")
    assert reason in first.broken and second == Line(2, "good")


def test_a_line_without_end_takes_no_memory_and_is_one_broken_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "LINE_BYTES", 100)
    found = read([b"a" * 70, b"a" * 70, b"a" * 70, b"\nnext\n"])
    assert [line.number for line in found] == [1, 2] and "longer than 100" in found[0].broken
    assert found[1].text == "next"
    (last,) = read([b"a" * 170])
    assert "longer" in last.broken


def test_other_encodings_are_read_and_wide_ones_refused() -> None:
    assert read(["你好\n".encode("gb18030")], encoding="gb18030") == [Line(1, "你好")]
    with pytest.raises(ValueError, match="utf-16.*convert"):
        read([b"x"], encoding="utf-16")
    with pytest.raises(ValueError, match="Did you mean 'utf-8'"):
        read([b"x"], encoding="utf8x")


def test_a_pipe_gives_what_has_arrived() -> None:
    out, into = os.pipe()
    os.write(into, b"one\ntwo\n")
    arrived = piped(out)
    assert next(arrived) == b"one\ntwo\n"
    os.write(into, b"three")
    os.close(into)
    assert list(arrived) == [b"three"]
    os.close(out)


def test_a_file_that_grows_is_cut_or_rotated_is_read_on(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("one\n")

    def rotate() -> None:
        path.rename(tmp_path / "log.1")

    def append(text: str) -> Callable[[], None]:
        def write() -> None:
            with path.open("a") as file:
                file.write(text)

        return write

    events = [append("tw"), append("o\n"), lambda: path.write_text(""), append("three\nunfinished")]
    found = read_all(followed(path, waiting(*events, rotate, append("four\n"))))
    assert [line.text for line in found if isinstance(line, Line)] == ["one", "two", "three", "unfinished", "four"]
    assert [line.text.partition("'")[2].partition("' ")[2] for line in found if isinstance(line, Notice)] == [
        "was cut: reading it from its beginning",
        "is another file now: reading it from its beginning",
    ]


def test_what_is_there_can_be_passed_over_and_a_missing_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("old\n")
    found = read_all(followed(path, waiting(lambda: path.write_text("old\nnew\n")), from_end=True))
    assert [line.text for line in found] == ["new"]
    with pytest.raises(ValueError, match="cannot follow"):
        next(followed(tmp_path / "nothing", waiting()))


def read_all(pieces: Iterator[bytes | Notice]) -> list[Line | Notice]:
    return [line for batch in lines_of(pieces) for line in batch]
