"""What a stretch of time does to any state, told without it: matrices, tails of convolutions; parts of layers."""

import pytest
import torch

from seqloom.core.types import Where, fresh_place, locate
from seqloom.ops.associative import reference, stretch
from seqloom.ops.linear import Linear, outputs
from seqloom.ops.shortconv import last_steps, short_convolution, tail_after

SEGMENTS = {
    "plain": [[1] * 6, [1] * 6],
    "padding behind": [[1, 1, 0, 0, 0, 0], [0] * 6],
    "documents": [[0, 1, 0, 2, 0, 2], [1, 1, 1, 1, 0, 5]],
}


def place(segment: list[list[int]], length: int) -> Where:
    _, before = locate(torch.ones(2, 1, dtype=torch.int64), fresh_place(2), 2, 1)
    return locate(torch.tensor(segment)[:, :length], before, 2, length)[0]


@pytest.mark.parametrize("decay", [True, False])
@pytest.mark.parametrize("length", [0, 1, 9])
def test_matrices_after_a_stretch_are_those_of_its_steps(length: int, decay: bool) -> None:
    g = torch.Generator().manual_seed(length)
    k, v = torch.randn(2, length, 2, 3, generator=g).double(), torch.randn(2, length, 4, 5, generator=g).double()
    log_decay = -torch.rand(2, length, 4, generator=g).double() if decay else None
    state = torch.randn(2, 2, 3, 2, 5, generator=g).double()
    begins = torch.zeros(2, length, dtype=torch.bool)
    begins[1:, 4:5] = True
    for start in (None, begins):
        expected = reference(k, k, v, log_decay, start, state, True)[1]
        kept, added = stretch(k, v, log_decay, start)
        torch.testing.assert_close(kept * state + added, expected, rtol=0, atol=1e-12)


def test_what_is_left_of_late_steps_is_exact_after_much_has_decayed() -> None:
    length = 4096
    g = torch.Generator().manual_seed(0)
    k, v = torch.randn(1, length, 1, 1, generator=g), torch.randn(1, length, 1, 1, generator=g)
    log_decay = torch.full((1, length, 1), -5.0)
    log_decay[:, -4:] = -1e-3
    expected = reference(k.double(), k.double(), v.double(), log_decay.double(), None, None, True)[1]
    # float32 leaves 1e-7; a difference of two sums of 20,000 would leave 1e-3
    torch.testing.assert_close(stretch(k, v, log_decay)[1].double(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kernel", [1, 2, 4, 9])
@pytest.mark.parametrize("length", [0, 2, 6])
@pytest.mark.parametrize("segment", SEGMENTS.values(), ids=SEGMENTS.keys())
def test_tails_after_a_stretch_are_told_by_its_last_steps(segment: list[list[int]], length: int, kernel: int) -> None:
    g = torch.Generator().manual_seed(kernel)
    x, tail = torch.randn(2, length, 3, generator=g), torch.randn(2, kernel - 1, 3, generator=g)
    for where in (None, place(segment, length)):
        _, expected = short_convolution(x, torch.ones(3, kernel), None, tail, where)
        steps, own, moved = last_steps(x, kernel - 1, where)
        assert torch.equal(tail_after(tail, torch.where(own[..., None], steps, 0.0), moved), expected)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [3, 400], ids=["few rows", "many rows"])
def test_some_outputs_of_a_layer_are_those_of_all(rows: int, bias: bool) -> None:
    torch.manual_seed(0)
    layer, x = Linear(8, 6, bias=bias).double(), torch.randn(rows, 8).double()
    torch.testing.assert_close(outputs(layer, x, slice(2, 5)), layer(x)[:, 2:5], rtol=0, atol=1e-12)


def test_what_stands_for_a_layer_is_asked_for_all_outputs() -> None:
    layer = torch.nn.Sequential(Linear(8, 6), torch.nn.Tanh())
    x = torch.randn(3, 8)
    assert torch.equal(outputs(layer, x, slice(2, 5)), layer(x)[:, 2:5])
