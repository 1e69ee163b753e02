"""The command line: what it prints where, its exit codes, and errors that name the value, the rule and the fix."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from seqloom import cli
from seqloom.cli_options import Numbers, each_of, models_named_in, split_names, task_named_in
from seqloom.core import registry

SMALL = ["--width", "8", "--layers", "1"]


def seqloom(*words: str, **kwargs) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    return subprocess.run([sys.executable, "-m", "seqloom", *words], capture_output=True, text=True, **kwargs)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of three steps."""
    out = tmp_path_factory.mktemp("runs") / "gru"
    words = ["train", "digits", "--model", "gru", "--steps", "3", "--checkpoint-every", "1", "--seed", "1"]
    assert cli.run([*words, *SMALL, "--out", str(out)]) == 0
    return out


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["compare", "digits", "--help"], ["list"]])
def test_help_and_listing_do_without_torch(words):
    code = f"import sys; from seqloom import cli; cli.run({words}); print('torch' in sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == "False", done.stderr


def test_help_of_a_verb_shows_the_options_of_its_plug_ins(call):
    _, out, _ = call("train", "digits", "--model", "transformer", "--help")
    for option in ("--view", "--window", "--learning-rate", "--steps"):
        assert option in out


def test_list_has_the_keys_that_checks_rely_on(call):
    code, out, err = call("list", "--json")
    found = json.loads(out)
    assert code == 0 and not err
    assert set(found) == {"mixers", "models", "tasks", "kernels", "plans", "sources"}
    assert {"gru", "transformer"} <= set(found["models"]) and "digits" in found["tasks"]


