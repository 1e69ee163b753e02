"""Fine-tuning: it begins as the run's best weights, reads as the run read, resumes without the run, and helps."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from seqloom.core.spec import resolve, to_data
from seqloom.lab.finetune import finetune
from seqloom.lab.trained import load
from seqloom.train import checkpoint
from seqloom.train.experiment import Budget, Experiment
from seqloom.train.loop import Training

ANIMALS = ["dog", "cat", "horse", "mouse", "tiger", "whale", "sheep", "goat", "camel", "zebra"]
TOOLS = ["hammer", "saw", "drill", "nail", "screw", "wrench", "pliers", "file", "vice", "lathe"]
BUDGET = Budget(steps=12)


def table(path: Path, rows: int, words: slice, seed: int) -> str:
    """Write texts of three words of one kind, and the kind."""
    draws = random.Random(seed)
    lines = [
        f"{' '.join(draws.choices(kind[words], k=3))},{label}"
        for _ in range(rows // 2)
        for kind, label in ((ANIMALS, "animals"), (TOOLS, "tools"))
    ]
    path.write_text("\n".join(["text,label", *lines]) + "\n")
    return str(path)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    # matrices are small, and sums must round alike in a run and in its resumption
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text whose sentences are of animals or of tools; a few labelled texts, tested on words not trained on."""
    folder = tmp_path_factory.mktemp("data")
    draws = random.Random(0)
    sentences = (" ".join(draws.choices(draws.choice((ANIMALS, TOOLS)), k=5)) for _ in range(2000))
    (folder / "text.txt").write_text(". ".join(sentences))
    table(folder / "train.csv", 24, slice(0, 3), seed=1)
    table(folder / "test.csv", 100, slice(3, 10), seed=2)
    return folder


def pretrain(folder: Path, name: str, steps: int, model: dict[str, Any], **task: Any) -> Path:
    fields = {
        "task": {"name": "language", "data": str(folder / "text.txt"), "length": 64, **task},
        "model": model,
        "budget": {"steps": steps},
        "optimizer": {"batch_size": 16, "learning_rate": 5e-3},
    }
    Training(resolve(Experiment, fields), out=folder / name).finish()
    return folder / name


@pytest.fixture(scope="module")
def masked(folder: Path) -> Path:
    model = {"name": "transformer", "width": 16, "layers": 1}
    return pretrain(folder, "masked", 4, model, objective="masked")


@pytest.fixture(scope="module")
def causal(folder: Path) -> Path:
    return pretrain(folder, "causal", 400, {"name": "gru", "width": 32, "layers": 1})


@pytest.fixture
def task(folder: Path) -> dict[str, Any]:
    return {"name": "classify", "data": str(folder / "train.csv"), "test": str(folder / "test.csv"), "validation": 0.25}


def trunk(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in weights.items() if not name.startswith("head.")}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("source", ["masked", "causal"])
def test_it_begins_as_the_best_weights_of_the_run_under_a_new_head(
    request: pytest.FixtureRequest, task: dict[str, Any], source: str
) -> None:
    run: Path = request.getfixturevalue(source)
    trained = load(run)
    experiment, opened = finetune(run, task, BUDGET)
    training = Training(experiment, opened)
    assert same(trunk(training.model.state_dict()), trunk(trained.model.state_dict()))
    fresh = experiment.model_spec(opened).build(experiment.seed)
    assert same(training.model.head.state_dict(), fresh.head.state_dict())
    assert training.model.causal == trained.model.causal == (source == "causal")
    assert len(training.model.get_parameter("frontend.embedding.weight")) == (256 if source == "causal" else 257)
    read = to_data(opened.task)
    assert read["tokens"] == "bytes" and not read["lower"]  # as the run read
    training.advance(steps=1)
    assert not same(trunk(training.model.state_dict()), trunk(trained.model.state_dict()))  # nothing is frozen


def test_a_model_brought_to_a_size_keeps_it_under_the_new_head(folder: Path, task: dict[str, Any]) -> None:
    model = {"name": "gru", "layers": 1}
    path = folder / "text.txt"
    fields = {"task": {"name": "language", "data": str(path)}, "model": model, "budget": {"steps": 1}}
    run = folder / "sized"
    Training(resolve(Experiment, {**fields, "parameters": 4000}), out=run).finish()
    experiment, opened = finetune(run, task, BUDGET)
    assert experiment.parameters is None
    assert same(trunk(Training(experiment, opened).model.state_dict()), trunk(load(run).model.state_dict()))


def test_it_beats_new_weights_on_words_that_only_the_text_has_shown(causal: Path, task: dict[str, Any]) -> None:
    begun, fresh = [], []
    for seed in range(3):
        experiment, opened = finetune(causal, task, Budget(steps=60), seed=seed)
        begun.append(Training(experiment, opened).finish().metrics["accuracy"])
        fresh.append(Training(experiment.replace(begin=None), opened).finish().metrics["accuracy"])
    # 0.82 against 0.71, of which the three seeds' standard error is 0.03
    assert sum(begun) / 3 > sum(fresh) / 3 + 0.04


