"""Plans on the command line: what they ask for, wrong ones, and a run of two processes from end to end."""

import json
import subprocess
import sys
from functools import partial

import pytest

from seqloom import cli
from seqloom.parallel.plan import Plan

SHORT = ["train", "digits", "--model=gru", "--width=8", "--steps=2"]


@pytest.mark.parametrize(
    ("text", "plan"),
    [
        ("data=2", Plan(data=2)),
        ("data=2,pipeline=2", Plan(data=2, pipeline=2)),
        (" pipeline = 2 , cuts=time,parts=8 ", Plan(pipeline=2, cuts="time", parts=8)),
        ("bf16_gradients=true,data=3", Plan(data=3, bf16_gradients=True)),
    ],
    ids=["one axis", "two axes", "settings", "flag"],
)
def test_a_plan_is_read_from_words_and_says_itself(text, plan):
    assert Plan.parse(text) == plan == Plan.parse(str(plan))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--plan", "data"], "give names with values"),
        (["--plan", "data=2,data=3"], "each once"),
        (["--plan", "date=2"], "data"),
        (["--plan", "data=0"], "data"),
        (["--plan", "data=2", "--workers", "3"], "the plan is for 2 processes, there are 3"),
        (["--workers", "0"], "data"),
    ],
    ids=["no value", "twice", "misspelt", "zero", "workers", "no workers"],
)
def test_a_wrong_plan_is_refused_before_anything_starts(words, said, capsys, tmp_path):
    assert cli.run([*SHORT, *words, "--out", str(tmp_path / "run")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_plan_of_many_processes_is_checked_without_them(capsys):
    assert cli.run(["plan", "--check", "data=2,pipeline=3", "--model", "gru", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["processes"] == 6 and answer["agree"] and answer["disagreements"] == []
    assert answer["traffic"]["pipeline"]["send"]["bytes"] > 0
    assert cli.run(["plan", "--check", "pipeline=3", "--model", "gru", "--layers", "2"]) == 2
    assert "at most pipeline=2" in capsys.readouterr().err


def test_two_processes_train_answer_once_and_leave_one_run(tmp_path):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "seqloom", *SHORT, "--plan=data=2", "--json", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["plan"] == "data=2" and answer["steps"] == 2
    assert answer["traffic"]["replicas"]["sum"]["bytes"] == 2 * (4 * answer["parameters"] + 4)  # gradients, losses
    record = json.loads((out / "run.json").read_text())
    assert record["plan"]["data"] == 2 and "plan" not in record["experiment"]
    assert cli.run(["evaluate", str(out)]) == 0
    # the end is there: another plan has nothing left to do, and says the same
    assert cli.run(["train", "--resume", "--plan=data=1", "--out", str(out)]) == 0


def test_plans_for_a_described_machine_are_predicted_and_the_best_is_named(capsys, monkeypatch):
    from seqloom.lab import play

    # counting plays plan after plan for 20 s: here the best alone, which is counted whatever it takes
    monkeypatch.setattr(play, "counted", partial(play.counted, budget_s=0.0))
    words = ["plan", "--model", "lstm", "--machine", "h200x8", "--devices", "2", "--batch", "8", "--length", "16"]
    assert cli.run([*words, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    first = answer["candidates"][0]
    assert answer["best"] == first and not first["why_not"]
    assert set(first) >= {"plan", "step_s", "low", "high", "memory_bytes", "limit", "why_not"}
    assert answer["best"]["step_s"] == min(c["step_s"] for c in answer["candidates"] if not c["why_not"])
    assert [c["messages"] is not None for c in answer["candidates"]].index(False) == 1
    assert answer["error_band"]["cases"] == 0 and answer["error_band"]["machine"] == "h200x8"
    assert cli.run(words) == 0
    said = capsys.readouterr().out
    assert "not measured" in said and "where there are none, memory is estimated" in said
    assert "No such prediction was held against a measurement on h200x8" in said
    assert cli.run(["plan", "--machine", "toaster"]) == 2
    assert "no machine 'toaster'" in capsys.readouterr().err


def test_decoding_is_predicted_by_replicas(capsys):
    words = ["plan", "--decode", "--model", "gpt:1m", "--machine", "h200x8", "--devices", "4", "--batch", "8"]
    assert cli.run([*words, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [row["plan"] for row in answer["candidates"]] == ["data=4", "data=2", "data=1"]
    assert answer["best"]["tokens_per_s"] == max(row["tokens_per_s"] for row in answer["candidates"])
    assert cli.run(words) == 0
    assert "tokens a second" in capsys.readouterr().out
    assert cli.run(["plan", "--decode", "--model", "bilstm", "--machine", "h200x8"]) == 2
    assert "sees the future" in capsys.readouterr().err


RECIPE = """
from seqloom.parallel.plan import Plan
from seqloom.tasks.digits import Digits
from seqloom.train.experiment import Budget, Experiment
from seqloom.zoo.gru import GRUStack

experiments = [
    Experiment(
        task=Digits(), model=GRUStack(width=24), budget=Budget(steps=2), seed=seed, plan=Plan(tensor=2, timeout_s=30)
    )
    for seed in (0, 1)
]
"""


def test_the_runs_of_a_recipe_have_its_plan_and_are_gone_on_with_under_it(tmp_path):
    recipe, out = tmp_path / "two.py", tmp_path / "runs"
    recipe.write_text(RECIPE)

    def answer(*words):
        command = [sys.executable, "-m", "seqloom", "train", *words, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    found = answer(str(recipe), "--out", str(out))
    assert [run["plan"] for run in found["runs"]] == ["tensor=2,timeout_s=30.0"] * 2
    assert answer("--resume", "--out", str(out / "1"))["plan"] == "tensor=2,timeout_s=30.0"


def test_a_model_that_learns_positions_is_planned_with_as_many_as_are_asked_about(capsys):
    words = ["plan", "--decode", "--model", "gpt:1m", "--machine", "h200x8", "--devices", "1", "--json"]
    known = []
    for length in (64, 4096):
        assert cli.run([*words, "--length", str(length)]) == 0
        known.append(json.loads(capsys.readouterr().out)["model"]["parameters"])
    assert known[1] > known[0] + 3000 * 64  # rows of a table, of vectors of 64 numbers or more
