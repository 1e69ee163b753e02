"""Prepared data are made once for a content, are whole or absent, and are made again where they are damaged."""

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqloom.data import cache
from seqloom.data.cache import Prepared, Workplace, prepared
from seqloom.data.telling import telling


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQLOOM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "SMALL_BYTES", 0)


def entries(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "cache" / "prepared").iterdir() if path.is_dir()]


class Build:
    """Doubles a file's bytes, and counts how often it was asked to."""

    def __init__(self, path: Path) -> None:
        self.path, self.times = path, 0

    def __call__(self, place: Workplace) -> dict[str, Any]:
        self.times += 1
        scratch = place.scratch(np.int16)
        for byte in self.path.read_bytes():
            scratch.add(np.array([byte, byte], dtype=np.int16))
        place.grow("doubled").add(scratch.read(0, scratch.length))
        place.grow("none", np.float32)
        return {"size": scratch.length // 2}


def make(tmp_path: Path, content: bytes = b"abc", name: str = "a.txt") -> Build:
    path = tmp_path / name
    path.write_bytes(content)
    return Build(path)


def asked(build: Build, settings: Any = 0) -> Prepared:
    return prepared([build.path], settings, build)


def test_the_same_content_is_prepared_once_whatever_its_name(tmp_path: Path) -> None:
    one, other = make(tmp_path), make(tmp_path, name="b.txt")
    first, second = asked(one), asked(other)
    assert (one.times, other.times) == (1, 0)
    for found in (first, second):
        assert found.arrays["doubled"].tolist() == [97, 97, 98, 98, 99, 99] and found.values == {"size": 3}
        assert isinstance(found.arrays["doubled"], np.memmap) and not found.arrays["doubled"].flags.writeable
        assert found.arrays["none"].shape == (0,) and found.arrays["none"].dtype == np.float32
    assert not list(entries(tmp_path)[0].glob("*.scratch"))


def test_other_content_or_settings_are_another_entry(tmp_path: Path) -> None:
    build = make(tmp_path)
    asked(build)
    asked(build, 1)
    asked(make(tmp_path, b"abd"))
    assert build.times == 2 and len(entries(tmp_path)) == 3


def test_small_files_are_prepared_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "SMALL_BYTES", 4)
    found = asked(make(tmp_path))
    assert found.arrays["doubled"].tolist() == [97, 97, 98, 98, 99, 99] and found.arrays["none"].shape == (0,)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "manifest", "no JSON", "a list"])
def test_a_damaged_entry_is_made_again_and_it_is_said(tmp_path: Path, damage: str) -> None:
    build = make(tmp_path)
    asked(build)
    [entry] = entries(tmp_path)
    path = entry / "doubled.bin"
    content = path.read_bytes()
    manifest = json.loads((entry / "manifest.json").read_text())
    if damage in ("flip", "cut"):
        path.write_bytes(bytes([content[0] ^ 1]) + content[1:] if damage == "flip" else content[:-1])
    elif damage == "gone":
        path.unlink()
    elif damage == "manifest":
        (entry / "manifest.json").write_text(json.dumps({**manifest, "values": '{"size": 4}'}))
    else:
        (entry / "manifest.json").write_text("{" if damage == "no JSON" else "[]")
    said: list[str] = []
    with telling(lambda what, share: said.append(what)):
        found = asked(build)
    assert build.times == 2 and found.values == {"size": 3} and found.arrays["doubled"].tolist()[0] == 97
    assert any("damaged" in line and "made again" in line for line in said)
    asked(build)
    assert build.times == 2


def test_what_fails_or_was_killed_leaves_nothing(tmp_path: Path) -> None:
    build = make(tmp_path)

    def broken(place: Workplace) -> dict[str, Any]:
        place.grow("a").add(np.arange(3))
        raise ValueError("no such column")

    with pytest.raises(ValueError, match="no such column"):
        prepared([build.path], 0, broken)
    assert entries(tmp_path) == []
    asked(build)
    [entry] = entries(tmp_path)
    left = entry.with_name(f"{entry.name}.4711.part")  # as a killed process leaves it
    left.mkdir()
    (left / "doubled.bin").write_bytes(b"half")
    asked(build)
    assert entry.is_dir() and build.times == 1
    (entry / "doubled.bin").unlink()
    asked(build)
    assert entries(tmp_path) == [entry]


def _slow(path: Path, started: Path) -> None:
    build = Build(path)

    def slowly(place: Workplace) -> dict[str, Any]:
        started.touch()
        time.sleep(0.5)
        return build(place)

    assert prepared([path], 0, slowly).values == {"size": 3}


def _begin(path: Path, started: Path) -> Any:
    process = multiprocessing.get_context("fork").Process(target=_slow, args=(path, started))
    process.start()
    while not started.exists():
        time.sleep(0.01)
    return process


def test_a_second_process_waits_and_takes_what_the_first_made(tmp_path: Path) -> None:
    build, said = make(tmp_path), []
    first = _begin(build.path, tmp_path / "started")
    with telling(lambda what, share: said.append(what)):
        found = asked(build)
    first.join()
    assert first.exitcode == 0 and build.times == 0 and found.values == {"size": 3}
    assert any("waiting for another process" in line for line in said)


def test_a_killed_process_holds_nobody_up(tmp_path: Path) -> None:
    build = make(tmp_path)
    first = _begin(build.path, tmp_path / "started")
    assert first.pid is not None
    os.kill(first.pid, signal.SIGKILL)
    first.join()
    assert asked(build).values == {"size": 3} and build.times == 1
    assert len(entries(tmp_path)) == 1  # what the killed one began is gone


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SEQLOOM_CACHE", str(tmp_path / "file"))
    with pytest.raises(ValueError, match="cannot keep prepared data in .*SEQLOOM_CACHE"):
        asked(make(tmp_path))


def test_a_missing_file_is_told_by_whoever_reads_it(tmp_path: Path) -> None:
    build = make(tmp_path)
    with pytest.raises(ValueError, match="no file"):
        prepared([build.path, tmp_path / "b.txt"], 0, build)
