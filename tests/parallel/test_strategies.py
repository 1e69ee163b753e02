"""A plan changes the clock, never the numbers: losses and gradients of three steps equal those of one process."""

from typing import Any

import numpy as np
import pytest
import torch
from ranks import on_ranks

from seqloom.core.spec import resolve
from seqloom.core.types import IGNORED
from seqloom.data.batches import Batch
from seqloom.mixers.linear_attention import LinearAttention
from seqloom.mixers.mlstm import MLSTM
from seqloom.model.backbone import Backbone
from seqloom.model.frontend import Tokens
from seqloom.model.head import Labels, NextToken
from seqloom.model.mixer import MixerSpec
from seqloom.model.model import ModelSpec
from seqloom.parallel.layout import Layout
from seqloom.parallel.plan import Plan
from seqloom.zoo.architecture import Architecture

ROWS, LENGTH, VOCABULARY = 4, 16, 11


def spec(name: str, head: str = "next_token") -> ModelSpec:
    heads = {"heads": 2} if name in ("transformer", "hybrid") else {}
    architecture = resolve(Architecture, {"name": name, "width": 16, "layers": 2, **heads})
    answer = NextToken(vocabulary=VOCABULARY) if head == "next_token" else Labels(classes=3)
    tokens = Tokens(vocabulary=VOCABULARY)
    return architecture.model(tokens, answer, True, tokens if architecture.needs == "source" else None)


def batch(seed: int, labels: bool, source: bool) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randint(0, VOCABULARY, (ROWS, LENGTH), generator=generator)
    segment = torch.ones_like(inputs)
    segment[1, LENGTH - 5 :] = 0
    segment[2, 6:] = 2
    target = torch.randint(0, 3, (ROWS,), generator=generator) if labels else inputs.roll(-1, 1)
    if not labels:
        target[segment == 0] = IGNORED
    more = torch.randint(0, VOCABULARY, (ROWS, 5), generator=generator) if source else None
    return Batch(inputs, segment, target, torch.arange(ROWS), more)


def part(whole: Batch, rows: list[int]) -> Batch:
    return Batch(*(each[rows] if each is not None else None for each in whole))


def count(each: Batch) -> int:
    return int((each.target != IGNORED).sum())


def steps(described: ModelSpec, plan: Plan) -> list[Any]:
    """Return of three steps the loss, the norm and all gradients, as every process comes to know them."""
    layout = Layout(plan, described.build(0).double())
    optimizer = torch.optim.SGD(layout.model.parameters(), lr=0.1)
    found = []
    for step in range(3):
        whole = batch(step, described.head.kind == "labels", described.encoder is not None)
        mine = part(whole, layout.share(np.arange(ROWS)).tolist())
        optimizer.zero_grad()
        loss = layout.gradients([mine], [count(mine)])
        found.append((float(loss), float(layout.norm()), layout.whole(lambda parameter: parameter.grad)))
        optimizer.step()
    return found


FAMILIES = ["elman", "lstm", "gru", "mingru", "mamba2", "transformer", "hybrid", "seq2seq"]
ONE_AXIS = [Plan(data=2), Plan(tensor=2), Plan(sequence=2), Plan(pipeline=2, parts=2)]
TWO_AXES = [
    Plan(data=2, tensor=2),
    Plan(data=2, sequence=2),
    Plan(data=2, pipeline=2, parts=2),
    Plan(sequence=2, tensor=2),
    Plan(pipeline=2, tensor=2, parts=2),
    Plan(pipeline=2, sequence=2, parts=2),
]


def said(plan: Plan) -> str:
    return ",".join(f"{axis}={n}" for axis, n in plan.degrees().items() if n > 1) + (" sharded" if plan.sharded else "")


@pytest.mark.parametrize("plan", ONE_AXIS, ids=said)
@pytest.mark.parametrize("name", FAMILIES)
def test_three_steps_equal_those_of_one_process(name: str, plan: Plan) -> None:
    hold(spec(name), plan)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    "plan", [Plan(tensor=2), Plan(tensor=2, pipeline=2, parts=2), Plan(tensor=2, data=2)], ids=said
)
def test_a_loss_over_a_vocabulary_in_parts_is_the_same(plan: Plan, tied: bool) -> None:
    architecture = resolve(Architecture, {"name": "transformer", "width": 16, "layers": 2, "heads": 2})
    head = NextToken(vocabulary=12, tied=tied, bias=True, smoothing=0.1)
    hold(architecture.model(Tokens(vocabulary=12), head, True), plan)


@pytest.mark.parametrize("mixer", [LinearAttention(heads=2), MLSTM(heads=2)], ids=lambda mixer: mixer.name())
def test_memories_of_matrices_are_folded(mixer: MixerSpec) -> None:
    tokens, head = Tokens(vocabulary=VOCABULARY), NextToken(vocabulary=VOCABULARY)
    described = ModelSpec(frontend=tokens, backbone=Backbone(pattern=(mixer,) * 2), head=head, width=16)
    assert mixer.build(16).carry == "fold"
    hold(described, Plan(sequence=2))
    hold(described, Plan(sequence=2, tensor=2))


