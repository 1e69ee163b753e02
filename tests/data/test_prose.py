"""Plain text is cut and encoded piece by piece as it would be whole."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqloom.data import cache, prose
from seqloom.data.cache import Workplace
from seqloom.data.growing import Growing
from seqloom.data.prose import counted, encode_prose, given_prose, learnt_tokenizer, read_prose
from seqloom.data.tokens import Bytes
from seqloom.tasks.language import Language

TEXT = st.text(st.sampled_from("ab é中🙂\n\r\u2028 "), max_size=200)
alike = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=100)


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prose, "_BLOCK", 16)


@alike
@given(text=TEXT.filter(str.strip), shares=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted))
def test_parts_are_the_text_and_no_character_is_cut(tmp_path: Path, text: str, shares: list[float]) -> None:
    (tmp_path / "a.txt").write_bytes(text.encode())
    whole = read_prose(tmp_path / "a.txt", "utf-8", Workplace())
    parts = [b"".join(block.tobytes() for block in part.blocks()) for part in whole.cut(*shares)]
    assert b"".join(parts) == text.encode() and len(parts) == 3
    assert "".join(part.decode() for part in parts) == text
    for part, share in zip(np.cumsum([len(part) for part in parts[:2]]), shares, strict=True):
        assert abs(int(part) - share * len(text.encode())) <= 4


@alike
@given(text=TEXT)
def test_lines_are_those_of_the_whole_text(text: str) -> None:
    lines = [line for some in given_prose(text.encode(), Workplace()).lines() for line in some]
    assert lines == text.splitlines(keepends=True)


def test_a_line_longer_than_is_held_is_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prose, "LONGEST", 50)
    text = "中文没有空格也没有换行" * 40
    lines = [line for some in given_prose(text.encode(), Workplace()).lines() for line in some]
    assert "".join(lines) == text and len(lines) > 1 and max(len(line.encode()) for line in lines) < 100


@pytest.mark.parametrize("tokens", ["bytes", "characters", "words", "bpe"])
def test_the_cache_changes_no_token(tmp_path: Path, tokens: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQLOOM_CACHE", str(tmp_path / "cache"))
    words = np.random.default_rng(0).integers(0, 30, size=3000)
    (tmp_path / "a.txt").write_text("".join(f"wörd{i}{' ' if i % 7 else chr(10)}" for i in words), encoding="utf-8")
    task = Language(data=str(tmp_path / "a.txt"), tokens=tokens, length=20)  # type: ignore[arg-type]
    held = task.open()
    monkeypatch.setattr(cache, "SMALL_BYTES", 0)
    for kept in (task.open(), task.open()):
        assert kept.facts == held.facts and kept.floor == held.floor and kept.encoding == held.encoding
        for name in ("train", "validation", "test"):
            rows = np.arange(len(getattr(held, name)))
            one, other = getattr(held, name).batch(rows), getattr(kept, name).batch(rows)
            assert (one.inputs == other.inputs).all() and (one.target == other.target).all()


def test_counts_are_those_of_the_whole_stream() -> None:
    tokens = np.random.default_rng(0).integers(0, 9, size=1000).astype(np.uint16)
    assert counted(tokens, 12).tolist() == np.bincount(tokens, minlength=12).tolist()


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"one\ntwo\0three", "NUL byte in line 2"), (b" \n\n", "only blanks"), (b"", "is empty"), (b"na\xefve", "0xef")],
)
def test_what_is_no_text_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_prose(tmp_path / "a.txt", "utf-8", Workplace())


def test_fifty_megabytes_are_encoded_in_a_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prose, "_BLOCK", 2**20)
    line = "a line of text that is like all the others in this file\n"
    (tmp_path / "a.txt").write_text(line * (50_000_000 // len(line)))
    place = Workplace(tmp_path)
    tokens = Growing(path=tmp_path / "tokens.bin")
    tracemalloc.start()
    try:
        whole = read_prose(tmp_path / "a.txt", "utf-8", place)
        assert isinstance(learnt_tokenizer(whole, "bytes", 0), Bytes)
        encode_prose(whole, Bytes(), tokens)
        assert counted(tokens.array(), 256).sum() == whole.size
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        tokens.close()
        place.close()
    assert peak < 40_000_000  # 8 MiB of counts' copies, blocks of 1 MiB and their text
