"""Training on masked bytes: it learns, its masks are other ones each epoch, and a resumed run meets the same ones."""

from pathlib import Path

import pytest
import torch

from seqloom.core.spec import resolve
from seqloom.lab.trained import load
from seqloom.tasks.task import Opened
from seqloom.train.experiment import Experiment
from seqloom.train.loop import Training
from seqloom.train.update import moments

TEXT = "the quick brown fox jumps over the lazy dog. " * 40


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """Return a run of 25 steps, 7 an epoch, on a tiny Transformer with dropout."""
    path = tmp_path_factory.mktemp("text") / "a.txt"
    path.write_text(TEXT)
    fields = {
        "task": {"name": "language", "data": str(path), "length": 32, "objective": "masked"},
        "model": {"name": "transformer", "width": 16, "layers": 1, "dropout": 0.1},
        "budget": {"steps": 25},
        "optimizer": {"batch_size": 8, "learning_rate": 0.01},
    }
    return resolve(Experiment, fields)


@pytest.fixture(scope="module")
def opened(experiment: Experiment) -> Opened:
    return experiment.task.open()


@pytest.fixture(scope="module")
def whole(experiment: Experiment, opened: Opened) -> Training:
    training = Training(experiment, opened)
    training.advance()
    return training


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("at", [1, 7, 10, 21])  # within epochs, and between two
def test_a_resumed_run_ends_as_an_uninterrupted_one(
    experiment: Experiment, whole: Training, tmp_path: Path, at: int
) -> None:
    first = Training(experiment, out=tmp_path, checkpoint_every=1)
    first.advance(steps=at)
    first.close()
    second = Training(experiment, out=tmp_path, resume=True)  # the text is read again
    assert second.course.step == at and second.order.steps_per_epoch == 7
    second.advance()
    assert same(second.model.state_dict(), whole.model.state_dict()) and same(second.best, whole.best)
    assert same(moments(second.model, second.optimizer), moments(whole.model, whole.optimizer))
    assert [p[2:] for p in second.course.curve] == [p[2:] for p in whole.course.curve]


def test_the_second_epoch_meets_other_masks_than_the_first(
    experiment: Experiment, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh, fixed = Training(experiment, opened), Training(experiment, opened)
    for steps, alike in ((7, True), (1, False)):
        fresh.advance(steps=steps)
        with monkeypatch.context() as patch:
            patch.setattr(type(opened.train), "of_epoch", lambda self, epoch: self)
            fixed.advance(steps=steps)
        assert same(fixed.model.state_dict(), fresh.model.state_dict()) == alike


def test_it_predicts_masked_bytes_better_than_their_frequencies(experiment: Experiment, opened: Opened) -> None:
    longer = experiment.replace(budget={"steps": 150})
    result = Training(longer, opened).finish()
    assert result.metric == "bits_per_byte" and result.metrics["bits_per_byte"] < 0.8 * opened.floor


def test_a_masked_run_is_scored_again_alike_and_says_that_it_generates_nothing(
    experiment: Experiment, tmp_path: Path
) -> None:
    result = Training(experiment, out=tmp_path).finish()
    trained = load(tmp_path)
    assert trained.scores()["metrics"] == result.metrics
    with pytest.raises(ValueError, match="sees the future, so it cannot generate"):
        trained.answer("the quick")
