"""Norms in stretches of time between layers in parts: steps equal one process, less is held, what is sent is told."""

from typing import Any

import pytest
import torch
from ranks import on_ranks
from test_folded import short_step, stacked
from test_strategies import LENGTH, ROWS, batch, count, hold, said, sent, spec, steps

from seqloom.lab.play import play
from seqloom.mixers.attention import Attention
from seqloom.mixers.bidirectional import Bidirectional
from seqloom.mixers.gru import GRU
from seqloom.mixers.hierarchical import Hierarchical
from seqloom.mixers.mingru import MinGRU
from seqloom.mixers.ssd import SSD
from seqloom.model.backbone import Backbone
from seqloom.model.frontend import Tokens
from seqloom.model.head import NextToken
from seqloom.model.mixer import MixerSpec
from seqloom.model.model import ModelSpec
from seqloom.parallel.check import check
from seqloom.parallel.layout import Layout, why_not
from seqloom.parallel.plan import Plan

PLAN = Plan(tensor=2, sequence_norms=True)
WIDTH, VOCABULARY = 16, 12  # which two processes share


@pytest.mark.parametrize("name", ["gru", "lstm", "mingru", "mamba2", "gpt", "transformer", "hybrid", "seq2seq"])
def test_three_steps_equal_those_of_one_process(name: str) -> None:
    hold(spec(name), PLAN)


@pytest.mark.parametrize(
    "plan",
    [
        PLAN.replace(sequence=2),
        PLAN.replace(data=2, sharded=True),
        PLAN.replace(pipeline=2, parts=2),
        PLAN.replace(pipeline=2, parts=2, schedule="1f1b"),
    ],
    ids=said,
)
def test_other_axes_stand_beside(plan: Plan) -> None:
    hold(stacked(SSD(heads=2, state_size=8), Attention(heads=2), GRU()), plan, short_step)


def test_keys_go_round_a_ring_beside() -> None:
    hold(stacked(Attention(heads=2)), PLAN.replace(sequence=2, ring=True), short_step)


def test_rows_that_the_degree_does_not_divide_are_filled_up() -> None:
    # six steps over four processes: the last stretch has none of them
    hold(stacked(Attention(heads=4), MinGRU()), PLAN.replace(tensor=4), short_step)


@pytest.mark.parametrize(
    "mixer",
    [
        Bidirectional(mixer=GRU()),  # a sum of parts, as any layer
        Hierarchical(size=3),  # more than a sum: what it holds is in parts, and it answers the same on all
        Attention(heads=2, causal=False),
    ],
    ids=lambda mixer: mixer.name(),
)
def test_what_sees_the_future_may_have_its_norms_cut(mixer: MixerSpec) -> None:
    hold(stacked(mixer), PLAN, short_step)


def test_a_label_of_the_whole_row_is_learnt_from_all_stretches() -> None:
    hold(spec("gru", "labels"), PLAN)


def described(placement: Any = "pre", dropout: float = 0.0, **head: Any) -> ModelSpec:
    norms: Any = {"norm": "layer", "bias": True, "channel": "gelu", "placement": placement, "dropout": dropout}
    backbone = Backbone(pattern=(Attention(heads=2), MinGRU()), **norms)
    tokens = Tokens(vocabulary=VOCABULARY, positions="learned", max_length=LENGTH, dropout=dropout)
    answer = NextToken(vocabulary=VOCABULARY, dropout=dropout, transform=True, **head)
    return ModelSpec(frontend=tokens, backbone=backbone, head=answer, width=WIDTH)


@pytest.mark.parametrize("placement", ["pre", "post"])
def test_norms_and_maps_with_biases_learn_from_all_stretches(placement: str) -> None:
    hold(described(placement, tied=True, bias=True), PLAN)


def drawn(spec: ModelSpec, plan: Plan) -> list[Any]:
    torch.manual_seed(0)
    return steps(spec, plan)


def test_dropout_draws_what_one_process_draws() -> None:
    hold(described(dropout=0.4), PLAN, drawn)


def in_bfloat16(spec: ModelSpec, plan: Plan) -> tuple[float, float]:
    layout = Layout(plan, spec.build(0))
    whole = batch(0, False, False)
    loss = layout.gradients([whole], [count(whole)], bf16=True)
    return float(loss), float(layout.norm())


def test_products_in_bfloat16_round_as_without() -> None:
    plain, cut = (on_ranks(2, in_bfloat16, described(), plan)[0] for plan in (Plan(tensor=2), PLAN))
    assert cut == pytest.approx(plain, rel=1e-4)


def test_gathered_are_a_layers_inputs_and_shared_out_the_sums_of_its_answers() -> None:
    layers, vectors = 2 * 2, ROWS * LENGTH * WIDTH * 8  # two blocks of two layers; all steps in float64
    plain, cut = (on_ranks(2, sent, described(), plan)[0]["tensor"] for plan in (Plan(tensor=2), PLAN))
    # beside layers: the frontend's vectors are summed, and the head's back
    assert plain["sum"][1] - cut["sum"][1] > 2 * layers * vectors
    # each layer's input, and again on the way back, where the gradient of its answer is too; and at both ends once
    assert cut["gather"] == (3 * layers + 2, (3 * layers + 2) * vectors // 2)
    assert cut["scatter_sum"] == (2 * layers + 1, (2 * layers + 1) * vectors)


def test_inputs_of_layers_and_norms_are_kept_as_stretches() -> None:
    width, rows, length, blocks = 64, 2, 256, (1, 2)
    models = [stacked(*[Attention(heads=8)] * n).replace(width=width) for n in blocks]
    plans = Plan(tensor=8), PLAN.replace(tensor=8)
    held = [[play(model, plan, 0, rows, length).memory_bytes for model in models] for plan in plans]
    vectors = rows * length * width * 4  # all steps in float32
    whole, cut = ((more - less) / (blocks[1] - blocks[0]) / vectors for less, more in held)
    assert whole - cut == pytest.approx(4 * 7 / 8, rel=0.05)  # of two layers and two norms, seven eighths are elsewhere


def test_all_processes_call_alike() -> None:
    plan = PLAN.replace(data=2, sequence=2, pipeline=2)
    found = check(stacked(SSD(heads=2, state_size=8), Attention(heads=2), GRU()), plan)
    assert found.processes == 16 and found.disagreements == []


def test_what_does_not_go_together_is_refused_with_its_reason() -> None:
    model = stacked(GRU(), GRU()).build(0)
    assert any("both cut time" in reason for reason in why_not(PLAN.replace(pipeline=2, cuts="time"), model))
    assert any("the axis tensor" in reason for reason in Plan(data=2, sequence_norms=True).why_not(2))
    assert why_not(PLAN, model) == []
