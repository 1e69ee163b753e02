"""Bad input of every kind, as a user gives it: a clear error, exit 2, nothing written, nothing lost."""

import gzip
from pathlib import Path

import pytest

from seqloom import cli

pytestmark = pytest.mark.e2e

GOOD = "text,label\n" + "".join(f"what a {word} day {i},{word}\n" for i in range(20) for word in ("good", "bad"))

# name -> (content of the file, what the message must hold)
BAD = {
    "empty": (b"", "empty"),
    "header_only": (b"text,label\n", "row"),
    "one_row": (b"text,label\nhello,good\n", "row"),
    "one_class": (b"text,label\n" + b"hello,good\n" * 20, "class"),
    "nul_bytes": (GOOD.encode() + b"a\0b,good\n" * 5, "NUL"),
    "wrong_encoding": (GOOD.encode() + "caf\xe9,good\n".encode("latin-1") * 5, "--encoding"),
    "ragged": (GOOD.encode() + b"too,many,cells,here\n" * 5, "line 42"),
    "unclosed_quote": (GOOD.encode() + b'"never closed,good\nnext,bad\n', "line 42"),
    "no_such_column": (b"words,label\nhello,good\n", "text"),
    "not_gzip": (GOOD.encode(), "gzip"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("verb", ["train", "compare"])
def test_bad_tables_are_told_and_leave_nothing(name, verb, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content, told = BAD[name]
    path = Path("data.csv.gz" if name == "not_gzip" else "data.csv")
    path.write_bytes(content)
    words = ["train", "classify", "--steps", "1"] if verb == "train" else ["compare", "--budget", "1 steps"]
    code = cli.run([*words, "--data", str(path), "--text", "text", "--label", "label", "--out", "run"])
    out, err = capsys.readouterr()
    assert code == 2 and not out, err
    assert err.splitlines()[-1].startswith("seqloom: error: ") and "Traceback" not in err
    assert told.lower() in err.lower() and str(path) in err
    assert sorted(item.name for item in tmp_path.iterdir()) == [path.name]


def test_a_label_that_training_never_shows_is_told(tmp_path, capsys):
    (tmp_path / "train.csv").write_text(GOOD)
    (tmp_path / "test.csv").write_text("text,label\nhm,ugly\n")
    words = ["train", "classify", "--steps", "1", "--data", str(tmp_path / "train.csv")]
    code = cli.run([*words, "--test", str(tmp_path / "test.csv"), "--out", str(tmp_path / "run")])
    assert code == 2 and "'ugly'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_file_that_is_not_there_is_named(tmp_path, capsys):
    code = cli.run(["train", "classify", "--steps", "1", "--data", str(tmp_path / "missing.csv")])
    assert code == 2 and "missing.csv" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".csv.gz"])
def test_a_table_without_a_header_is_read_by_column_numbers(suffix, tmp_path, capsys):
    text = "".join(GOOD.splitlines(keepends=True)[1:])
    text = text.replace(",", "\t") if suffix == ".tsv" else text
    path = tmp_path / f"data{suffix}"
    path.write_bytes(gzip.compress(text.encode()) if suffix.endswith(".gz") else text.encode())
    words = ["train", "classify", "--steps", "1", "--width", "8", "--layers", "1", "--text", "0", "--label", "1"]
    code = cli.run([*words, "--data", str(path), "--out", str(tmp_path / "run")])
    assert code == 0, capsys.readouterr().err


def test_a_label_is_predicted_for_a_text(tmp_path, capsys):
    (tmp_path / "train.csv").write_text(GOOD)
    run = str(tmp_path / "run")
    words = ["train", "classify", "--steps", "1", "--width", "8", "--layers", "1", "--tokens", "bytes"]
    assert cli.run([*words, "--data", str(tmp_path / "train.csv"), "--out", run]) == 0
    capsys.readouterr()
    assert cli.run(["predict", run, "what a good day"]) == 0
    assert capsys.readouterr().out.split("\t")[0] in ("good", "bad")
