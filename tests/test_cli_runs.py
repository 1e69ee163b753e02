"""Directories of several runs, as a recipe of several experiments writes them: scored together, asked by the first."""

import json
from pathlib import Path

import pytest

RECIPE = """
from seqloom.tasks.digits import Digits
from seqloom.train.experiment import Budget, Experiment
from seqloom.zoo.gru import GRUStack
from seqloom.zoo.lstm import LSTMStack

experiments = [
    Experiment(task=Digits(), model=model(width=8, layers=1), budget=Budget(steps=2), seed=seed)
    for seed, model in RUNS
]
"""


def recipe(folder: Path, runs: str) -> tuple[str, Path]:
    """Return a recipe's file, and where it is to be trained."""
    (folder / "two.py").write_text(RECIPE.replace("RUNS", runs))
    return str(folder / "two.py"), folder / "runs"


def test_the_runs_of_a_recipe_are_scored_each_and_together_and_the_first_is_asked(call, tmp_path):
    file, runs = recipe(tmp_path, "((4, GRUStack), (5, GRUStack))")
    assert call("train", file, "--out", str(runs), "--json")[0] == 0
    alone = [json.loads(call("evaluate", str(runs / name), "--json")[1]) for name in ("0", "1")]
    code, out, err = call("evaluate", str(runs), "--json")
    found = json.loads(out)
    assert code == 0, err
    assert [{**each, "run": str(runs / name)} for each, name in zip(alone, ("0", "1"), strict=True)] == found["runs"]
    for name, value in found["metrics"].items():
        assert value == pytest.approx(sum(each["metrics"][name] for each in alone) / 2)
    assert {key: found[key] for key in ("task", "model", "split", "metric")} == {
        key: alone[0][key] for key in ("task", "model", "split", "metric")
    }
    assert found["examples"] == 2 * alone[0]["examples"] and found["floor"] == pytest.approx(alone[0]["floor"])
    code, out, _ = call("evaluate", str(runs))
    lines = out.splitlines()
    assert code == 0 and len(lines) == 3 and lines[-1].startswith("2 runs, mean: ")
    line = " ".join(["3"] * 64)
    first = call("predict", str(runs / "0"), line, "--json")[1]
    code, out, err = call("predict", str(runs), line, "--json")
    assert code == 0 and out == first and "holds 2 runs" in err and str(runs / "0") in err


def test_runs_of_several_models_are_scored_and_have_no_mean(call, tmp_path):
    file, runs = recipe(tmp_path, "((4, GRUStack), (4, LSTMStack))")
    assert call("train", file, "--out", str(runs))[0] == 0
    code, out, err = call("evaluate", str(runs), "--json")
    found = json.loads(out)
    assert code == 0 and len(found["runs"]) == 2 and not found["metrics"] and "model" not in found, err
    assert "no mean, since" in call("evaluate", str(runs))[1]


def test_runs_stand_in_the_order_of_their_numbers_and_other_folders_are_none(tmp_path):
    from seqloom.lab.trained import runs_of

    for name in ("10", "2", "0", "notes", "3x", "4"):
        (tmp_path / name).mkdir()
        if name != "4":
            (tmp_path / name / "run.json").write_text("{}")
    assert [run.name for run in runs_of(tmp_path)] == ["0", "2", "10"]
    (tmp_path / "run.json").write_text("{}")
    assert runs_of(tmp_path) == [tmp_path] and runs_of(tmp_path / "none") == [tmp_path / "none"]
