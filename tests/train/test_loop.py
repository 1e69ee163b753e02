"""A run is a pure function of its experiment: not of slices, of turns with others, of saving, or of being resumed."""

import dataclasses
import math
import os
import signal
import threading

import numpy as np
import pytest
import torch

from seqloom.core import runtime
from seqloom.data.batches import Examples
from seqloom.measure.ledger import Ledger
from seqloom.train import checkpoint
from seqloom.train.loop import Training
from seqloom.train.update import NonFiniteError, moments


def weights(training):
    return {name: tensor.clone() for name, tensor in training.model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def whole(make, opened):
    training = Training(make(), opened)
    training.advance()
    return training


@pytest.mark.parametrize("sizes", [[1], [3, 5], [7, 1]])
def test_slices_change_nothing(make, opened, whole, sizes):
    training = Training(make(), opened)
    while not training.done:
        for size in sizes:
            training.advance(steps=size)
    assert same(weights(training), weights(whole))
    assert [p[2:] for p in training.course.curve] == [p[2:] for p in whole.course.curve]


def test_trainings_that_take_turns_do_not_disturb_each_other(make, opened, whole):
    first, second = Training(make(), opened), Training(make(seed=1, model="transformer", steps=6), opened)
    while not (first.done and second.done):
        first.advance(steps=2)
        torch.manual_seed(99)
        second.advance(steps=1)
        torch.rand(5)
    assert same(weights(first), weights(whole))


def test_training_leaves_the_global_generator_as_it_was(make, opened):
    before = torch.get_rng_state()
    training = Training(make(steps=2), opened)
    training.finish()
    assert torch.equal(torch.get_rng_state(), before)


def test_dropout_is_on_and_seeds_make_other_runs(make, opened, whole):
    model = {"name": "gru", "width": 8, "layers": 1}
    dry, other = Training(make(model={**model, "dropout": 0.0}), opened), Training(make(seed=1), opened)
    dry.advance()
    other.advance()
    assert not same(weights(dry), weights(whole)) and not same(weights(other), weights(whole))


@pytest.mark.parametrize("at", [1, 5, 7, 13, 20])
def test_a_resumed_run_ends_as_an_uninterrupted_one(make, opened, whole, tmp_path, at):
    first = Training(make(), opened, tmp_path, checkpoint_every=1)
    first.advance(steps=at)
    first.close()
    second = Training(make(), opened, tmp_path, resume=True)
    assert second.course.step == at and second.notices == []
    second.advance()
    assert same(weights(second), weights(whole)) and same(second.best, whole.best)
    assert [p[2:] for p in second.course.curve] == [p[2:] for p in whole.course.curve]
    assert same(moments(second.model, second.optimizer), moments(whole.model, whole.optimizer))


def test_when_checkpoints_are_saved_changes_nothing(make, opened, whole, tmp_path):
    for every in (1, 7):
        training = Training(make(), opened, tmp_path / str(every), checkpoint_every=every)
        training.advance()
        assert same(weights(training), weights(whole))
        assert checkpoint.steps(tmp_path / str(every) / "checkpoints")[-1] == 20


def test_the_weights_on_disk_are_those_of_the_step(make, opened, whole, tmp_path):
    Training(make(), opened, tmp_path, checkpoint_every=10).finish()
    found = checkpoint.load(tmp_path / "checkpoints")
    assert same(found.tensors["model"], weights(whole))
    assert found.data["position"] == [2, 6]  # 7 steps an epoch
    assert found.data["course"]["planned"] == 20 and found.data["threads"] == runtime.threads()


def test_accumulation_changes_the_memory_and_not_the_numbers(make, opened):
    model = {"name": "gru", "width": 8, "layers": 1}  # without dropout, which draws for the rows it is given
    losses = []
    for parts in (1, 3):
        training = Training(make(steps=5, model=model, optimizer={"accumulate": parts}), opened)
        training.advance()
        losses.append(training.course.curve[-1].train_loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)  # float32 sums in another order, over 5 steps


def test_seconds_are_turned_into_steps_once_and_then_it_is_a_run_of_steps(make, opened, tmp_path):
    training = Training(make(budget={"seconds": 0.5}), opened, tmp_path)
    training.advance(steps=1)
    planned = training.course.planned
    assert planned >= 1 and training.course.probe_s > 0
    training.close()
    resumed = Training(make(budget={"seconds": 0.5}), opened, tmp_path, resume=True)
    resumed.advance(steps=4)
    assert resumed.course.planned == planned
    counted = Training(make(steps=planned), opened)
    counted.advance(steps=resumed.course.step)
    assert same(weights(counted), weights(resumed))
    assert Ledger(tmp_path / "ledger.jsonl").select("planned_steps")[0].value == planned


def test_seconds_hold_about_as_long_as_they_say(make, opened):
    training = Training(make(budget={"seconds": 1.0}), opened)
    training.advance()
    # the machine may slow down or speed up after the first steps; the plan is not changed for that
    assert 0.2 < training.course.probe_s + training.course.train_s < 5


def test_advance_by_seconds_takes_at_least_a_step_and_stops_soon(make, opened):
    training = Training(make(steps=100_000), opened)
    training.advance(seconds=0.05)
    assert 1 <= training.course.step < 100_000 and training.course.train_s < 2


def test_the_best_weights_on_validation_are_tested(make, opened):
    training = Training(make(steps=60, optimizer={"learning_rate": 0.5}), opened)  # too fast: it gets worse again
    training.advance()
    best = max(point.validation for point in training.course.curve)
    result = training.finish()
    assert training.evaluate("validation").value("accuracy") == best
    assert result.metrics == training.evaluate("test").values()
    assert result.best_step == [p.step for p in result.curve if p.validation == best][-1]


def test_patience_stops_early(make, opened):
    experiment = make(steps=500, evaluate_every=2, optimizer={"learning_rate": 1e-9, "patience": 3})
    result = Training(experiment, opened).finish()
    assert result.stopped and result.steps == 8 and result.planned == 500


def test_a_result_has_every_figure(make, opened):
    result = Training(make(), opened).finish()
    assert set(result.metrics) == {"accuracy", "loss"} and len(result.scores) == len(opened.test)
    assert [point.step for point in result.curve] == [5, 10, 15, 20]
    assert result.steps == result.planned == 20 and result.train_s > 0
    assert 0 < result.time_to_quality_s <= result.train_s
    # parameters, gradients and two moments, and what a step computes
    assert result.peak_bytes > 4 * 4 * result.parameters


def test_training_learns(make, opened):
    model = {"name": "gru", "width": 16, "layers": 1}
    training = Training(make(steps=150, model=model, optimizer={"learning_rate": 0.02}), opened)
    training.advance()
    assert training.course.curve[-1].train_loss < 0.3 * training.course.curve[0].train_loss
    assert training.evaluate("train").value("accuracy") > 0.9


class Poisoned(Examples):
    """Examples of which one holds a NaN."""

    def __init__(self, examples, row):
        self.lengths, self._examples, self._row = examples.lengths, examples, row

    def batch(self, rows):
        batch = self._examples.batch(rows)
        inputs = batch.inputs.clone()
        inputs[batch.rows == self._row] = math.nan
        return batch._replace(inputs=inputs)


def test_a_nan_stops_within_one_step_names_the_rows_and_keeps_the_last_checkpoint(make, opened, tmp_path):
    good = Training(make(), opened)
    row = int(good.order.rows(0, 4)[3])
    poisoned = dataclasses.replace(opened, train=Poisoned(opened.train, row))
    training = Training(make(), poisoned, tmp_path, checkpoint_every=1)
    with pytest.raises(
        NonFiniteError, match=rf"loss is nan at step 4 \(epoch 0, batch 4, training rows .*\b{row}\b"
    ) as caught:
        training.advance()
    assert (caught.value.step, caught.value.epoch, caught.value.index) == (4, 0, 4) and row in caught.value.rows
    good.advance(steps=4)
    found = checkpoint.load(tmp_path / "checkpoints")
    assert found.step == 4 and same(found.tensors["model"], weights(good))
    assert same(weights(training), weights(good))


def test_resume_refuses_another_experiment_and_names_what_differs(make, opened, tmp_path):
    Training(make(steps=5), opened, tmp_path).finish()
    with pytest.raises(ValueError, match=r"experiment.budget.steps is 5 there and 6 now.*learning_rate is 0.01 there"):
        Training(make(steps=6, optimizer={"learning_rate": 0.5}), opened, tmp_path, resume=True)


def test_resume_refuses_data_that_have_changed(make, opened, tmp_path):
    Training(make(steps=5), opened, tmp_path).finish()
    other = dataclasses.replace(opened, train=opened.validation)
    with pytest.raises(ValueError, match="data.train.examples is 50 there and 20 now"):
        Training(make(steps=5), other, tmp_path, resume=True)


def test_a_directory_that_holds_a_run_is_refused_without_resume_or_overwrite(make, opened, tmp_path):
    Training(make(steps=3), opened, tmp_path).finish()
    with pytest.raises(ValueError, match="holds a run already.*--resume.*--overwrite"):
        Training(make(steps=3), opened, tmp_path)
    replaced = Training(make(steps=4), opened, tmp_path, overwrite=True)
    assert replaced.course.step == 0 and checkpoint.steps(tmp_path / "checkpoints") == []
    replaced.finish()


def test_resuming_a_finished_run_gives_its_result_again_and_writes_nothing_twice(make, opened, tmp_path):
    first = Training(make(steps=6), opened, tmp_path).finish()
    rows = Ledger(tmp_path / "ledger.jsonl").rows()
    again = Training(make(steps=6), opened, tmp_path, resume=True).finish()
    assert again.metrics == first.metrics and again.curve == first.curve and again.train_s == first.train_s
    assert len(Ledger(tmp_path / "ledger.jsonl").rows()) == len(rows)


def test_the_ledger_holds_the_curve_and_the_result(make, opened, tmp_path):
    result = Training(make(), opened, tmp_path, labels={"note": "x"}).finish()
    ledger = Ledger(tmp_path / "ledger.jsonl")
    points = ledger.select("validation", task="digits", model="gru", family="recurrent", seed=0, note="x")
    assert [(row.labels["step"], row.value) for row in points] == [(p.step, p.validation) for p in result.curve]
    assert [row.value for row in ledger.select("train_loss")] == [p.train_loss for p in result.curve]
    assert ledger.select("accuracy", split="test")[0].value == result.metrics["accuracy"]
    for what in ("parameters", "steps", "train_s", "time_to_quality_s", "peak_bytes"):
        assert ledger.select(what)[0].value == getattr(result, what)


def test_another_number_of_threads_is_told(make, opened, tmp_path):
    runtime.set_threads(2)
    first = Training(make(), opened, tmp_path, checkpoint_every=1)
    first.advance(steps=2)
    first.close()
    runtime.set_threads(1)
    second = Training(make(), opened, tmp_path, resume=True)
    assert any("2 threads and goes on with 1" in notice for notice in second.notices)
    second.close()


def test_two_writers_in_one_directory_are_refused(make, opened, tmp_path):
    first = Training(make(), opened, tmp_path)
    with pytest.raises(ValueError, match="another process is writing"):
        Training(make(), opened, tmp_path, resume=True)
    first.close()
    Training(make(), opened, tmp_path, resume=True).close()


def test_ctrl_c_and_sigterm_finish_the_step_save_and_leave(make, opened, whole, tmp_path):
    for number, expected in ((signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)):
        out = tmp_path / str(number)
        handler = signal.getsignal(number)

        def interrupt(event, number=number):
            if event.step == 7:
                os.kill(os.getpid(), number)

        training = Training(make(), opened, out, progress=interrupt)
        with pytest.raises(expected):
            while True:
                training._told_s = 0.0  # be told of every step
                training.advance(steps=1)
        training.close()
        assert signal.getsignal(number) is handler
        resumed = Training(make(), opened, out, resume=True)
        assert resumed.course.step == 7
        resumed.advance()
        assert same(weights(resumed), weights(whole))
        resumed.close()


def test_a_training_runs_in_another_thread_too(make, opened, whole, tmp_path):
    training = Training(make(), opened, tmp_path)
    thread = threading.Thread(target=training.advance)
    thread.start()
    thread.join()
    assert training.done and same(weights(training), weights(whole))
    training.close()


def test_progress_is_told_and_ends_with_done(make, opened):
    events = []
    Training(make(), opened, progress=events.append).finish()
    assert events[-1].done and events[-1].step == events[-1].steps == 20 and events[-1].eta_s == 0
    assert all(np.isfinite(event.loss) for event in events)


@pytest.mark.parametrize(
    ("fields", "said"), [({"checkpoint_every": 0}, "checkpoint_every 0"), ({"keep": 0}, "keep 0: must be at least 1")]
)
def test_a_wrong_number_is_refused(make, opened, fields, said):
    with pytest.raises(ValueError, match=said):
        Training(make(), opened, **fields)


def test_a_plan_for_other_processes_is_refused(make, opened):
    with pytest.raises(ValueError, match="the plan is for 2 processes, there is 1"):
        Training(make(plan={"data": 2}), opened)


def test_an_unknown_split_is_refused(whole):
    with pytest.raises(ValueError, match="unknown split 'dev'"):
        whole.evaluate("dev")