def test_listing_tells_what_importing_gives():
    import dataclasses
    import importlib

    for folder in ("mixers", "zoo", "tasks"):
        for entry in registry.catalog(folder).values():
            cls = getattr(importlib.import_module(entry.module), entry.cls)
            assert [f.name for f in entry.fields] == [f.name for f in dataclasses.fields(cls)], entry.name


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["trian"], "train"),
        (["train", "digts", "--steps", "1"], "digits"),
        (["train", "digits", "--model", "gur", "--steps", "1"], "gru"),
        (["train", "digits", "--steps", "1", "--widht", "8"], "--width"),
        (["train", "digits", "--steps", "1", "--veiw", "rows"], "--view"),
        (["compare", "digits", "--models", "gru,trasformer"], "transformer"),
        (["list", "modles"], "models"),
        (["cite", "lstn"], "lstm"),
    ],
)
def test_a_misspelt_word_is_corrected(call, words, told):
    code, out, err = call(*words)
    assert code == 2 and not out
    assert err.startswith("seqloom: error: ") and told in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["train", "digits", "--steps", "0"], "0"),
        (["train", "digits", "--steps", "-5"], "-5"),
        (["train", "digits", "--steps", "many"], "many"),
        (["train", "digits", "--budget", "-1s"], "-1s"),
        (["train", "digits", "--budget", "0s"], "0s"),
        (["train", "digits", "--steps", "1", "--budget", "1s"], "one of"),
        (["train", "digits"], "--steps"),
        (["train", "--steps", "1"], "name a task"),
        (["train", "digits", "--steps", "1", "--width", "0"], "0"),
        (["train", "digits", "--steps", "1", "--view", "columns"], "columns"),
        (["train", "digits", "--steps", "1", "--learning-rate", "-1"], "-1"),
        (["compare", "digits", "--budget", "0s"], "0s"),
        (["compare", "digits", "--budget", "1s", "--seeds", "0"], "0"),
        (["compare", "digits", "--models", "gru,gru"], "twice"),
        (["compare", "digits", "--models", ","], "nothing"),
        (["compare", "digits", "--width", "8"], "--parameters"),
        (["compare", "recall", "--pairs", "4,x"], "--pairs '4,x'"),
        (["compare", "recall", "--pairs", "4,,6"], "separated by commas"),
        (["compare", "recall", "--pairs", "4,4"], "twice"),
        (["compare", "recall", "--pairs", "4,-6"], "-6"),
        (["compare", "recall", "--variant", "copy,adding"], "copy,adding"),
        (["train", "recall", "--pairs", "4,6", "--steps", "1"], "4,6"),
        (["evaluate", "nowhere"], "nowhere"),
        (["predict", "nowhere"], "one input"),
        (["report", "nowhere"], "nowhere"),
        (["bench", "--lengths", "256,none"], "256,none"),
        (["bench", "--budget", "100 steps"], "100 steps"),
        (["train", "classify", "--steps", "1"], "data"),
        (["compare", "--data", "missing.csv", "--text", "a", "--label", "b"], "missing.csv"),
        (["train", "digits", "--model", "gru", "--heads", "2", "--steps", "1"], "heads"),
        (["cite", "--run", "nowhere"], "nowhere"),
    ],
)
def test_wrong_usage_names_the_value(call, words, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = call(*words)
    assert code == 2 and not out
    assert err.startswith("seqloom: error: ") and told in err and "Traceback" not in err
    assert not list(tmp_path.iterdir()), "a refused command left something behind"


def test_debug_shows_the_traceback(call):
    code, _, err = call("evaluate", "nowhere", "--debug")
    assert code == 2 and "Traceback" in err


def test_our_own_fault_is_exit_1_and_says_how_to_see_more(call, monkeypatch):
    monkeypatch.setattr(registry, "kernels", lambda: 1 / 0)
    code, out, err = call("list")
    assert code == 1 and not out and "--debug" in err and "Traceback" not in err


def test_train_keeps_a_run_that_can_be_evaluated(call, trained):
    code, out, _ = call("evaluate", str(trained), "--json")
    found = json.loads(out)
    assert code == 0 and found["task"] == "digits"
    assert 0 <= found["metrics"]["accuracy"] <= 1
    assert (trained / "checkpoints" / "3" / "model.safetensors").exists()


def test_evaluating_twice_gives_the_same_numbers(call, trained):
    assert call("evaluate", str(trained), "--json") == call("evaluate", str(trained), "--json")


def test_an_existing_run_is_refused_and_untouched(call, trained):
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*.safetensors")}
    code, _, err = call("train", "digits", "--steps", "3", *SMALL, "--out", str(trained))
    assert code == 2 and "--resume" in err and "--overwrite" in err
    assert before == {path: path.stat().st_mtime_ns for path in trained.rglob("*.safetensors")}


def test_a_finished_run_resumed_by_its_directory_alone_says_the_same(call, trained):
    code, out, _ = call("train", "--resume", "--out", str(trained), "--json")
    assert code == 0 and json.loads(out)["steps"] == 3


def test_resuming_another_run_names_what_differs(call, trained):
    code, _, err = call("train", "digits", "--steps", "9", "--seed", "1", *SMALL, "--out", str(trained), "--resume")
    assert code == 2 and "steps" in err


def test_a_digit_gets_a_label(call, trained, tmp_path):
    line = " ".join(str(i % 17) for i in range(64))
    code, out, _ = call("predict", str(trained), line, "--json")
    one = json.loads(out)["predictions"][0]
    assert code == 0 and one["label"] in "0123456789"
    assert max(one["probabilities"].values()) == one["probabilities"][one["label"]]
    (tmp_path / "lines.txt").write_text(f"{line}\n\n{line}\n")
    code, out, _ = call("predict", str(trained), "--data", str(tmp_path / "lines.txt"), "--json")
    found = [json.loads(each) for each in out.splitlines()]  # one object a line
    assert found[0] == found[2] == one and found[1].keys() == {"input", "line", "error"} and found[1]["line"] == 2
    code, out, _ = call("predict", str(trained), "--data", str(tmp_path / "lines.txt"))
    assert code == 0 and [each.split("\t")[0] for each in out.splitlines()] == [one["label"], "error", one["label"]]


RECIPE = """
from seqloom.tasks.digits import Digits
from seqloom.train.experiment import Budget, Experiment
from seqloom.zoo.gru import GRUStack

experiments = [
    Experiment(task=Digits(), model=GRUStack(width=8, layers=1), budget=Budget(steps=2), seed=seed) for seed in SEEDS
]
"""


def test_a_recipe_is_trained_by_its_file(call, tmp_path):
    recipe, run = tmp_path / "two.py", tmp_path / "run"
    recipe.write_text(RECIPE.replace("SEEDS", "(4,)"))
    code, out, err = call("train", str(recipe), "--out", str(run), "--json")
    assert code == 0 and json.loads(out)["steps"] == 2, err
    code, out, _ = call("evaluate", str(run), "--json")
    assert code == 0 and json.loads(out)["task"] == "digits"
    recipe.write_text(RECIPE.replace("SEEDS", "(4, 5)"))
    code, out, err = call("train", str(recipe), "--out", str(tmp_path / "runs"), "--json")
    assert code == 0 and [Path(each["run"]).name for each in json.loads(out)["runs"]] == ["0", "1"], err


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        ("experiments = []", [], "no list `experiments`"),
        ("experiments = [3]", [], "lists 3"),
        ("1 / 0", [], "ZeroDivisionError"),
        (None, [], "there is no recipe"),
        ("experiments = []", ["--steps", "3", "--width", "8"], "--steps, --width: a recipe says all"),
    ],
)
def test_a_recipe_that_is_none_is_refused(call, tmp_path, text, words, message):
    recipe = tmp_path / "study.py"
    if text is not None:
        recipe.write_text(text)
    code, out, err = call("train", str(recipe), *words, "--out", str(tmp_path / "run"))
    assert code == 2 and message in err and not out and "Traceback" not in err


