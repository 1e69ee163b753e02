"""Pretraining and fine-tuning, from the command line: BERT on masked bytes, GPT on next ones, then a new head."""

import json
from pathlib import Path

import pytest

from seqloom import cli

SMALL = ["--width", "8", "--layers", "1", "--heads", "2", "--steps", "2"]
MODELS = {"bert": "masked", "gpt": "next"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text, a table, and of each model a run on the text and a classification that begins from it."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "a.txt").write_text("the quick brown fox jumps over the lazy dog. " * 40)
    rows = [f"text {i} is {label},{label}" for i in range(20) for label in ("no", "yes")]
    (folder / "a.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    for model, objective in MODELS.items():
        text = ["--data", str(folder / "a.txt"), "--objective", objective, "--length", "32"]
        words = ["train", "language", "--model", model, *text, *SMALL, "--out", str(folder / model)]
        assert cli.run(words) == 0
        assert cli.run([*classify(folder, folder / model), "--out", str(folder / f"{model}-tuned")]) == 0
    return folder


def classify(folder: Path, begin: Path) -> list[str]:
    return ["train", "classify", "--data", str(folder / "a.csv"), "--from", str(begin), "--steps", "2"]


@pytest.mark.parametrize("model", MODELS)
def test_a_pretrained_model_is_fine_tuned_scored_and_asked(call, folder, model):
    code, out, err = call("evaluate", str(folder / model), "--json")
    assert code == 0 and json.loads(out)["metric"] == "bits_per_byte", err
    tuned = folder / f"{model}-tuned"
    record = json.loads((tuned / "run.json").read_text())["experiment"]
    assert record["begin"]["run"] == str(folder / model) and record["model"]["name"] == model
    assert record["begin"]["causal"] == (model == "gpt")
    code, out, err = call("evaluate", str(tuned), "--json")
    assert code == 0 and "accuracy" in json.loads(out)["metrics"], err
    code, out, err = call("predict", str(tuned), "text 3 is yes", "--json")
    assert code == 0 and json.loads(out)["predictions"][0]["label"] in ("no", "yes"), err


def test_a_model_that_sees_the_future_neither_learns_to_predict_it_nor_generates(call, folder, tmp_path):
    text = ["--data", str(folder / "a.txt"), "--out", str(tmp_path / "out")]
    for words, told in (
        (["--model", "bert", "--objective", "next", *SMALL], "bert sees the future, and this task is causal: take gpt"),
        (["--from", str(folder / "bert"), "--steps", "1"], "sees the future, which language predicts"),
    ):
        code, _, err = call("train", "language", *words, *text)
        assert code == 2 and told in err and not (tmp_path / "out").exists(), err
    for words in ([], ["--beams", "2"]):
        code, out, err = call("predict", str(folder / "bert"), "the", *words)
        assert code == 2 and not out and "sees the future, so it cannot generate" in err


def test_masks_are_not_learnt_from_a_run_that_has_no_mask_token(call, folder, tmp_path):
    text = ["--data", str(folder / "a.txt"), "--objective", "masked", "--steps", "1", "--out", str(tmp_path / "out")]
    code, _, err = call("train", "language", "--from", str(folder / "gpt"), *text)
    assert code == 2 and "knows 256 tokens, language needs 257, the mask token among them" in err
    assert not (tmp_path / "out").exists()
    code, _, err = call("train", "language", "--from", str(folder / "bert"), *text)
    assert code == 0, err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--model", "gpt"], '--model is "bert" there and "gpt" now'),
        (["--model", "bert", "--width", "16"], "model.width is 8 there and 16 now"),
        (["--model", "bert", "--heads", "4"], "model.heads is 2 there and 4 now"),
        (["--model", "bert", "--model-max-length", "64"], "model.max_length is 512 there and 64 now"),
        (["--tokens", "bpe"], "was trained on bytes, classify reads"),
    ],
)
def test_what_is_not_the_run_s_is_refused(call, folder, tmp_path, words, told):
    code, _, err = call(*classify(folder, folder / "bert"), "--out", str(tmp_path / "out"), *words)
    assert code == 2 and told in err and not (tmp_path / "out").exists(), err


def test_what_is_no_run_or_reads_something_else_is_not_begun_from(call, folder, tmp_path):
    code, _, err = call(*classify(folder, tmp_path / "nowhere"), "--out", str(tmp_path / "out"))
    assert code == 2 and "nowhere' holds no run" in err, err
    digits = str(tmp_path / "digits")
    assert call("train", "digits", "--model", "bert", *SMALL, "--out", digits)[0] == 0
    code, _, err = call(*classify(folder, Path(digits)), "--out", str(tmp_path / "out"))
    assert code == 2 and "trained on steps of 8 values, classify reads" in err, err


@pytest.mark.parametrize(
    "words",
    [
        ["--temperature", "0.8", "--top-k", "20", "--top-p", "0.9", "--seed", "3"],
        ["--beams", "3"],
        ["--beams", "3", "--stop", "e", "--length-penalty", "0.6"],
        ["--stop", "zzz", "--stop", "-"],
    ],
)
def test_a_prompt_is_continued_as_the_options_say_and_alike_each_time(call, folder, words):
    ask = ["predict", str(folder / "gpt"), *words, "the quick", "--length", "9", "--json"]
    code, out, err = call(*ask)
    assert code == 0, err
    found = json.loads(out)["predictions"][0]
    assert found["input"] == "the quick" and 0 < len(found["tokens"]) <= 9
    assert call(*ask)[1] == out


@pytest.mark.parametrize(
    ("run", "words", "told"),
    [
        ("gpt", ["--top-k", "3"], "give a temperature above 0"),
        ("gpt", ["--beams", "2", "--stop", "do"], "beams end at one stop string, of one token"),
        ("gpt", ["--length", "0"], "length = 0"),
        ("bert-tuned", ["--beams", "2", "--length", "5"], "--length, --beams: of use where a run generates"),
    ],
)
def test_options_that_would_have_no_effect_are_refused(call, folder, run, words, told):
    code, out, err = call("predict", str(folder / run), "the quick", *words)
    assert code == 2 and not out and told in err, err


def test_one_text_longer_than_the_positions_learnt_is_refused_before_training(call, folder, tmp_path):
    rows = (folder / "a.csv").read_text() + f"{'long ' * 110},no\n"
    (tmp_path / "a.csv").write_text(rows)
    words = classify(tmp_path, folder / "bert")
    code, _, err = call(*words, "--max-length", "600", "--out", str(tmp_path / "out"))
    assert code == 2 and "classify has an example of 550 steps, the model learns 512 positions" in err, err
    assert not (tmp_path / "out").exists()
    code, _, err = call(*words, "--max-length", "512", "--out", str(tmp_path / "out"))
    assert code == 0, err
