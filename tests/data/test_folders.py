"""Folders say by their names what they hold, and which label each file has."""

from pathlib import Path

import numpy as np
import pytest

from seqloom.data.folders import files_of, kind_of, labelled_files


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def table(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.csv", "texts"),
        ("a.jsonl.gz", "texts"),
        ("a.ts", "series"),
        ("a.TS.gz", "series"),
        ("t10k-images-idx3-ubyte.gz", "pictures"),
        ("a.idx3", "pictures"),
        ("a.png", "pictures"),
        ("a.mp4", "clips"),
        ("a.wav", "sounds"),
    ],
)
def test_a_file_is_known_by_its_name(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_a_folder_is_known_by_the_files_in_it_and_holds_one_kind(tmp_path: Path) -> None:
    folder = make(tmp_path / "a", "x/1.PNG", "y/2.jpg", "labels.csv", ".hidden.wav", "x/.cache/1.wav", "x/notes.md")
    assert kind_of(folder) == "pictures" and [file.name for file in files_of(folder, "pictures")] == ["1.PNG", "2.jpg"]
    assert kind_of(make(tmp_path / "b", "x/1.csv")) == "series"
    assert kind_of(make(tmp_path / "e", "x/1.png", "about.csv")) == "pictures"
    with pytest.raises(ValueError, match="holds 2 pictures, 1 sounds; give a folder of one kind"):
        kind_of(make(tmp_path / "c", "1.png", "2.png", "3.wav"))
    with pytest.raises(ValueError, match="no file that ends in one of"):
        kind_of(make(tmp_path / "d", "x/notes.md"))


def test_arrays_are_pictures_or_clips_by_their_dimensions(tmp_path: Path) -> None:
    for shape, kind in (((2, 4, 4), "pictures"), ((2, 4, 4, 3), "pictures"), ((2, 5, 4, 4), "clips")):
        np.savez(tmp_path / "a.npz", x=np.zeros(shape, dtype=np.uint8))
        assert kind_of(tmp_path / "a.npz") == kind
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((2, 5, 4, 4, 3), dtype=np.uint8))
    assert kind_of(tmp_path / "a.npz") == "clips" and kind_of(tmp_path / "none.npz") == "pictures"


def test_labels_are_the_names_of_subfolders(tmp_path: Path) -> None:
    found = labelled_files(make(tmp_path, "cat/1.png", "dog/a/2.png", "dog/1.png"), "pictures")
    assert found.labels == ["cat", "dog", "dog"]
    with pytest.raises(ValueError, match="'3.png' stands in no subfolder"):
        labelled_files(make(tmp_path, "3.png"), "pictures")
    with pytest.raises(ValueError, match="no clips in it"):
        labelled_files(tmp_path, "clips")


def test_labels_may_stand_in_a_table_that_names_every_file_once(tmp_path: Path) -> None:
    folder = make(tmp_path / "a", "1.png", "x/2.png")
    table(folder / "labels.csv", "file,label\nx/2.png,dog\n1.png,cat\n")
    assert labelled_files(folder, "pictures").labels == ["dog", "cat"]
    other = table(tmp_path / "other.csv", "label,file\nA,1.png\nB,x/2.png\n")
    assert labelled_files(folder, "pictures", other).labels == ["A", "B"]
    inside = table(make(tmp_path / "b", "1.csv") / "which.csv", "file,label\n1.csv,A\n")
    assert labelled_files(inside.parent, "series", inside).labels == ["A"]
    for text, message in (
        ("file,label\n1.png,cat\n", "no label for 1 files .* the first '2.png'"),
        ("file,label\n1.png,cat\nx/2.png,a\n3.png,b\n", "line 4: no file '.*3.png'"),
        ("file,label\n1.png,cat\nx/2.png,a\n1.png,b\n", "line 4: '1.png' has a label already"),
    ):
        with pytest.raises(ValueError, match=message):
            labelled_files(folder, "pictures", table(tmp_path / "wrong.csv", text))