SHARDED = [Plan(data=2, sharded=True), Plan(sequence=2, sharded=True), Plan(data=2, tensor=2, sharded=True)]


@pytest.mark.parametrize("plan", SHARDED, ids=said)
@pytest.mark.parametrize("name", ["gru", "mamba2", "transformer", "seq2seq"])
def test_parameters_that_are_shared_out_learn_the_same(name: str, plan: Plan) -> None:
    hold(spec(name), plan)


@pytest.mark.parametrize("plan", TWO_AXES, ids=said)
@pytest.mark.parametrize(
    "name", ["gru", *(pytest.param(name, marks=pytest.mark.slow) for name in ("transformer", "seq2seq", "mamba2"))]
)
def test_axes_go_together(name: str, plan: Plan) -> None:
    hold(spec(name), plan)


def test_what_a_stage_does_not_use_of_a_tied_frontend_holds_nobody_up() -> None:
    hold(spec("gpt"), Plan(data=2, pipeline=2, parts=2))  # positions are learnt, and only the first stage adds them


@pytest.mark.parametrize("plan", [Plan(sequence=2), Plan(data=2, sequence=2), Plan(pipeline=2)], ids=said)
def test_a_label_of_the_whole_row_is_learnt_from_all_parts(plan: Plan) -> None:
    hold(spec("gru", "labels"), plan)


@pytest.mark.parametrize("name", ["gru", "lstm", "mingru", "transformer"])
def test_a_wavefront_over_time_is_exact(name: str) -> None:
    hold(spec(name), Plan(pipeline=2, cuts="time"))


def test_gradients_in_bfloat16_are_near() -> None:
    (expected,) = on_ranks(1, steps, spec("gru"), Plan())
    found = on_ranks(2, steps, spec("gru"), Plan(data=2, bf16_gradients=True))[0]
    assert found[0][1] == pytest.approx(expected[0][1], rel=1e-2)
    assert found[0][1] != expected[0][1]


def parts_that_follow(described: ModelSpec, plan: Plan) -> list[Any]:
    """Return loss, norm and gradients of one step in two parts, of which the second has rows on some processes only."""
    layout = Layout(plan, described.build(0).double())
    whole = batch(0, False, False)
    rows = layout.share(np.arange(3)).tolist()
    pieces = [rows[:1], rows[1:]]
    batches = [part(whole, piece or [0]) for piece in pieces]
    counts = [count(each) if piece else 0 for each, piece in zip(batches, pieces, strict=True)]
    loss = layout.gradients(batches, counts)
    return [(float(loss), float(layout.norm()), layout.whole(lambda parameter: parameter.grad))]


def test_parts_that_follow_each_other_and_uneven_shares_make_the_same_step() -> None:
    hold(spec("gru"), Plan(data=2), parts_that_follow)  # three rows: two on the first process, one on the second


def sent(described: ModelSpec, plan: Plan) -> dict[str, Any]:
    """Return what goes through the door in one step, by axis and operation."""
    layout = Layout(plan, described.build(0).double())
    whole = batch(0, False, False)
    rows = layout.share(np.arange(ROWS)).tolist()
    mine = part(whole, rows)
    layout.gradients([mine], [count(mine)])
    counts = layout.mesh.traffic.counts()
    return {axis: {name: tuple(each) for name, each in found.items()} for axis, found in counts.items()}


def test_the_door_counts_every_byte_of_a_step() -> None:
    described = spec("gru")
    parameters = described.build(0).n_parameters
    (first, second) = on_ranks(2, sent, described, Plan(data=2))
    assert first == second
    calls, sent_bytes = first["replicas"]["sum"]
    assert sent_bytes == 8 * parameters + 8 and calls >= 2  # all gradients in float64, in buckets, and the loss
    assert first["data"]["sum"] == (1, 8)  # how many targets there are
    stretches = on_ranks(2, sent, described, Plan(sequence=2))
    # each of two layers hands one state (B, 16) on in four groups of rows, and its gradient comes back
    assert stretches[0]["sequence"]["send"] == (8, 2 * ROWS * 16 * 8)
    assert stretches[1]["sequence"]["send"] == (8, 2 * ROWS * 16 * 8)


def hold(described: ModelSpec, plan: Plan, run: Any = steps) -> None:
    """Claim that losses, norms and gradients of a plan are those of one process, on every process of it."""
    (expected,) = on_ranks(1, run, described, Plan())
    for found in on_ranks(plan.processes, run, described, plan):
        for (loss, norm, gradients), (whole_loss, whole_norm, whole) in zip(found, expected, strict=True):
            assert loss == pytest.approx(whole_loss, rel=1e-10)
            assert norm == pytest.approx(whole_norm, rel=1e-10)
            assert list(gradients) == list(whole)
            for name, gradient in gradients.items():
                error = (gradient - whole[name]).abs().max() / whole[name].abs().max().clamp(min=1e-6)
                assert error < 1e-10, (name, float(error))  # sums in another order, in float64
