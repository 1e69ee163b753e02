"""A trained run, opened again: it answers without its data, and is not scored on data that changed."""

import json
import shutil
from pathlib import Path

import pytest

from seqloom.core.spec import resolve
from seqloom.lab.decoding import Decoding
from seqloom.lab.trained import load
from seqloom.train.experiment import Experiment
from seqloom.train.loop import Training

ROWS = [(f"{word} number {i}", label) for i in range(20) for word, label in (("fine", "good"), ("awful", "bad"))]


def table(path: Path, rows: list[tuple[str, str]]) -> None:
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))


@pytest.fixture
def run(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A run of two steps on tmp_path/a.csv."""
    table(tmp_path / "a.csv", ROWS)
    task = {"name": "classify", "data": str(tmp_path / "a.csv"), "tokens": getattr(request, "param", "bpe")}
    model = {"name": "gru", "width": 8, "layers": 1}
    experiment = resolve(Experiment, {"task": task, "model": model, "budget": {"steps": 2}})
    Training(experiment, out=tmp_path / "run").finish()
    return tmp_path / "run"


def answer(run: Path, line: str = "fine indeed") -> dict:
    return load(run).answer(line)


@pytest.mark.parametrize("run", ["bpe", "bytes"], indirect=True)
def test_a_run_answers_alike_when_its_table_has_changed_or_is_gone(run: Path) -> None:
    before = answer(run)
    data = run.parent / "a.csv"
    table(data, [(text.replace("number", "another"), {"good": "worse", "bad": "bad"}[label]) for text, label in ROWS])
    assert answer(run) == before and before["label"] in ("good", "bad")
    data.unlink()
    assert answer(run) == before


def test_a_run_is_not_scored_on_data_that_changed(run: Path) -> None:
    before = load(run).scores()
    data = run.parent / "a.csv"
    table(data, [*ROWS[:-1], ("awful number 18", "bad")])  # as long as it was
    with pytest.raises(ValueError, match=r"not those that the run was trained on: .*digest is .* there and .* now"):
        load(run).scores()
    table(data, ROWS)
    assert load(run).scores() == before
    data.unlink()
    with pytest.raises(ValueError, match=r"a\.csv"):
        load(run).scores()


def test_a_run_is_not_scored_on_another_split_of_its_data(run: Path) -> None:
    record = json.loads((run / "run.json").read_text())
    record["experiment"]["data_seed"] += 1
    (run / "run.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="not those that the run was trained on"):
        load(run).scores()


def test_a_run_without_its_encoding_answers_from_the_same_data_alone(run: Path) -> None:
    before = answer(run)
    (run / "encoding.json").unlink()
    assert answer(run) == before
    table(run.parent / "a.csv", [(text, {"good": "bad", "bad": "good"}[label]) for text, label in ROWS])
    with pytest.raises(ValueError, match="not those that the run was trained on"):
        load(run)


def test_the_encoding_comes_back_on_resume_and_is_replaced_with_the_run(run: Path) -> None:
    before = (run / "encoding.json").read_text()
    experiment = resolve(Experiment, json.loads((run / "run.json").read_text())["experiment"])
    (run / "encoding.json").unlink()
    Training(experiment, out=run, resume=True).close()
    assert (run / "encoding.json").read_text() == before
    other = experiment.replace(task=experiment.task.replace(tokens="bytes"))
    Training(other, out=run, overwrite=True).close()
    assert json.loads((run / "encoding.json").read_text())["encoding"]["kind"] == "bytes"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"encoding": {"kind": "words"}}'])
def test_a_damaged_encoding_is_named(run: Path, content: str) -> None:
    (run / "encoding.json").write_text(content)
    with pytest.raises(ValueError, match=r"encoding\.json' is "):
        load(run)


def test_a_prompt_is_continued_without_the_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("the quick brown fox jumps over the lazy dog. " * 20)
    task = {"name": "language", "data": str(tmp_path / "a.txt"), "length": 16}
    model = {"name": "gru", "width": 8, "layers": 1}
    experiment = resolve(Experiment, {"task": task, "model": model, "budget": {"steps": 1}})
    Training(experiment, out=tmp_path / "run").finish()
    (tmp_path / "a.txt").unlink()
    found = load(tmp_path / "run").answer("the é", Decoding(length=4))
    assert len(found["tokens"]) == 4 and isinstance(found["continuation"], str)


def test_a_comparison_names_its_trainings(run: Path, tmp_path: Path) -> None:
    whole = tmp_path / "compared"
    shutil.copytree(run, whole / "classify" / "gru-0")
    shutil.copytree(run, whole / "classify" / "gru-1")
    (whole / "run.json").write_text(json.dumps({"verb": "compare"}))
    with pytest.raises(ValueError, match=r"is a run of compare.*name one of these: .*/classify/gru-0, .*gru-1$"):
        load(whole)
    shutil.rmtree(whole / "classify")
    with pytest.raises(ValueError, match="keeps no weights"):
        load(whole)
