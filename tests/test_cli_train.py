"""The verbs on one model: rows that are not used are told, a run is gone on with as it is, divergence is exit 1."""

import json
import shutil
from pathlib import Path

import pytest

from seqloom import cli

SMALL = ["--width", "8", "--layers", "1"]


def table(path: Path, broken: int) -> str:
    rows = [f"text {i} is {label},{label}" for i in range(20) for label in ("no", "yes")]
    path.write_text("\n".join(["text,label", *rows, *["one,cell,too many"] * broken]) + "\n")
    return str(path)


@pytest.mark.parametrize("broken", [0, 2, 5])
def test_rows_that_are_not_used_are_told_everywhere(call, tmp_path, broken):
    data, out = table(tmp_path / "a.csv", broken), tmp_path / "run"
    words = ["train", "--data", data, "--allow-rejects", "--steps", "1", *SMALL, "--out", str(out), "--json"]
    code, text, err = call(*words)
    assert code == 0, err
    for told in (json.loads(text), json.loads((out / "run.json").read_text())):
        assert (told["rows_in"], told["rows_used"], told["rows_rejected"]) == (40 + broken, 40, broken)
        assert [reject["line"] for reject in told["rejects"]] == list(range(42, 42 + broken))
        assert all(reject["reason"] for reject in told["rejects"])
    lines = [line for line in err.splitlines() if "not used" in line]
    assert len(lines) == (broken > 0)
    if broken:
        assert f"{broken} of {40 + broken} rows are not used: line 42: " in lines[0]
        assert ("run.json" in lines[0]) == (broken > 3)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Path, str]:
    """A run of two steps, and the table that it is of."""
    folder = tmp_path_factory.mktemp("runs")
    data = table(folder / "a.csv", 0)
    words = ["train", "--data", data, "--model", "gru", "--steps", "2", *SMALL, "--out", str(folder / "run")]
    assert cli.run(words) == 0
    return folder / "run", data


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--steps", "50"], "budget.steps is 2 there and 50 now"),
        (["--epochs", "3"], "budget.epochs is null there and 3.0 now"),
        (["--model", "lstm"], '--model is "gru" there and "lstm" now'),
        (["--seed", "7"], "seed is 0 there and 7 now"),
        (["--width", "16"], "model.width is 8 there and 16 now"),
        (["--parameters", "5000"], "parameters is null there and 5000 now"),
        (["--evaluate-every", "1"], "evaluate_every is null there and 1 now"),
        (["--learning-rate", "0.5"], "optimizer.learning_rate is 0.003 there and 0.5 now"),
        (["--data", "b.csv"], 'a.csv" there and "b.csv" now'),
        (["--model", "transformer", "--heads", "2"], '--model is "gru" there'),
        (["--model", "gru", "--width", "0"], "0"),
        (["--steps", "2", "--epochs", "1"], "one of --steps"),
    ],
)
def test_options_that_are_not_those_of_the_run_are_refused(call, run, words, told):
    code, out, err = call("train", "--resume", "--out", str(run[0]), *words)
    assert code == 2 and not out and told in err, err


def test_options_that_are_those_of_the_run_go_on_with_it(call, run):
    words = ["--model", "gru", "--steps", "2", "--seed", "0", "--data", run[1], *SMALL, "--checkpoint-every", "1"]
    code, out, err = call("train", "--resume", "--out", str(run[0]), *words, "--json")
    assert code == 0 and json.loads(out)["steps"] == 2, err


def test_training_that_diverges_is_work_that_failed(call, tmp_path):
    words = ["train", "digits", "--steps", "20", "--learning-rate", "1e38", *SMALL, "--out", str(tmp_path / "run")]
    code, out, err = call(*words)
    last = err.splitlines()[-1]
    assert code == 1 and not out
    assert last.startswith("seqloom: error: the ") and "at step" in last and "NonFiniteError" not in last


def test_a_comparison_is_not_scored_but_its_trainings_are_named(call, run, tmp_path):
    (tmp_path / "run.json").write_text('{"verb": "compare"}')
    (tmp_path / "classify").mkdir()
    (tmp_path / "classify" / "gru-0").symlink_to(run[0])
    code, _, err = call("evaluate", str(tmp_path))
    assert code == 2 and str(tmp_path / "classify" / "gru-0") in err
    code, _, err = call("evaluate", str(tmp_path / "classify" / "gru-0"))
    assert code == 0, err


def test_a_run_begins_from_another_and_goes_on_without_it(call, tmp_path):
    (tmp_path / "a.txt").write_text("the quick brown fox jumps over the lazy dog. " * 40)
    source, out = tmp_path / "source", tmp_path / "out"
    words = ["train", "language", "--data", str(tmp_path / "a.txt"), "--objective", "masked", "--length", "32"]
    code, _, err = call(*words, "--model", "transformer", "--steps", "3", *SMALL, "--out", str(source))
    assert code == 0, err
    data = table(tmp_path / "a.csv", 0)
    words = ["train", "classify", "--data", data, "--from", str(source), "--steps", "3", "--out", str(out)]
    code, text, err = call(*words)
    assert code == 0 and f"Began from {source}, experiment " in text, err
    begin = json.loads((out / "run.json").read_text())["experiment"]["begin"]
    shutil.rmtree(source)
    for again in (words, ["train", "--out", str(out), "--from", str(source)], ["train", "--out", str(out)]):
        code, text, err = call(*again, "--resume", "--json")
        assert code == 0 and json.loads(text)["begin"] == begin and json.loads(text)["model"] == "transformer", err
    for other, told in (
        (["--from", "elsewhere"], 'and "elsewhere" now'),
        (["digits", "--from", str(source)], 'task is "classify" there and "digits" now'),
        (["--model", "gru"], '--model is "transformer" there and "gru" now'),
    ):
        code, _, err = call("train", *other, "--resume", "--out", str(out))
        assert code == 2 and told in err, err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--model", "lstm"], '--model is "gru" there and "lstm" now'),
        (["--width", "16"], "model.width is 8 there and 16 now"),
        (["--parameters", "9000"], "parameters 9000: the size is that of the run"),
        (["--tokens", "bytes"], "BPE tokens of its own texts, classify reads bytes in lower case: begin from"),
    ],
)
def test_a_run_is_not_begun_with_another_model_or_other_tokens(call, run, tmp_path, words, told):
    out = tmp_path / "out"
    code, _, err = call(
        "train", "classify", "--data", run[1], "--from", str(run[0]), "--steps", "1", "--out", str(out), *words
    )
    assert code == 2 and told in err and not out.exists(), err
