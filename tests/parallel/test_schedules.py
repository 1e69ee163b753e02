"""Schedules of a pipeline change the clock, never the numbers: steps equal those of one process."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ranks import on_ranks
from test_strategies import LENGTH, ROWS, VOCABULARY, batch, count, hold, part, parts_that_follow
from test_training import RECALL, experiment, half, learnt, near, resumed
from torch import nn
from torch.distributed.pipelining import PipelineStage  # here, else each forked process imports it anew
from torch.distributed.pipelining import schedules as orders

from seqloom.core.spec import resolve
from seqloom.model.block import Block
from seqloom.model.frontend import Tokens
from seqloom.model.head import Labels, NextToken
from seqloom.model.model import ModelSpec
from seqloom.ops.linear import Linear
from seqloom.parallel._later import put_off, taken
from seqloom.parallel.check import alone, check
from seqloom.parallel.layout import Layout, why_not
from seqloom.parallel.plan import Plan
from seqloom.train.experiment import Experiment
from seqloom.zoo.architecture import Architecture

SCHEDULES = ["1f1b", "interleaved", "zero_bubble"]


def described(name: str, head: str = "next_token", layers: int = 4) -> ModelSpec:
    heads = {"heads": 2} if name in ("gpt", "hybrid") else {}
    architecture = resolve(Architecture, {"name": name, "width": 16, "layers": layers, **heads})
    answer = NextToken(vocabulary=VOCABULARY) if head == "next_token" else Labels(classes=3)
    tokens = Tokens(vocabulary=VOCABULARY)
    return architecture.model(tokens, answer, True, tokens if architecture.needs == "source" else None)


def plan_of(schedule: str, **settings: Any) -> Plan:
    return resolve(Plan, {"pipeline": 2, "parts": 2, "schedule": schedule, **settings})


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", ["lstm", "gpt", "hybrid", "seq2seq"])
def test_three_steps_under_a_schedule_equal_those_of_one_process(name: str, schedule: str) -> None:
    hold(described(name), plan_of(schedule))


@pytest.mark.parametrize(
    ("name", "plan"),
    [
        ("gpt", plan_of("1f1b", data=2, bucket_mb=0.01)),  # several buckets
        ("gpt", plan_of("1f1b", tensor=2)),
        ("gpt", plan_of("zero_bubble", tensor=2)),
        ("gpt", plan_of("zero_bubble", tensor=2, sequence_norms=True)),
        ("gpt", plan_of("zero_bubble", sequence=2)),
        ("gru", plan_of("interleaved", sequence=2)),
    ],
    ids=["data", "tensor", "tensor-weights-later", "norms-in-parts", "sequence-fold", "sequence-relay"],
)
def test_a_schedule_goes_with_another_axis(name: str, plan: Plan) -> None:
    hold(described(name), plan)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("parts", [3, 8])
def test_parts_of_unequal_size_and_more_than_rows_weigh_as_they_should(schedule: str, parts: int) -> None:
    hold(described("gru"), plan_of(schedule, parts=parts))  # of four rows


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_batches_that_follow_each_other_make_the_same_step(schedule: str) -> None:
    hold(described("gru"), plan_of(schedule), parts_that_follow)


def test_a_label_of_the_whole_row_is_learnt() -> None:
    hold(described("gru", "labels", 2), plan_of("1f1b"))


def narrow(spec: ModelSpec, plan: Plan) -> tuple[float, float]:
    layout = Layout(plan, spec.build(0))
    whole = batch(0, False, False)
    return float(layout.gradients([whole], [count(whole)], bf16=True)), float(layout.norm())


@pytest.mark.parametrize("schedule", ["1f1b", "zero_bubble"])
def test_products_in_bfloat16_are_near(schedule: str) -> None:
    spec = described("gpt")
    (expected,) = on_ranks(1, narrow, spec, Plan())
    assert on_ranks(2, narrow, spec, plan_of(schedule))[0] == pytest.approx(expected, rel=2e-2)


def loaded(spec: ModelSpec, plan: Plan) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Return the weights that a layout of one model gives back after those of another, and the blocks held here."""
    layout = Layout(plan, spec.build(0))
    layout.load(dict(spec.build(1).named_parameters()))
    return layout.whole(), list(layout.model.get_submodule("backbone.blocks")._modules)


