"""Mixers keep their equations where gates close and features vanish."""

import pytest
import torch

from seqloom.mixers.linear_attention import LinearAttention
from seqloom.mixers.rglru import RGLRU


@pytest.mark.parametrize("closed", ["gate_bias", "decay"])
def test_gradients_are_finite_where_the_gate_of_a_linear_recurrence_is_closed(closed) -> None:
    torch.manual_seed(0)
    mixer = RGLRU().build(16)
    with torch.no_grad():
        if closed == "decay":
            mixer.decay.fill_(120)
        else:
            mixer.gate_bias[:, :4] = -200
    x = torch.randn(2, 7, 16, requires_grad=True)
    y = mixer(x)[0]
    y.sum().backward()
    assert y.isfinite().all() and x.grad is not None and x.grad.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in mixer.parameters())


@pytest.mark.parametrize(("at", "dtype"), [(-10.0, torch.float32), (-40.0, torch.float32), (-300.0, torch.float64)])
def test_linear_attention_to_equal_values_gives_that_value_however_small_its_features(at, dtype) -> None:
    mixer = LinearAttention(heads=2).build(8).to(dtype)
    with torch.no_grad():
        mixer.enter.weight.zero_()
        mixer.enter.weight[:16, 0], mixer.enter.weight[16:, 0] = at, 0.25
        mixer.out.weight.copy_(torch.eye(8))
        mixer.out.bias.zero_()
    x = torch.zeros(1, 70, 8, dtype=dtype)
    x[..., 0] = 1
    y = mixer(x)[0]
    # the features are products of rounded ones; their sums cancel in the fraction
    torch.testing.assert_close(y, torch.full_like(y, 0.25), rtol=0, atol=1e-5)


@pytest.mark.parametrize("at", [-30.0, -43.0, -47.0, -60.0, -200.0])
def test_linear_attention_has_finite_gradients_where_features_vanish(at) -> None:
    torch.manual_seed(0)
    mixer = LinearAttention(heads=2).build(8)
    with torch.no_grad():
        mixer.enter.weight[:16].zero_()
        mixer.enter.weight[:16, 0] = at
    x = torch.randn(1, 70, 8)
    x[..., 0] = 1
    mixer(x)[0].sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in mixer.parameters())
