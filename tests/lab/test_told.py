"""Answers to a file: one for each line, in its place, whatever stands there, in the encoding that a run learnt from."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from seqloom.core.spec import resolve
from seqloom.lab.decoding import Decoding
from seqloom.lab.trained import load
from seqloom.train.experiment import Experiment
from seqloom.train.loop import Training

WORDS = ["red", "blue", "old", "new", "big", "wet", "dry", "hot", "cold", "long", "thin", "soft"]
PAIRS = [(f"{one} {other} cat", f"Katze {other} {one}") for one in WORDS for other in WORDS if one != other]
LABELLED = [(f"{word} number {i}", label) for i in range(20) for word, label in (("fine", "good"), ("bad", "poor"))]
LONG = 4  # tokens of a continuation


def trained(folder: Path, task: dict[str, Any], name: str = "gru", steps: int = 1) -> Any:
    """Return a run of a tiny model on a task."""
    model = {"name": name, "width": 8}
    run = folder / "run"
    Training(resolve(Experiment, {"task": task, "model": model, "budget": {"steps": steps}}), out=run).finish()
    return load(run)


def csv_file(path: Path, rows: list[tuple[str, str]]) -> str:
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    return str(path)


def classify(folder: Path) -> dict[str, Any]:
    return {"name": "classify", "data": csv_file(folder / "a.csv", LABELLED), "tokens": "bytes"}


def converse(folder: Path) -> dict[str, Any]:
    data = csv_file(folder / "a.csv", LABELLED)
    return {"name": "converse", "data": data, "intent": "label", "tokens": "bytes", "held_out": 0}


def language(folder: Path) -> dict[str, Any]:
    (folder / "a.txt").write_text("the quick brown fox jumps over the lazy dog. " * 20)
    return {"name": "language", "data": str(folder / "a.txt"), "length": 16}


def tag(folder: Path) -> dict[str, Any]:
    sentences = [f"{a} O\n{b} O\nBonn S-LOC\n" for a in WORDS for b in WORDS]
    (folder / "a.conll").write_text("\n".join(sentences))
    return {"name": "tag", "data": str(folder / "a.conll")}


def translate(folder: Path, encoding: str = "utf-8") -> dict[str, Any]:
    for name, column in (("source", 0), ("target", 1)):
        (folder / f"a.{name}").write_text("".join(f"{pair[column]}\n" for pair in PAIRS), encoding=encoding)
    sides = {name: str(folder / f"a.{name}") for name in ("source", "target")}
    return {"name": "translate", **sides, "tokens": "bytes", "beams": 1, "encoding": encoding}


@pytest.mark.parametrize("make", [classify, converse, language, tag, translate], ids=lambda make: make.__name__)
def test_each_line_has_its_answer_in_its_place(tmp_path: Path, make: Any) -> None:
    run = trained(tmp_path, make(tmp_path), "gpt" if make is translate else "gru")
    lines = ["red\u2028cat", "", "wet dog", "dry\x85\x0bdog\x0c", "hot"]
    (tmp_path / "lines.txt").write_bytes("\r\n".join(lines).encode())
    found = list(run.told(tmp_path / "lines.txt", Decoding(length=LONG) if run.generates else None))
    assert len(found) == len(lines) and json.loads(json.dumps(found)) == found
    blank = found.pop(1)
    assert [answer["input"] for answer in found] == [line for line in lines if line]
    assert not any("error" in answer for answer in found)
    if make in (tag, translate):
        assert blank in ({"input": "", "tokens": [], "entities": []}, {"input": "", "translation": ""})
    else:
        assert blank["line"] == 2 and blank["error"]
    (alone,) = run.answers(["hot"], Decoding(length=LONG) if run.generates else None)
    assert found[-1].keys() == alone.keys()


@pytest.mark.parametrize("make", [language, translate], ids=lambda make: make.__name__)
def test_lines_are_read_in_the_encoding_of_training_and_packed(tmp_path: Path, make: Any) -> None:
    task = make(tmp_path)
    if make is translate:
        task = translate(tmp_path, "gb18030")
    run = trained(tmp_path, {**task, "encoding": "gb18030"}, "gpt" if make is translate else "gru")
    asked = tmp_path / "lines.txt.gz"
    asked.write_bytes(gzip.compress("中文\n文\n".encode("gb18030")))
    found = list(run.told(asked, Decoding(length=LONG) if run.generates else None))
    assert [answer["input"] for answer in found] == ["中文", "文"]


def test_a_run_on_a_table_of_pairs_translates_a_tables_sources_or_lines(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,german,english\n" + "".join(f"1,{b},{a}\n" for a, b in PAIRS))
    task = {"name": "translate", "data": str(tmp_path / "a.csv"), "source": "english", "target": "german"}
    run = trained(tmp_path, {**task, "tokens": "bytes", "beams": 1}, "gpt")
    (tmp_path / "ask.jsonl").write_text('{"english": "red\\ncat"}\n{"english": ""}\n{"english": "hot cat"}\n')
    first, broken, last = run.told(tmp_path / "ask.jsonl")
    assert (first["input"], last["input"]) == ("red\ncat", "hot cat") and "translation" in last
    assert broken == {"line": 2, "error": "column 'english' is empty"}
    (tmp_path / "ask.en").write_text("red cat,hot cat\n\nhot cat\n")
    assert [answer["input"] for answer in run.told(tmp_path / "ask.en")] == ["red cat,hot cat", "", "hot cat"]


def test_an_odd_row_has_an_error_with_its_line_and_the_others_their_answers(tmp_path: Path) -> None:
    run = trained(tmp_path, tag(tmp_path))
    (tmp_path / "ask.jsonl").write_text('{"text": "red Bonn"}\n{"text": ""}\n[]\n\n{"tokens": ["hot"]}\n')
    first, empty, other, blank, last = run.told(tmp_path / "ask.jsonl")
    assert first["tokens"] == ["red", "Bonn"] and last["tokens"] == ["hot"]
    assert empty == {"line": 2, "error": "no token in it"} and blank == {"line": 4, "error": "the line is blank"}
    assert other["line"] == 3 and "no object" in other["error"]


def test_a_file_that_cannot_be_used_has_an_error_in_its_place(tmp_path: Path) -> None:
    from PIL import Image

    for label in ("dark", "light"):
        (tmp_path / "seen" / label).mkdir(parents=True)
        for i in range(12):
            picture = Image.new("L", (4, 4), 10 * i + 100 * (label == "light"))
            picture.save(tmp_path / "seen" / label / f"{i}.png")
    run = trained(tmp_path, {"name": "classify", "data": str(tmp_path / "seen")})
    folder = tmp_path / "asked"
    folder.mkdir()
    for name in ("a.png", "c.png"):
        Image.new("L", (4, 4), 90).save(folder / name)
    (folder / "b.png").write_bytes(b"no picture")
    first, broken, last = run.told(folder)
    assert first["label"] == last["label"] and first["input"].endswith("a.png") and last["input"].endswith("c.png")
    assert broken.keys() == {"input", "error"} and broken["input"].endswith("b.png")


def test_rows_of_series_and_histories_and_pairs_that_are_none_have_errors(tmp_path: Path) -> None:
    from seqloom.tasks.answer import Answer
    from seqloom.tasks.classify import Classify
    from seqloom.tasks.recommend import Recommend

    (tmp_path / "ask.ts").write_text("@univariate true\n@classLabel false\n@data\n1,2\nx\n3,4\n")
    (tmp_path / "a.ts").write_text(
        "@univariate true\n@classLabel true a b\n@data\n" + "".join(f"{i},{i % 7}:{'ab'[i % 2]}\n" for i in range(40))
    )
    rows = list(Classify(data=str(tmp_path / "a.ts")).open().coding.items(tmp_path / "ask.ts"))  # type: ignore[misc]
    assert [row.line for row in rows] == [4, 5, 6] and "'x' is no number" in rows[1].reason
    users = "".join(f"u{u} " + " ".join(f"i{(u + t) % 9}" for t in range(6)) + "\n" for u in range(12))
    (tmp_path / "users.txt").write_text(users)
    (tmp_path / "ask.txt").write_text("u1 i1\n\nu2\nu1 i2\nu3 i3 i4\n")
    rows = list(Recommend(data=str(tmp_path / "users.txt")).open().coding.items(tmp_path / "ask.txt"))  # type: ignore[misc]
    assert [rows[0], rows[4]] == [["u1", "i1"], ["u3", "i3", "i4"]] and [row.line for row in rows[1:4]] == [2, 3, 4]
    pairs = [f"who is {name},{name} {what},{int(what == 'is')}" for name in WORDS for what in ("is", "was")]
    (tmp_path / "pairs.csv").write_text("question,candidate,label\n" + "\n".join(pairs) + "\n")
    (tmp_path / "ask.csv").write_text("question,candidate\nwhy,so\nwhy,\nwho,me\n")
    rows = list(Answer(data=str(tmp_path / "pairs.csv")).open().coding.items(tmp_path / "ask.csv"))  # type: ignore[misc]
    assert rows[0].line == 3 and [row["question"] for row in rows[1:]] == ["why", "who"]


def test_settings_with_which_nothing_can_be_continued_are_refused_before_any_line(tmp_path: Path) -> None:
    run = trained(tmp_path, language(tmp_path))
    (tmp_path / "lines.txt").write_text("the\n")
    with pytest.raises(ValueError, match="beams end at one stop string, of one token"):
        list(run.told(tmp_path / "lines.txt", Decoding(beams=2, stop=("ab",))))
    with pytest.raises(ValueError, match="no file"):
        list(run.told(tmp_path / "none.txt"))