@pytest.mark.parametrize("at", [0, 1, 7])
def test_it_resumes_bit_for_bit_when_the_run_is_gone(
    masked: Path, task: dict[str, Any], tmp_path: Path, at: int
) -> None:
    run = tmp_path / "run"
    shutil.copytree(masked, run)
    experiment, opened = finetune(run, task, BUDGET)
    whole = Training(experiment, opened)
    whole.advance()
    first = Training(experiment, opened, tmp_path / "out", checkpoint_every=1)
    first.advance(steps=at)
    first.close()
    shutil.rmtree(run)
    second = Training(experiment, opened, tmp_path / "out", resume=True)
    assert second.course.step == at
    second.finish()
    assert same(second.best, whole.best) and [p[2:] for p in second.course.curve] == [p[2:] for p in whole.course.curve]
    with pytest.raises(ValueError, match="to begin from, .* is gone"):
        Training(experiment, opened)


def test_a_plan_made_of_seconds_is_kept_from_the_first_step_on(
    masked: Path, task: dict[str, Any], tmp_path: Path
) -> None:
    experiment, opened = finetune(masked, task, Budget(seconds=0.5))
    first = Training(experiment, opened, tmp_path / "out", checkpoint_every=10**6)
    first.advance(steps=1)
    first.close()
    found = checkpoint.load(tmp_path / "out" / "checkpoints")
    assert found is not None and found.step == 0 and found.data["course"]["planned"] == first.course.planned
    assert same(trunk(found.tensors["model"]), trunk(load(masked).model.state_dict()))


def test_a_fine_tuned_run_says_where_it_began_answers_and_is_begun_from(
    masked: Path, task: dict[str, Any], tmp_path: Path
) -> None:
    experiment, opened = finetune(masked, task, BUDGET)
    result = Training(experiment, opened, tmp_path / "out").finish()
    begin = json.loads((tmp_path / "out" / "run.json").read_text())["experiment"]["begin"]
    assert begin["run"] == str(masked) and begin["digest"] == load(masked).experiment.digest()
    assert Experiment.from_json(experiment.to_json()) == experiment
    trained = load(tmp_path / "out")
    assert trained.scores()["metrics"] == result.metrics
    assert trained.answer("dog cat")["label"] in ("animals", "tools")
    again, opened = finetune(tmp_path / "out", task, BUDGET)
    assert again.begin is not None and experiment.begin is not None
    assert again.begin.frontend == experiment.begin.frontend and again.begin.weights != experiment.begin.weights
    assert same(trunk(Training(again, opened).model.state_dict()), trunk(trained.model.state_dict()))


def test_what_is_not_said_is_gentler_than_for_new_weights_and_what_is_said_holds(
    masked: Path, task: dict[str, Any]
) -> None:
    experiment, opened = finetune(masked, task, BUDGET)
    assert experiment.optimizer.learning_rate == pytest.approx(opened.defaults["learning_rate"] / 3)
    assert experiment.model.dropout == opened.architecture["dropout"]
    said = {"architecture": {"dropout": 0.4, "width": 16}, "settings": {"learning_rate": 0.01}, "model": "transformer"}
    experiment, _ = finetune(masked, {**task, "tokens": "bytes"}, BUDGET, **said)
    assert (experiment.model.dropout, experiment.optimizer.learning_rate) == (0.4, 0.01)


@pytest.mark.parametrize(
    ("settings", "options", "message"),
    [
        (
            {"tokens": "bpe"},
            {},
            r"on bytes, classify reads \d+ BPE tokens of its own texts: leave out --tokens$",
        ),
        ({"lower": True}, {}, "trained on bytes, classify reads bytes in lower case: leave out --lower$"),
        ({}, {"model": "gru"}, 'the model is that of .*: --model is "transformer" there and "gru" now'),
        ({}, {"architecture": {"width": 32}}, r"model\.width is 16 there and 32 now\. Leave these options out"),
        ({}, {"parameters": 5000}, "parameters 5000: the size is that of the run"),
    ],
)
def test_what_cannot_be_is_refused(
    masked: Path, task: dict[str, Any], settings: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        finetune(masked, {**task, **settings}, BUDGET, **options)


def test_a_task_that_reads_something_else_or_must_not_see_the_future_is_refused(
    masked: Path, causal: Path, folder: Path
) -> None:
    with pytest.raises(ValueError, match="on bytes, digits reads steps of 8 values: begin from a run that reads"):
        finetune(masked, {"name": "digits"}, BUDGET)
    language = {"name": "language", "data": str(folder / "text.txt")}
    with pytest.raises(ValueError, match="sees the future, which language predicts"):
        finetune(masked, language, BUDGET)
    assert finetune(causal, language, BUDGET)[0].begin is not None


def test_what_is_no_trained_run_is_refused(masked: Path, task: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no/where' holds no run"):
        finetune(Path("no/where"), task, BUDGET)
    shutil.copytree(masked, tmp_path / "bare")
    shutil.rmtree(tmp_path / "bare" / "checkpoints")
    with pytest.raises(ValueError, match="has no checkpoint yet"):
        finetune(tmp_path / "bare", task, BUDGET)


def test_weights_that_changed_since_are_not_taken(masked: Path, task: dict[str, Any], tmp_path: Path) -> None:
    shutil.copytree(masked, tmp_path / "run")
    experiment, opened = finetune(tmp_path / "run", task, BUDGET)
    found = checkpoint.load(tmp_path / "run" / "checkpoints")
    assert found is not None
    model = {name: tensor + 1 for name, tensor in found.tensors["model"].items()}
    checkpoint.save(tmp_path / "run" / "checkpoints", found.step, {"model": model}, found.data)
    with pytest.raises(ValueError, match="has other weights now than those to begin from"):
        Training(experiment, opened, tmp_path / "out")
    assert not (tmp_path / "out").exists()
