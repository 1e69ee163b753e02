"""A step played in shapes alone: what it says is sent is sent, what it says is held is held, at any size."""

from typing import Any

import pytest
import torch
from parallel.ranks import on_ranks

from seqloom.core.spec import resolve
from seqloom.lab.planner import described, predict
from seqloom.lab.play import Sent, _count, count, counted, play
from seqloom.lab.scale import suited
from seqloom.lab.steps import RATE, Step
from seqloom.measure.memory import peak_live_bytes
from seqloom.model.model import ModelSpec
from seqloom.parallel.cluster import Cluster
from seqloom.parallel.plan import Plan
from seqloom.train.experiment import Optimizer
from seqloom.train.learner import learner
from seqloom.zoo.architecture import Architecture

BATCH, LENGTH = 8, 24
MACHINE = Cluster(
    devices=2, memory_bytes=1e12, flops_per_s=1e10, bytes_per_s=1e10, step_s=1e-6, link_s=1e-6, link_bytes_per_s=1e10
)


def spec(name: str, plan: Plan | None = None) -> ModelSpec:
    found, reasons = suited(resolve(Architecture, {"name": name}), plan or Plan(), 60_000, 32)
    assert not reasons
    return found


def real(model: ModelSpec, plan: Plan) -> tuple[dict[str, Any], int]:
    """Return what this process sends in the third step of a run, and the most that it holds."""
    learns: Any = learner(model.build(0), lambda: model.build(0), Optimizer(learning_rate=RATE), plan)
    step = Step(learns, model, BATCH, LENGTH)
    step()
    step()
    traffic = learns.layout.mesh.traffic
    traffic.clear()
    peak = peak_live_bytes(step)
    return {axis: {name: tuple(n) for name, n in calls.items()} for axis, calls in traffic.counts().items()}, (
        peak.total_bytes
    )


@pytest.mark.parametrize(
    ("name", "text", "near"),
    [
        ("gpt", "data=2,bucket_mb=0.05", 0.01),
        ("lstm", "data=2,bf16_gradients=true", 0.01),
        ("lstm", "pipeline=2,cuts=time,parts=4", 0.01),
        ("hybrid", "pipeline=2", 0.01),
        ("mingru", "sequence=2", 0.01),
        ("seq2seq", "pipeline=2", 0.01),
        # what a backend takes for itself, and what FSDP makes larger in place, are not seen
        ("gru", "sequence=2,sharded=true", 0.12),
        ("transformer", "sequence=2", 0.12),
        ("transformer", "tensor=2", 0.12),
        ("lstm", "tensor=2", 0.12),
    ],
)
def test_what_is_played_is_what_is_sent_and_held(name: str, text: str, near: float) -> None:
    plan = Plan.parse(text)
    model = spec(name, plan)
    for rank, (sent, held) in enumerate(on_ranks(2, real, model, plan)):
        played = play(model, plan, rank, BATCH, LENGTH)
        assert {axis: {name: tuple(n) for name, n in calls.items()} for axis, calls in played.traffic.items()} == sent
        assert played.memory_bytes == pytest.approx(held, rel=near)


def test_one_process_sends_nothing_and_holds_all() -> None:
    model = spec("gru")
    played = play(model, Plan(), 0, BATCH, LENGTH)
    assert played.messages == played.sent_bytes == 0
    step = Step(learner(model.build(0), lambda: None, Optimizer(), Plan()), model, BATCH, LENGTH)
    step()
    assert played.memory_bytes == pytest.approx(peak_live_bytes(step).total_bytes, rel=0.01)


@pytest.mark.parametrize("text", ["tensor=2", "tensor=2,pipeline=2", "tensor=2,sequence=2"])
def test_a_recurrence_in_columns_is_counted_from_two_short_lengths(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqloom.lab.play._LONGER", 8)
    plan = Plan.parse(text)
    model = spec("elman", plan)
    whole, short = _count(model, plan, 4, 24), count(model, plan, 4, 24)
    assert (short.messages, short.sent_bytes) == (whole.messages, whole.sent_bytes)
    assert short.memory_bytes == pytest.approx(whole.memory_bytes, rel=0.15)


def test_a_model_of_any_size_is_counted_without_being_made() -> None:
    model = resolve(Architecture, {"name": "gpt", "width": 4096, "layers": 4, "heads": 32}).standard(50_000)
    with torch.device("meta"):
        parameters = sum(p.numel() for p in model.build(0).parameters())
    found = count(model, Plan(data=64), 64, 512)
    assert parameters > 8e8
    assert found.sent_bytes == pytest.approx(4 * parameters, rel=1e-6)
    assert found.memory_bytes > 16 * parameters


def test_middle_stages_send_more_than_those_at_the_ends() -> None:
    plan = Plan(pipeline=3, parts=4)
    model = resolve(Architecture, {"name": "gru", "width": 16, "layers": 3}).standard(16)
    ends = [play(model, plan, rank, BATCH, LENGTH).messages for rank in (0, 2)]
    assert count(model, plan, BATCH, LENGTH).messages == play(model, plan, 1, BATCH, LENGTH).messages > max(ends)


def test_counts_replace_estimates_and_what_does_not_fit_goes_to_the_end() -> None:
    model = spec("gru")
    prices = described(MACHINE, 100.0, 0.0)
    plans = [Plan(), Plan(data=2)]
    found = counted(model, predict(model, plans, BATCH, LENGTH, MACHINE, prices), BATCH, LENGTH, MACHINE)
    assert [each.plan for each in found] == ["data=2", "data=1"]
    assert all(isinstance(each.messages, int) for each in found)
    need = {each.plan: each.memory_bytes for each in found}
    assert need["data=1"] and need["data=2"] and need["data=2"] < need["data=1"]
    small = MACHINE.replace(memory_bytes=(need["data=1"] + need["data=2"]) / 2)
    roomy = predict(model, plans, BATCH, LENGTH, MACHINE, prices)
    tight = counted(model, list(reversed(roomy)), BATCH, LENGTH, small)
    assert tight[0].plan == "data=2" and "needs" in tight[1].why_not[0]


def test_the_best_is_counted_however_short_the_budget() -> None:
    model = spec("gru")
    found = predict(model, [Plan(), Plan(data=2)], BATCH, LENGTH, MACHINE, described(MACHINE, 100.0, 0.0))
    best, other = counted(model, found, BATCH, LENGTH, MACHINE, budget_s=0.0)
    assert best.messages is not None and other.messages is None
    assert set(Sent._fields) <= set(best._fields)


def test_every_place_of_a_pipeline_and_of_time_is_looked_at() -> None:
    plan = Plan(pipeline=2, sequence=2)
    model = resolve(Architecture, {"name": "gpt", "width": 16, "layers": 2, "heads": 2}).standard(16)
    held = [play(model, plan, rank, BATCH, LENGTH).memory_bytes for rank in range(4)]
    assert count(model, plan, BATCH, LENGTH).memory_bytes == max(held)