def test_weights_go_in_and_out_where_a_process_holds_two_runs_of_blocks() -> None:
    spec = described("gru", layers=5)
    first, second = on_ranks(2, loaded, spec, plan_of("interleaved"))
    assert (first[1], second[1]) == (["0", "1", "3"], ["2", "4"])
    for name, weight in spec.build(1).named_parameters():
        assert torch.equal(first[0][name], weight) and torch.equal(second[0][name], weight)


def test_a_run_goes_on_under_another_schedule_with_accumulated_parts(tmp_path: Path) -> None:
    def asked(plan: Plan) -> Experiment:
        return experiment(plan, {"name": "gru", "layers": 4}, RECALL, optimizer={"batch_size": 7, "accumulate": 2})

    (expected,) = on_ranks(1, learnt, asked(Plan()))
    on_ranks(2, half, asked(plan_of("interleaved")), tmp_path)
    for found in on_ranks(2, resumed, asked(plan_of("zero_bubble")), tmp_path):
        assert found["began"] == 3
        near(found, expected)


def logged(spec: ModelSpec, plan: Plan) -> list[tuple[str, int]]:
    """Return the messages of a step along the pipeline, in their order."""
    layout = Layout(plan, spec.build(0).double())
    layout.mesh.traffic.clear(log=True)
    whole = part(batch(0, False, False), layout.share(np.arange(ROWS)).tolist())
    layout.gradients([whole], [count(whole)])
    assert layout.mesh.traffic.log is not None
    return [(call.operation, call.bytes) for call in layout.mesh.traffic.log if call.peer is not None]


@pytest.mark.parametrize(("schedule", "times"), [("1f1b", 1), ("interleaved", 3), ("zero_bubble", 3)])
def test_every_message_of_a_schedule_is_counted(schedule: str, times: int) -> None:
    first, second = on_ranks(2, logged, described("gru"), plan_of(schedule, parts=4))
    message = ROWS // 4 * LENGTH * 16 * 8
    for found in (first, second):  # of six crossings three are sent by each of two processes
        assert found.count(("send", message)) == found.count(("receive", message)) == 4 * times == len(found) / 2


def test_1f1b_goes_back_through_the_first_part_before_the_last_is_begun() -> None:
    first, _ = on_ranks(2, logged, described("gru", layers=2), plan_of("1f1b", parts=4))
    order = "".join(operation[0] for operation, _ in first)
    assert order.index("r") < order.rindex("s") and order.count("s") == 4
    first, _ = on_ranks(2, logged, described("gru", layers=2), Plan(pipeline=2, parts=4))
    assert "".join(operation[0] for operation, _ in first) == "ssssrrrr"  # gpipe: all forward, then all back


def kept(order: Any, processes: int, parts: int) -> tuple[float, float]:
    """Return the idle share of the time, and the parts kept for the way back at most, of two stages a process.

    Forward, back to the inputs and back to the weights take equal time.
    """
    with alone(0, processes):
        size = processes * 2
        stages = [PipelineStage(nn.Linear(1, 1), n * processes, size, torch.device("cpu")) for n in range(2)]
        actions = order(stages, parts, loss_fn=max).pipeline_order
    waiting = {rank: [each for each in asked if each] for rank, asked in actions.items()}
    ended: dict[tuple[str, int, int], float] = {}
    clock, busy, held, most = ([0.0] * processes for _ in range(4))
    for rank in [*range(processes)] * 1000:
        while waiting[rank]:
            stage, kind, number, _ = waiting[rank][0]
            what = {"B": "I"}.get(
                kind.value, kind.value
            )  # F forward, I back to the inputs, W to the weights, B to both
            before = (what, stage + {"F": -1, "I": 1}.get(what, 2 * size), number)
            if 0 <= before[1] < size and before not in ended:
                break
            takes = (1 + (kind.value == "B")) / 2
            clock[rank] = max(clock[rank], ended.get(before, 0.0)) + takes
            ended[what, stage, number] = clock[rank]
            busy[rank] += takes
            held[rank] += {"F": 0.5, "I": 0.0}.get(kind.value, -0.5)
            most[rank] = max(most[rank], held[rank])
            waiting[rank].pop(0)
    assert not any(waiting.values())
    return 1 - sum(busy) / processes / max(clock), max(most)


