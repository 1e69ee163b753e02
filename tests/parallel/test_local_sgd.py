"""Local SGD: replicas that learn apart and are averaged are the same on one process as on many."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ranks import on_ranks
from test_training import RECALL, experiment, half, learnt, near, resumed
from torch import Tensor

from seqloom.core.spec import resolve
from seqloom.lab.steps import RandomTokens
from seqloom.parallel.plan import Plan
from seqloom.train.experiment import Optimizer
from seqloom.train.learner import learner
from seqloom.train.local import pieces
from seqloom.zoo.architecture import Architecture

LOCAL = {"batch_size": 12, "replicas": 2, "local_steps": 3}
RATE = 1e-3


def rounds(
    plan: Plan, name: str, settings: dict[str, Any], rows: tuple[int, ...] = (12, 7, 1)
) -> tuple[dict[str, Tensor], Any]:
    """Return whole weights and moments after rounds of so many rows, the losses and norms, and what was sent."""
    torch.set_default_dtype(torch.float64)
    spec = resolve(Architecture, {"name": name, "width": 16, "layers": 2, "dropout": 0.0}).standard(8)
    examples = RandomTokens(8, 12, 8)
    learns = learner(spec.build(0), lambda: spec.build(0), resolve(Optimizer, settings), plan)
    found = [learns.update(examples, np.arange(each), RATE) for each in rows]
    return {**learns.weights(), **learns.moments()}, (found, learns.traffic())


@pytest.mark.parametrize(
    ("name", "plan"),
    [
        ("gru", Plan(data=2)),
        ("gru", Plan(sequence=2)),
        ("gpt", Plan(data=2, tensor=2)),
        ("lstm", Plan(data=2, pipeline=2, cuts="time")),
        ("mingru", Plan(data=2, sequence=2)),
    ],
)
def test_replicas_learn_the_same_on_one_process_and_on_many(name: str, plan: Plan) -> None:
    ((expected, (told, _)),) = on_ranks(1, rounds, Plan(), name, LOCAL)
    for found, (values, _) in on_ranks(plan.processes, rounds, plan, name, LOCAL):
        assert set(found) == set(expected)
        for key, tensor in expected.items():
            torch.testing.assert_close(found[key], tensor, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(values, told, rtol=1e-10)


def test_a_round_is_the_mean_of_models_that_learnt_apart() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        spec = resolve(Architecture, {"name": "gru", "width": 16, "layers": 1, "dropout": 0.0}).standard(8)
        examples, apart = RandomTokens(8, 12, 8), []
        for replica in range(2):
            one = learner(spec.build(0), lambda: spec.build(0), Optimizer(), Plan())
            for turn in range(3):
                rows = np.arange(6 * replica + 2 * turn, 6 * replica + 2 * turn + 2)
                one.update(examples, rows, RATE)
            apart.append({**one.weights(), **one.moments()})
        together = learner(spec.build(0), lambda: spec.build(0), resolve(Optimizer, LOCAL), Plan())
        together.update(examples, np.arange(12), RATE)
        found = {**together.weights(), **together.moments()}
    finally:
        torch.set_default_dtype(torch.float32)
    assert list(found) == list(apart[0]) and all(float(found[key]) == 3 for key in found if key.startswith("step/"))
    for key, tensor in found.items():
        torch.testing.assert_close(tensor, (apart[0][key] + apart[1][key]) / 2)


def test_replicas_send_weights_and_moments_once_a_round_and_no_gradients() -> None:
    for weights, (_, sent) in on_ranks(2, rounds, Plan(data=2), "gru", LOCAL):
        numbers = sum(t.numel() for key, t in weights.items() if not key.startswith("step/"))
        assert sent["data"]["sum"]["bytes"] == 3 * (8 * numbers + 16)  # three rounds; a loss and a norm beside each
        assert "replicas" not in sent


def test_every_replica_takes_as_many_local_steps_whatever_the_rows() -> None:
    for rows in range(1, 14):
        settings = resolve(Optimizer, {"batch_size": 12, "replicas": 3, "local_steps": 2})
        taken = [pieces(np.arange(rows), replica, settings) for replica in range(3)]
        assert len({len(each) for each in taken}) == 1
        assert all(len(piece) for each in taken for piece in each)
        assert set(np.concatenate([row for each in taken for row in each])) == set(range(rows))


def test_a_round_with_a_loss_that_is_not_finite_leaves_all_as_it_was() -> None:
    def broken(plan: Plan) -> tuple[Any, ...]:
        spec = resolve(Architecture, {"name": "gru", "width": 16, "layers": 1, "dropout": 0.0}).standard(8)
        learns = learner(spec.build(0), lambda: spec.build(0), resolve(Optimizer, LOCAL), plan)
        examples = RandomTokens(8, 12, 8)
        learns.update(examples, np.arange(12), RATE)
        before = {key: t.clone() for key, t in {**learns.weights(), **learns.moments()}.items()}
        honest = learns.moved
        learns.moved = lambda given, rows, rate: (  # type: ignore[method-assign]
            (float("nan"), 1.0) if 11 in rows else honest(given, rows, rate)
        )
        loss, _ = learns.update(examples, np.arange(12), RATE)
        after = {**learns.weights(), **learns.moments()}
        return loss, all(torch.equal(before[key], after[key]) for key in before)

    for plan in (Plan(), Plan(data=2)):  # the second replica alone meets it
        for loss, same in on_ranks(plan.processes, broken, plan):
            assert loss != loss and same


def test_a_run_of_replicas_learns_the_same_under_a_plan_and_goes_on_bit_for_bit(tmp_path: Path) -> None:
    asked = experiment(Plan(data=2), {"name": "gru"}, RECALL, optimizer=LOCAL)
    (expected,) = on_ranks(1, learnt, asked.replace(plan=Plan()))
    whole = on_ranks(2, learnt, asked, tmp_path / "whole")
    near(whole[0], expected)
    assert on_ranks(2, half, asked, tmp_path / "halves") == [3, 3]
    for found in on_ranks(2, resumed, asked, tmp_path / "halves"):
        assert found["began"] == 3
        for name, tensor in whole[0]["best"].items():
            assert torch.equal(found["best"][name], tensor)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"local_steps": 4}, "take replicas of 2 or more"),
        ({"replicas": 4, "local_steps": 9, "batch_size": 32}, "need 36 rows or more"),
    ],
)
def test_replicas_that_cannot_be_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        resolve(Optimizer, settings)


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (Plan(data=3), "data=3 with replicas 2"),
        (Plan(data=2, sharded=True), "sharded shares out"),
        (Plan(data=2, bf16_gradients=True), "are weights"),
    ],
)
def test_a_plan_that_cannot_hold_replicas_says_why(plan: Plan, said: str) -> None:
    spec = resolve(Architecture, {"name": "gru"}).standard(8)
    with pytest.raises(ValueError, match=re.escape(said)):
        learner(spec.build(0), lambda: spec.build(0), resolve(Optimizer, LOCAL), plan)
