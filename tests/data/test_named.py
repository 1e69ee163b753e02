"""Named sources: found where they are, fetched once, checked from then on; each says its licence and whom to cite."""

import gzip
import io
import json
import tarfile
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from seqloom.core.registry import catalog
from seqloom.core.runtime import data_dir
from seqloom.data import fetch as fetching
from seqloom.data import named as naming
from seqloom.data.fetch import Download
from seqloom.data.named import Named, located, named, names, with_source
from seqloom.data.telling import telling


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("SEQLOOM_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("SEQLOOM_CACHE", str(tmp_path / "cache"))
    for name in ("SEQLOOM_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    # files of this machine stand in for hosts
    monkeypatch.setattr(fetching, "SCHEMES", ("file",))


def small(tmp_path: Path, **settings: object) -> Named:
    host = tmp_path / "host"
    host.mkdir(exist_ok=True)
    for name in ("train.csv", "test.csv"):
        (host / name).write_text(f"text,label\n{name},1\n") if not (host / name).exists() else None
    fields = {
        "title": "a small set",
        "licence": "CC0",
        "citation": ("key", "Author", "Title", "2000", "where"),
        "folder": "small",
        "files": ("train.csv", "test.csv"),
        "downloads": tuple(Download((host / name).as_uri(), name) for name in ("train.csv", "test.csv")),
        "tasks": {"classify": {"data": "./train.csv", "test": "./test.csv", "max_length": 7}},
    }
    return Named(**{**fields, **settings})  # type: ignore[arg-type]


def test_every_source_says_what_it_is() -> None:
    assert len(names()) >= 18
    for name in names():
        source = named(name)
        assert source.title and source.licence and all(source.citation) and source.files and source.downloads
        assert set(source.tasks) <= set(catalog("tasks"))
        for task, settings in source.tasks.items():
            assert set(settings) <= {field.name for field in catalog("tasks")[task].fields}
        for download in source.downloads:
            assert urlsplit(download.url).scheme == "https" and bool(download.to) != bool(download.arrange)
            assert download.sha256 is None or len(download.sha256) == 64
        if all(download.arrange is None for download in source.downloads):
            kept = [to for d in source.downloads for to in ([d.to] if isinstance(d.to, str) else d.to.values())]
            assert set(source.files) <= {to.rstrip("/") for to in kept}


def test_a_source_in_the_data_folder_is_used_as_it_is(tmp_path: Path) -> None:
    source = small(tmp_path)
    folder = tmp_path / "data" / "small"
    folder.mkdir()
    for name in source.files:
        (folder / name).write_text("mine")
    assert located("small", source) == folder and not (tmp_path / "cache").exists()


def test_a_source_is_fetched_once_and_then_found(tmp_path: Path) -> None:
    source, said = small(tmp_path), []
    with telling(lambda what, share: said.append(what)):
        folder = located("small", source)
    assert (folder / "train.csv").read_text() == "text,label\ntrain.csv,1\n"
    assert any("CC0" in line for line in said)
    for path in (tmp_path / "host").iterdir():
        path.unlink()
    assert located("small", source) == folder
    assert sorted(path.name for path in folder.parent.iterdir()) == ["small", "small.fetched.json", "small.lock"]


def test_a_damaged_source_is_fetched_again_and_another_than_at_first_is_refused(tmp_path: Path) -> None:
    source, said = small(tmp_path), []
    folder = located("small", source)
    (folder / "train.csv").write_text("damaged")
    with telling(lambda what, share: said.append(what)):
        located("small", source)
    assert (folder / "train.csv").read_text() == "text,label\ntrain.csv,1\n"
    assert any("train.csv" in line and "damaged" in line for line in said)
    (folder / "train.csv").write_text("damaged")
    (tmp_path / "host" / "train.csv").write_text("text,label\nanother,1\n")
    with pytest.raises(ValueError, match="no more what was fetched at first"):
        located("small", source)
    (folder.parent / "small.fetched.json").unlink()
    assert (located("small", source) / "train.csv").read_text() == "text,label\nanother,1\n"


def test_a_file_that_is_not_the_published_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="train.csv, as fetched, is not the published file"):
        located("small", small(tmp_path, sha256={"train.csv": "0" * 64}))
    with pytest.raises(ValueError, match="has no more.csv"):
        located("small", small(tmp_path, files=("train.csv", "more.csv")))
    assert not (tmp_path / "cache" / "sources" / "small").exists()


def test_what_was_fetched_before_a_failure_is_not_fetched_again(tmp_path: Path) -> None:
    source = small(tmp_path)
    test = tmp_path / "host" / "test.csv"
    content = test.read_text()
    test.unlink()
    with pytest.raises(ValueError, match="cannot fetch .*test.csv"):
        located("small", source)
    test.write_text(content)
    (tmp_path / "host" / "train.csv").unlink()
    assert (located("small", source) / "train.csv").read_text() == "text,label\ntrain.csv,1\n"


def test_offline_a_source_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQLOOM_OFFLINE", "1")
    with pytest.raises(ValueError, match="SEQLOOM_OFFLINE"):
        located("small", small(tmp_path))


def test_a_task_takes_a_sources_settings_and_the_users_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = small(tmp_path)
    monkeypatch.setattr(naming, "named", lambda name: source)
    folder = tmp_path / "cache" / "sources" / "small"
    found = with_source("classify", {"data": "source:small", "max_length": 9})
    assert found == {"data": str(folder / "train.csv"), "test": str(folder / "test.csv"), "max_length": 9}
    assert with_source("classify", {"data": "a.csv"}) == {"data": "a.csv"} and with_source("parity", {}) == {}
    with pytest.raises(ValueError, match="tag does not read source 'small', which is for classify"):
        with_source("tag", {"data": "source:small"})


def test_an_unknown_source_suggests_the_nearest() -> None:
    with pytest.raises(ValueError, match="unknown source 'imbd'. Did you mean 'imdb'"):
        with_source("classify", {"data": "source:imbd"})


def test_imdb_is_made_of_its_archive(tmp_path: Path) -> None:
    kinds = [(part, kind, i) for part in ("train", "test") for kind in ("pos", "neg") for i in range(2)]
    with tarfile.open(tmp_path / "x", "w:gz") as archive:
        for part, kind, i in [*kinds, ("train", "unsup", 0)]:
            content = f"{part} {kind} {i} é".encode()
            entry = tarfile.TarInfo(f"aclImdb/{part}/{kind}/{i}_{i + 1}.txt")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    fetching.unpack(named("imdb").downloads[0], tmp_path / "x", tmp_path)
    for part in ("train", "test"):
        lines = gzip.decompress((tmp_path / f"{part}.jsonl.gz").read_bytes()).decode().splitlines()
        assert {(row["text"], row["label"], row["rating"]) for row in map(json.loads, lines)} == {
            (f"{part} {kind} {i} é", int(kind == "pos"), i + 1) for kind in ("pos", "neg") for i in range(2)
        }


@pytest.mark.realdata
def test_real_files_are_the_published_ones_where_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEQLOOM_DATA")
    root = data_dir()
    if root is None:
        pytest.skip("no real data sets: set SEQLOOM_DATA")
    for name in names():
        source = named(name)
        for file, digest in source.sha256.items():
            assert fetching.file_digest(root / source.folder / file) == digest