@pytest.mark.parametrize(("processes", "parts"), [(2, 4), (4, 8), (4, 16)])
def test_idle_time_and_parts_kept_are_as_the_docs_tell(processes: int, parts: int) -> None:
    idle = processes - 1
    interleaved = kept(orders.ScheduleInterleaved1F1B, processes, parts)
    assert interleaved == pytest.approx((idle / (2 * parts + idle), (3 * processes - 1) / 2))
    zero_bubble = kept(orders.ScheduleInterleavedZeroBubble, processes, parts)
    assert zero_bubble == pytest.approx((idle / (6 * parts + idle), processes))


@pytest.mark.parametrize("shape", [(3, 5, 8), (64, 8, 8)], ids=["small", "large"])
def test_gradients_of_linear_weights_are_put_off_and_the_same(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer, x = Linear(8, 6).double(), torch.randn(shape, dtype=torch.float64, requires_grad=True)
    expected = torch.autograd.grad(layer(x).square().sum(), [x, layer.weight, layer.bias])
    work: list[Any] = []
    put_off(layer, work)
    layer(x).square().sum().backward()
    assert x.grad is not None and torch.allclose(x.grad, expected[0], rtol=1e-12)
    assert layer.weight.grad is None and layer.bias.grad is None and len(work) == 1
    do = taken(work)
    assert not work
    do()
    for parameter, gradient in zip((layer.weight, layer.bias), expected[1:], strict=True):
        assert parameter.grad is not None and torch.allclose(parameter.grad, gradient, rtol=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_what_goes_wrong_in_a_part_is_told_as_it_is(schedule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: Any) -> None:
        raise ValueError("a part went wrong")

    with alone(0, 2):
        layout = Layout(plan_of(schedule), described("gru").build(0))
        monkeypatch.setattr(Block, "forward", fails)
        with pytest.raises(ValueError, match="a part went wrong"):
            layout.gradients([batch(0, False, False)], [1])


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", ["gpt", "seq2seq"])
def test_all_processes_of_a_schedule_call_alike(name: str, schedule: str) -> None:
    found = check(described(name), plan_of(schedule, data=2, parts=4))
    assert found.processes == 4 and found.disagreements == []
    assert found.traffic["pipeline"]["send"].calls == (4 if schedule == "1f1b" else 12)


def test_a_plan_in_words_names_its_schedule() -> None:
    plan = Plan.parse("pipeline=2,schedule=1f1b")
    assert plan == Plan(pipeline=2, schedule="1f1b") and str(plan) == "pipeline=2,schedule=1f1b"
    with pytest.raises(ValueError, match="schedule"):
        Plan.parse("pipeline=2,schedule=2f2b")


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (plan_of("1f1b", cuts="time"), "the way back begins at the last"),
        (plan_of("1f1b", parts=1), "take at least parts=2"),
        (plan_of("interleaved", parts=5), "take parts=4 or 6"),
        (plan_of("zero_bubble", pipeline=3, parts=3), r"\(2 a process under schedule=zero_bubble\).*pipeline=2"),
        (plan_of("1f1b", data=2, sharded=True), "sharded gathers a block anew"),
    ],
    ids=["time", "parts", "rounds", "blocks", "sharded"],
)
def test_what_a_schedule_cannot_do_is_refused_with_a_reason(plan: Plan, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        raise ValueError("; ".join(why_not(plan, described("gru").build(0))))


def test_a_schedule_without_a_pipeline_is_refused() -> None:
    assert "schedule=1f1b orders the parts of a pipeline" in Plan(data=2, schedule="1f1b").why_not(2)[0]
