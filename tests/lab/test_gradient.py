"""Gradient flow: decays that are known by hand are found, and what cannot be measured is refused."""

import math
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from seqloom.core.cost import Cost
from seqloom.core.registry import catalog
from seqloom.core.spec import resolve
from seqloom.core.types import IGNORED
from seqloom.data.batches import Batch
from seqloom.lab.gradient import gradient_flow, measure, thinned
from seqloom.mixers.attention import Attention
from seqloom.mixers.rnn import RNN
from seqloom.model.backbone import Backbone
from seqloom.model.frontend import Tokens, Values
from seqloom.model.head import Labels, NextToken, Number
from seqloom.model.mixer import MixerSpec, SequenceMixer
from seqloom.model.model import Model, ModelSpec
from seqloom.zoo.architecture import Architecture


class Leak(MixerSpec):
    """h_t = decay h_{t-1} + x_t, whose gradient over a lag is decay ** lag."""

    family: ClassVar[str] = "recurrent"
    decay: float = 0.5

    def build(self, width: int) -> "LeakMixer":
        return LeakMixer(self.decay)


class LeakMixer(SequenceMixer):
    def __init__(self, decay: float) -> None:
        super().__init__()
        self.decay = nn.Parameter(torch.tensor(decay))

    def forward(self, x, state=None, where=None):
        h, out = torch.zeros_like(x[:, 0]), []
        for t in range(x.shape[1]):
            h = self.decay * h + x[:, t]
            out.append(h)
        return torch.stack(out, dim=1), None

    def cost(self, batch: int, length: int) -> Cost:
        return Cost()


def build(*pattern: MixerSpec, head=None, frontend=None) -> Model:
    spec = ModelSpec(
        frontend=frontend or Tokens(vocabulary=7),
        backbone=Backbone(pattern=pattern, channel="none"),
        head=head or NextToken(vocabulary=7),
        width=8,
    )
    return spec.build(0)


