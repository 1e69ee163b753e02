"""A stream, step by step, gives what the layers give for the whole sequence."""

import pytest
import torch

from seqloom import nn
from seqloom.ops import _native


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", ["GRU", "LSTM", "RNN"])
def test_steps_give_the_sequence(kind, layers, dtype, native, monkeypatch) -> None:
    if not native:
        monkeypatch.setattr(_native, "_reasons", ["absent"])
    elif _native.why_not():
        pytest.skip(" ".join(_native.why_not()))
    torch.manual_seed(0)
    layer = getattr(nn, kind)(5, 19, num_layers=layers, bias=layers == 1, dtype=dtype)
    x = torch.randn(7, 3, 5, dtype=dtype)
    expected, last = layer(x)
    stream = layer.stream(3)
    given = torch.stack([stream(step) for step in x])
    tolerance = {torch.float32: 1e-6, torch.float64: 1e-14, torch.bfloat16: 0.05}[dtype]
    torch.testing.assert_close(given, expected.detach(), rtol=0, atol=tolerance)
    last = last if isinstance(last, tuple) else (last,)
    for a, b in zip(stream.state, last, strict=True):
        torch.testing.assert_close(a, b.detach(), rtol=0, atol=tolerance)


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_a_state_can_be_taken_set_and_reset(kind) -> None:
    torch.manual_seed(0)
    stream = getattr(nn, kind)(4, 6).stream()
    x = torch.randn(3, 1, 4)
    first = stream(x[0])
    state = stream.state
    second = stream(x[1])
    assert not torch.equal(stream.state[0], state[0])  # the copy stays as it was
    stream.reset(*state)
    assert torch.equal(stream(x[1]), second)
    stream.reset()
    assert torch.equal(stream(x[0]), first)


def test_outputs_and_weights_are_not_shared() -> None:
    layer = nn.GRU(4, 6)
    stream = layer.stream()
    x = torch.randn(1, 4)
    first = stream(x)
    kept = first.clone()
    stream(x)
    assert torch.equal(first, kept)
    expected = layer.stream()(x)
    with torch.no_grad():
        layer.weight_hh_l0.zero_()
    stream.reset()
    assert torch.equal(stream(x), expected)


def test_many_streams_come_and_go() -> None:
    layer = nn.LSTM(8, 16, num_layers=3)
    for _ in range(50):
        layer.stream(2)(torch.randn(2, 8))


@pytest.mark.parametrize(
    ("use", "says"),
    [
        (lambda: nn.GRU(4, 6, bidirectional=True).stream(), "bidirectional"),
        (lambda: nn.GRU(4, 6).stream(0), "batch_size=0"),
        (lambda: nn.GRU(4, 6).stream()(torch.zeros(1, 1, 4)), "without a dimension for time"),
        (lambda: nn.GRU(4, 6).stream()(torch.zeros(2, 4)), r"\(2, 4\)"),
        (lambda: nn.GRU(4, 6).stream()(torch.zeros(1, 4).double()), "float64"),
        (lambda: nn.LSTM(4, 6).stream().reset(torch.zeros(1, 1, 6)), r"expected 2 of \(1, 1, 6\)"),
    ],
)
def test_wrong_use_is_named(use, says) -> None:
    with pytest.raises(ValueError, match=says):
        use()
