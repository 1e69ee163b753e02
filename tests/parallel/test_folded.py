"""Mixers with a short convolution fold over stretches of time, also those that it remembers more than one of."""

from typing import Any

import numpy as np
import pytest
import torch
from test_strategies import ROWS, VOCABULARY, batch, count, hold, part, said

from seqloom.core.types import FRESH, IGNORED, fresh_place, leaves, locate
from seqloom.data.batches import Batch
from seqloom.lab.laws_tools import folded
from seqloom.mixers.attention import Attention
from seqloom.mixers.conv import Conv
from seqloom.mixers.deltanet import DeltaNet
from seqloom.mixers.mingru import MinGRU
from seqloom.mixers.rglru import RGLRU
from seqloom.mixers.ssd import SSD
from seqloom.model.backbone import Backbone
from seqloom.model.frontend import Tokens
from seqloom.model.head import NextToken
from seqloom.model.mixer import MixerSpec
from seqloom.model.model import ModelSpec
from seqloom.parallel.layout import Layout
from seqloom.parallel.plan import Plan

SHORT = 6  # steps of a row: of four stretches the last has padding alone, the others fewer than convolutions remember
MIXERS = [
    Conv(kernel=5),
    RGLRU(heads=2),
    SSD(heads=2, state_size=8, bias=True),
    SSD(heads=2, groups=2, state_size=8),
    DeltaNet(heads=2, chunk=5),
]
PLANS = [Plan(sequence=2), Plan(sequence=2, tensor=2), Plan(sequence=4)]


def named(mixer: MixerSpec) -> str:
    return f"{mixer.name()}-{mixer.groups}" if isinstance(mixer, SSD) else mixer.name()


def stacked(*mixers: MixerSpec) -> ModelSpec:
    tokens, head = Tokens(vocabulary=VOCABULARY), NextToken(vocabulary=VOCABULARY)
    return ModelSpec(frontend=tokens, backbone=Backbone(pattern=mixers), head=head, width=16)


def short_step(described: ModelSpec, plan: Plan) -> list[Any]:
    """Return loss, norm and gradients of a step on rows of a few steps, with documents and padding anywhere."""
    layout = Layout(plan, described.build(0).double())
    whole = batch(0, False, False)
    segment = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 1, 1, 2, 2, 2], [0, 4, 0, 4, 0, 7]])
    target = whole.target[:, :SHORT].masked_fill(segment == 0, IGNORED)
    whole = Batch(whole.inputs[:, :SHORT], segment, target, whole.rows)
    mine = part(whole, layout.share(np.arange(ROWS)).tolist())
    loss = layout.gradients([mine], [count(mine)])
    return [(float(loss), float(layout.norm()), layout.whole(lambda parameter: parameter.grad))]


@pytest.mark.parametrize("plan", PLANS, ids=said)
@pytest.mark.parametrize("mixer", MIXERS, ids=named)
def test_a_folded_step_equals_that_of_one_process(mixer: MixerSpec, plan: Plan) -> None:
    assert mixer.build(16).carry == "fold"
    hold(stacked(mixer, mixer), plan, short_step)


def test_folded_mixers_stand_beside_others_on_short_stretches() -> None:
    mixers = RGLRU(heads=2), Attention(heads=2, window=3), SSD(heads=2, state_size=8), MinGRU(), Conv(kernel=1)
    hold(stacked(*mixers), Plan(sequence=4), short_step)


@pytest.mark.parametrize("mixer", MIXERS, ids=named)
def test_what_stretches_tell_is_float32_where_products_are_in_bfloat16(mixer: MixerSpec) -> None:
    torch.manual_seed(0)
    built, x = mixer.build(16), torch.randn(2, 12, 16)
    where, _ = locate(None, fresh_place(2), 2, 12)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        _, state = folded(built, x, where, [5, 7])
        _, expected = built(x, FRESH, where)
    for told, leaf in zip(leaves(state), leaves(expected), strict=True):
        assert told.dtype == leaf.dtype == torch.float32
        torch.testing.assert_close(told, leaf, rtol=0, atol=3e-2)  # bfloat16 has three digits
