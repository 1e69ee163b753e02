"""Training under a plan: one process's numbers, checkpoints that any plan goes on from, stops that all agree on."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import on_ranks

from seqloom.core.spec import resolve
from seqloom.parallel._door import local
from seqloom.parallel.plan import Plan
from seqloom.train import checkpoint
from seqloom.train.experiment import Experiment
from seqloom.train.loop import Training

STEPS = 6
RECALL = {"name": "recall", "pairs": 4, "examples": 200}


def experiment(plan: Plan, model: dict[str, Any], task: dict[str, Any], **rest: Any) -> Experiment:
    optimizer = {"batch_size": 6, **rest.pop("optimizer", {})}
    fields = {"task": task, "model": {"layers": 2, "width": 24, "dropout": 0.0, **model}, "plan": plan}
    budget = {"steps": STEPS}
    return resolve(Experiment, {**fields, "budget": budget, "optimizer": optimizer, "evaluate_every": 3, **rest})


def learnt(asked: Experiment, out: Path | None = None, **how: Any) -> dict[str, Any]:
    training = Training(asked, None, out, **how)
    began = training.course.step
    result = training.finish()
    curve = [(point.step, point.train_loss, point.validation) for point in training.course.curve]
    return {"began": began, "curve": curve, "metrics": result.metrics, "best": training.best, "steps": result.steps}


def near(found: dict[str, Any], expected: dict[str, Any]) -> None:
    for point, wanted in zip(found["curve"], expected["curve"], strict=True):
        assert point == pytest.approx(wanted, rel=1e-4)
    assert found["metrics"] == pytest.approx(expected["metrics"], rel=1e-3)
    assert list(found["best"]) == list(expected["best"])
    for name, tensor in expected["best"].items():
        torch.testing.assert_close(found["best"][name], tensor, rtol=2e-3, atol=2e-4)


CASES = {
    "gru-data": ("gru", RECALL, Plan(data=2)),
    "transformer-tensor": ("transformer", RECALL, Plan(tensor=2)),
    "lstm-time-wavefront": ("lstm", RECALL, Plan(pipeline=2, cuts="time")),
    "mingru-sequence": ("mingru", RECALL, Plan(sequence=2)),
    "gru-sharded": ("gru", RECALL, Plan(data=2, sharded=True)),
    "transformer-labels-pipeline": ("transformer", {"name": "digits"}, Plan(pipeline=2)),
}


@pytest.mark.parametrize("case", CASES)
def test_a_run_under_a_plan_learns_what_one_process_learns(case: str) -> None:
    model, task, plan = CASES[case]
    (expected,) = on_ranks(1, learnt, experiment(Plan(), {"name": model}, task))
    for found in on_ranks(plan.processes, learnt, experiment(plan, {"name": model}, task)):
        near(found, expected)


def test_accumulated_parts_and_uneven_rows_learn_the_same() -> None:
    optimizer = {"batch_size": 7, "accumulate": 3}
    (expected,) = on_ranks(1, learnt, experiment(Plan(), {"name": "gru"}, RECALL, optimizer=optimizer))
    for found in on_ranks(2, learnt, experiment(Plan(data=2), {"name": "gru"}, RECALL, optimizer=optimizer)):
        near(found, expected)


def half(asked: Experiment, out: Path) -> int:
    training = Training(asked, None, out, checkpoint_every=3)
    training.advance(steps=3)
    training.close()
    return training.course.step


def test_a_run_goes_on_from_its_checkpoint_bit_for_bit(tmp_path: Path) -> None:
    asked = experiment(Plan(data=2), {"name": "gru", "dropout": 0.2}, RECALL)
    whole = on_ranks(2, learnt, asked, tmp_path / "whole")
    assert on_ranks(2, half, asked, tmp_path / "halves") == [3, 3]
    (first, second) = on_ranks(2, resumed, asked, tmp_path / "halves")
    assert first["began"] == second["began"] == 3
    for name, tensor in whole[0]["best"].items():
        assert torch.equal(first["best"][name], tensor) and torch.equal(second["best"][name], tensor)
    assert first["curve"] == whole[0]["curve"]


def resumed(asked: Experiment, out: Path) -> dict[str, Any]:
    return learnt(asked, out, resume=True)


@pytest.mark.parametrize(
    "plan",
    [Plan(), Plan(tensor=2), Plan(pipeline=2), Plan(data=2, sharded=True)],
    ids=["one process", "tensor", "pipeline", "sharded"],
)
def test_a_checkpoint_of_one_plan_is_gone_on_with_under_another(plan: Plan, tmp_path: Path) -> None:
    (expected,) = on_ranks(1, learnt, experiment(Plan(), {"name": "gru"}, RECALL))
    on_ranks(2, half, experiment(Plan(data=2), {"name": "gru"}, RECALL), tmp_path)
    found = on_ranks(plan.processes, resumed, experiment(plan, {"name": "gru"}, RECALL), tmp_path)
    assert found[0]["began"] == 3
    near(found[0], expected)


def held(asked: Experiment) -> tuple[int, int]:
    training = Training(asked)
    training.advance(steps=1)
    state = training.optimizer.state.values()
    kept = sum(local(slot).numel() for slots in state for slot in slots.values())
    return kept, sum(local(p).numel() for p in training.model.parameters())


def test_what_is_shared_out_is_held_once_in_all() -> None:
    whole = on_ranks(2, held, experiment(Plan(data=2), {"name": "gru"}, RECALL))
    parts = on_ranks(2, held, experiment(Plan(data=2, sharded=True), {"name": "gru"}, RECALL))
    for n in range(2):  # moments, parameters; a step's number is everywhere
        assert sum(part[n] for part in parts) < 1.1 * whole[0][n]


def test_a_directory_that_is_refused_is_refused_on_all(tmp_path: Path) -> None:
    asked = experiment(Plan(data=2), {"name": "gru"}, RECALL)
    on_ranks(2, half, asked, tmp_path)
    assert on_ranks(2, refused, asked, tmp_path) == [True, True]


def refused(asked: Experiment, out: Path) -> bool:
    with pytest.raises(ValueError, match="holds a run already"):
        Training(asked, None, out)
    return True


def stopped(asked: Experiment, out: Path) -> tuple[int, str]:
    training = Training(asked, None, out)
    training.advance(steps=1)
    if not training.learner.first:
        keep = training.learner.update

        def hit(*arguments: Any) -> Any:
            os.kill(os.getpid(), signal.SIGTERM)
            return keep(*arguments)

        training.learner.update = hit
    try:
        training.advance()
    except (SystemExit, KeyboardInterrupt) as end:
        training.close()
        return training.course.step, type(end).__name__
    return training.course.step, "it went on"


def test_one_process_asked_to_stop_stops_all_after_a_whole_step_that_is_saved(tmp_path: Path) -> None:
    found = on_ranks(2, stopped, experiment(Plan(data=2), {"name": "gru"}, RECALL), tmp_path)
    assert found == [(2, "KeyboardInterrupt"), (2, "SystemExit")]
    loaded = checkpoint.load(tmp_path / "checkpoints")
    assert loaded is not None and loaded.step == 2


def test_a_budget_in_seconds_comes_to_the_same_steps_on_all() -> None:
    asked = experiment(Plan(data=2), {"name": "gru"}, RECALL, budget={"seconds": 1.0})
    first, second = on_ranks(2, learnt, asked)
    assert first["steps"] == second["steps"] > 3
    assert first["best"].keys() == second["best"].keys()


def test_a_plan_for_more_processes_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="the plan is for 2 processes, there is 1"):
        Training(experiment(Plan(data=2), {"name": "gru"}, RECALL))