def same_tokens(rows: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows of one token each: all steps alike, so that only the recurrence tells lags apart."""
    inputs = torch.arange(rows)[:, None].expand(rows, length).contiguous()
    return inputs, inputs.clone()


@pytest.mark.parametrize(
    ("decay", "verdict"),
    [(0.5, "vanishing"), (0.9, "vanishing"), (1.0, "neither"), (1.2, "exploding"), (0.99, "neither")],
)
def test_a_linear_recurrence_decays_by_its_weight(decay, verdict) -> None:
    inputs, target = same_tokens(4, 41)
    (flow,) = measure(build(Leak(decay=decay)), inputs, target)
    ratios = flow.norms[2:] / flow.norms[1:-1]
    assert ratios == pytest.approx(decay, rel=1e-6)  # the weight itself is rounded to float32
    assert flow.slope is not None and flow.slope.value == pytest.approx(math.log(decay), abs=1e-6)
    assert flow.verdict == verdict and flow.longest == 40 == flow.reach
    assert flow.norms[0] == 1


def test_an_elman_network_with_equal_weights_on_the_diagonal_decays_by_them() -> None:
    model = build(RNN())
    mixer = model.backbone.blocks[0].mixer
    with torch.no_grad():
        mixer.weight_ih.mul_(1e-6)  # so small that tanh is the identity
        mixer.weight_hh.copy_(0.8 * torch.eye(len(mixer.weight_hh)))
        mixer.bias_ih.zero_()
        mixer.bias_hh.zero_()
        mixer.out.bias.zero_()
    inputs, target = same_tokens(4, 32)
    (flow,) = measure(model, inputs, target)
    assert flow.slope is not None and flow.slope.value == pytest.approx(math.log(0.8), abs=1e-6)
    assert flow.verdict == "vanishing"


def test_attention_neither_vanishes_nor_explodes_but_ends_at_its_window() -> None:
    inputs = torch.randint(7, (6, 48))
    (flow,) = measure(build(Attention(heads=2)), inputs, inputs)
    assert flow.verdict == "neither" and flow.reach == 47
    (flow,) = measure(build(Attention(heads=2, window=9)), inputs, inputs)
    assert flow.verdict == "vanishing" and flow.reach == 8


def test_each_layer_has_its_own_flow() -> None:
    inputs, target = same_tokens(3, 16)
    # without decay a layer looks at its own step alone: what lags there are come from the layers above
    model = build(Leak(decay=0.0), Leak(decay=0.5), Leak(decay=0.0))
    flows = measure(model, inputs, target, layers=(2, 1, 0))
    assert [flow.layer for flow in flows] == [2, 1, 0] and [flow.reach for flow in flows] == [0, 15, 15]
    for flow in flows[1:]:
        assert flow.slope is not None and flow.slope.value == pytest.approx(math.log(0.5), abs=1e-6)
    with pytest.raises(ValueError, match="layer 3"):
        measure(model, inputs, target, layers=(3,))


@pytest.mark.parametrize("head", [Labels(classes=3, pool="mean"), Number(), NextToken(vocabulary=7)])
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_is_no_lag(head, side) -> None:
    model = build(Leak(decay=0.7), head=head)
    inputs, _ = same_tokens(2, 12)
    target = {"labels": torch.zeros(2, dtype=torch.int64), "number": torch.zeros(2)}.get(head.kind, inputs)
    (plain,) = measure(model, inputs, target)
    pad, zeros = torch.full((2, 5), 3), torch.zeros(2, 5, dtype=torch.int64)
    ones = torch.ones_like(inputs)

    def beside(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.cat([a, b] if side == "left" else [b, a], dim=1)

    longer = target if target.ndim == 1 else beside(torch.full((2, 5), IGNORED), target)
    if side == "right" or head.kind != "number":
        (padded,) = measure(model, beside(pad, inputs), longer, beside(zeros, ones))
        assert padded.longest == plain.longest
        np.testing.assert_allclose(padded.norms[:-5], plain.norms[:-5], rtol=1e-9)


def test_the_loss_is_taken_at_the_last_step_with_a_target() -> None:
    inputs, target = same_tokens(3, 20)
    target[:, 11:] = IGNORED
    (flow,) = measure(build(Leak()), inputs, target)
    assert flow.longest == 10
    target[0] = IGNORED  # a row without any is left out
    (flow,) = measure(build(Leak()), inputs, target)
    assert len(flow.relative) == 2
    with pytest.raises(ValueError, match="no row"):
        measure(build(Leak()), inputs, torch.full_like(target, IGNORED))


def test_values_and_every_named_model_are_measured_and_left_as_they_were() -> None:
    inputs, target = torch.randn(4, 10, 2), torch.tensor([0, 1, 2, 0])
    for causal in (True, False):
        for name, entry in catalog("zoo").items():
            if entry.attributes.get("needs") == "source" or (causal and entry.attributes.get("needs")):
                continue
            architecture = resolve(Architecture, {"name": name, "width": 16, "dropout": 0.1})
            model = architecture.model(Values(channels=2), Labels(classes=3), causal).build(0).train()
            before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
            (flow,) = measure(model, inputs, target)
            assert flow.longest == 9 and np.isfinite(flow.norms).all()
            assert model.training and all(p.grad is None for p in model.parameters())
            assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())


def test_rows_name_lags_verdict_and_labels() -> None:
    inputs, target = same_tokens(4, 65)
    labels = {"model": "leak", "family": "recurrent", "when": "initial"}
    rows = gradient_flow(build(Leak()), Batch(inputs, None, target, torch.arange(4)), labels, machine="m")
    norms = [row for row in rows if row.what == "gradient_norm"]
    assert [row.labels["lag"] for row in norms] == thinned(64)
    assert norms[0].value == 1 and all(row.labels.items() >= labels.items() for row in rows)
    (decay,) = [row for row in rows if row.what == "gradient_decay"]
    assert decay.labels["verdict"] == "vanishing" and decay.unit == "1/step" and decay.machine == "m"
    assert decay.value == pytest.approx(math.log(0.5), abs=1e-6)


def test_one_step_has_a_norm_but_no_decay() -> None:
    inputs, target = same_tokens(2, 1)
    rows = gradient_flow(build(Leak()), Batch(inputs, None, target, torch.arange(2)), {})
    assert [row.what for row in rows] == ["gradient_norm"]


def test_thinned_lags_hold_both_ends_and_all_powers_of_two() -> None:
    for longest in (0, 1, 2, 7, 64, 255, 1000):
        lags = thinned(longest)
        assert lags[0] == 0 and lags[-1] == longest and lags == sorted(set(lags))
        assert {2**k for k in range(longest.bit_length()) if 2**k <= longest} <= set(lags)
    assert len(thinned(4096)) < 45