@pytest.mark.parametrize("line", ["1 2 3", "a b c", ""])
def test_an_input_that_the_task_does_not_take_is_refused(call, trained, line):
    code, out, err = call("predict", str(trained), line)
    assert code == 2 and not out and "Traceback" not in err


def test_a_prompt_is_continued_the_same_way_each_time(call, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog. " * 40)
    words = ["train", "language", "--data", str(text), "--length", "32", "--steps", "2", *SMALL]
    code, _, err = call(*words, "--out", str(tmp_path / "run"))
    assert code == 0, err
    ask = ["predict", str(tmp_path / "run"), "the quick", "--length", "5", "--json"]
    code, out, _ = call(*ask)
    assert code == 0 and len(json.loads(out)["predictions"][0]["tokens"]) == 5
    assert call(*ask)[1] == out


def test_json_is_all_that_stands_on_standard_output(tmp_path):
    words = ["train", "digits", "--steps", "2", *SMALL, "--out", str(tmp_path / "run"), "--json"]
    done = seqloom(*words)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 2
    assert "digits" in done.stderr  # progress


def test_an_unwritable_directory_is_a_clear_error(call, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = call("train", "digits", "--steps", "1", *SMALL, "--out", str(tmp_path / "file" / "run"))
    assert code == 2 and "--out" in err and "Traceback" not in err


def test_ctrl_c_stops_and_says_how_to_go_on(tmp_path):
    words = ["train", "digits", "--steps", "100000", "--checkpoint-every", "1", *SMALL, "--out", str(tmp_path / "run")]
    process = subprocess.Popen([sys.executable, "-m", "seqloom", *words], stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not (tmp_path / "run" / "checkpoints" / "latest").exists() and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume" in err and "Traceback" not in err


def test_a_reader_that_leaves_is_no_error():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-m", "seqloom", "list"], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr


def test_doctor_gives_reasons(call):
    code, out, _ = call("doctor", "--json")
    found = json.loads(out)
    assert code == 0 and found["machine"]["cores"] >= 1
    assert set(found["kernels"]) == set(registry.kernels())
    assert all(isinstance(why, list) for kernels in found["kernels"].values() for why in kernels.values())


def test_compare_gives_what_checks_rely_on_and_report_rebuilds_it(call, tmp_path):
    out = tmp_path / "run"
    words = ["compare", "digits", "--models", "gru,transformer", "--budget", "4 steps", "--seeds", "2", "--no-bench"]
    code, text, err = call(*words, "--parameters", "5000", "--out", str(out), "--json")
    assert code == 0, err
    found = json.loads(text)
    assert {"verdict", "rows", "report"} <= set(found)
    assert [row["model"] for row in found["rows"]] == ["gru", "transformer"]
    for row in found["rows"]:
        assert {"task", "model", "family", "parameters", "metrics", "train_s", "peak_bytes"} <= set(row)
        accuracy = row["metrics"]["accuracy"]
        assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    first = (out / "report.html").read_bytes()
    code, text, _ = call("report", str(out), "--json")
    assert code == 0 and json.loads(text)["verdict"] == found["verdict"]
    assert (out / "report.html").read_bytes() == first
    code, _, err = call(*words, "--out", str(out))
    assert code == 2 and "--overwrite" in err
    code, text, _ = call("evaluate", str(out / "digits" / "gru-0"), "--json")
    assert code == 0 and json.loads(text)["task"] == "digits"


def test_bench_gives_rows_for_each_model_and_length(call, tmp_path):
    words = ["bench", "--models", "gru,transformer", "--lengths", "16,32", "--parameters", "5000", "--budget", "30s"]
    code, out, err = call(*words, "--json", "--out", str(tmp_path / "run"))
    assert code == 0, err
    found = json.loads(out)
    got = {(row["labels"]["model"], row["labels"]["length"]) for row in found["rows"] if row["what"] == "train_step_s"}
    assert got == {(model, length) for model in ("gru", "transformer") for length in (16, 32)}
    assert len((tmp_path / "run" / "ledger.jsonl").read_text().splitlines()) == len(found["rows"])


def test_cite_gives_bibtex_of_names_and_of_a_run(call, trained):
    code, out, _ = call("cite", "lstm")
    assert code == 0 and "@misc{hochreiter1997" in out
    code, out, _ = call("cite", str(trained), "--json")
    assert code == 0 and "cho2014" in json.loads(out)


def test_every_source_is_five_words_and_can_be_cited():
    from seqloom.lab.cite import cite

    for folder in ("mixers", "zoo", "tasks"):
        for name in registry.catalog(folder):
            assert all(entry.startswith("@misc{" + key) for key, entry in cite([name]).items())
    assert {"vaswani2017", "cho2014"} <= set(cite(["hybrid"]))


def test_the_task_is_found_wherever_it_stands():
    assert task_named_in(["digits", "--model", "gru"]) == "digits"
    assert task_named_in(["--data", "x.csv", "--text", "digits"]) == "classify"
    assert task_named_in(["--models", "gru"]) is None
    assert models_named_in(["digits", "--models=gru,lstm"]) == ["gru", "lstm"]
    with pytest.raises(ValueError, match="twice"):
        split_names("gru,gru")


def test_a_sweep_asks_for_the_product_of_its_numbers(monkeypatch):
    from seqloom.lab import compare

    asked = []
    monkeypatch.setattr(compare, "compare", lambda comparison, *_, **__: asked.extend(comparison.tasks) or 1 / 0)
    cli.run(["compare", "recall", "--pairs", "4, 6", "--length", "24,32", "--vocabulary", "64"])
    assert [(task.pairs, task.length, task.vocabulary) for task in asked] == [
        (4, 24, 64), (4, 32, 64), (6, 24, 64), (6, 32, 64)
    ]  # fmt: skip
    assert each_of({"pairs": Numbers((4, 6)), "variant": "copy"}) == [
        {"pairs": 4, "variant": "copy"},
        {"pairs": 6, "variant": "copy"},
    ]
    assert each_of({}) == [{}]
