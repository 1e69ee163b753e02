"""All steps at once give what the steps in turn give, or say that they did not and are the steps in turn."""

import pytest
import torch

from seqloom import nn
from seqloom.core.types import fresh_place, locate
from seqloom.ops import recurrence
from seqloom.ops.newton import newton, pays
from seqloom.ops.recurrence import CELLS, Packed, Weights


def arguments(cell, length=70, batch=2, width=6, hidden=16, scale=1.0, dtype=torch.float64, state=True):
    g = torch.Generator().manual_seed(length)
    gates = CELLS[cell].gates

    def make(*shape, size=hidden**-0.5):
        return ((2 * torch.rand(*shape, dtype=torch.float64, generator=g) - 1) * size).to(dtype).requires_grad_()

    inner = make(gates * hidden, hidden, size=scale * hidden**-0.5)
    weights = Weights(make(gates * hidden, width), inner, make(gates * hidden), make(gates * hidden))
    before = tuple(make(batch, hidden, size=1.0) for _ in range(CELLS[cell].states)) if state else ()
    return cell, make(batch, length, width, size=1.0), weights, before


def outputs_and_gradients(run, cell, x, weights, state, where=None):
    y, after, *rest = run(cell, x, weights, state, where)
    if where is not None:
        y = torch.where(where.real[..., None], y, 0.0)
    loss = (y * torch.linspace(1, 2, y.shape[-1]).to(y)).sin().sum() + sum(s.square().sum() for s in after)
    return [y, *after, *torch.autograd.grad(loss, [x, *weights, *state])], rest


def in_turn(cell, x, weights, state, where=None):
    return recurrence.reference(cell, x, weights, state, where, True)


def at_once_forbidden(cell, x, weights, state, where=None):
    return recurrence(cell, x, weights, state, where, True)


@pytest.mark.parametrize("length", [1, 2, 70])
@pytest.mark.parametrize("cell", CELLS)
def test_a_solution_has_the_values_and_gradients_of_the_steps_in_turn(cell, length) -> None:
    given = arguments(cell, length)
    found, (certificate,) = outputs_and_gradients(newton, *given)
    assert certificate.converged and certificate.reason == ""
    assert certificate.residual <= 1e-10 and certificate.agreement <= 1e-8
    for a, b in zip(found, outputs_and_gradients(in_turn, *given)[0], strict=True):
        # the solution is exact to its tolerance of 1e-10, which the contraction multiplies by less than ten
        assert (a - b).abs().max() <= 1e-9 * max(1, float(b.detach().abs().max()))


@pytest.mark.parametrize("cell", CELLS)
def test_float32_agrees_to_its_tolerance(cell) -> None:
    given = arguments(cell, 300, dtype=torch.float32)
    found, (certificate,) = outputs_and_gradients(newton, *given)
    assert certificate.converged
    for a, b in zip(found, outputs_and_gradients(in_turn, *given)[0], strict=True):
        assert (a - b).abs().max() <= 2e-5 * max(1, float(b.detach().abs().max()))


@pytest.mark.parametrize("layout", ["documents", "padding"])
@pytest.mark.parametrize("cell", CELLS)
def test_documents_and_padding_are_respected(cell, layout) -> None:
    segment = torch.ones(2, 70, dtype=torch.int64)
    segment[1, 30:] = 2 if layout == "documents" else 0
    segment[0, :3] = 0
    where, _ = locate(segment, fresh_place(2)._replace(id=torch.ones(2, dtype=torch.int64)), 2, 70)
    given = arguments(cell)
    found, (certificate,) = outputs_and_gradients(newton, *given, where)
    assert certificate.converged
    for a, b in zip(found, outputs_and_gradients(in_turn, *given, where)[0], strict=True):
        assert (a - b).abs().max() <= 1e-9 * max(1, float(b.detach().abs().max()))


@pytest.mark.parametrize(("cell", "scale"), [("gru", 14.0), ("lstm", 14.0), ("tanh", 8.0)])
def test_a_chaotic_recurrence_falls_back_to_the_same_bits(cell, scale) -> None:
    given = arguments(cell, 200, hidden=64, scale=scale)
    found, (certificate,) = outputs_and_gradients(newton, *given)
    assert not certificate.converged and certificate.reason
    for a, b in zip(found, outputs_and_gradients(at_once_forbidden, *given)[0], strict=True):
        assert torch.equal(a, b)


def test_giving_up_is_told_with_its_residual() -> None:
    cell, x, weights, state = arguments("gru")
    y, _, certificate = newton(cell, x, weights, state, most=2)
    assert not certificate.converged and certificate.iterations == 2 and certificate.residual > 1e-10
    assert "After 2 iterations" in certificate.reason
    assert torch.equal(y, recurrence(cell, x, weights, state, None, True)[0])


def test_what_cannot_be_solved_at_once_is_run_in_turn_and_says_why() -> None:
    cell, x, weights, state = arguments("gru")
    assert "reversed" in newton(cell, x, weights, state, None, True, True)[2].reason.lower()
    packed = Packed(torch.tensor([2] * 3))
    assert "Packed" in newton(cell, x[0, :6], weights, state, packed)[2].reason
    assert "no steps" in newton(cell, x[:, :0], weights, state)[2].reason
    with pytest.raises(ValueError, match="most = 0"):
        newton(cell, x, weights, state, most=0)


def test_narrow_types_are_solved_in_float32() -> None:
    cell, x, weights, _ = arguments("gru", state=False)
    x, weights = x.bfloat16(), Weights(*(w.bfloat16() for w in weights))
    y, after, certificate = newton(cell, x, weights)
    assert certificate.converged and y.dtype == torch.bfloat16 and after[0].dtype == torch.float32


@pytest.mark.parametrize("kind", ["GRU", "LSTM", "RNN"])
def test_layers_take_the_way_of_evaluation(kind) -> None:
    torch.manual_seed(0)
    layers = {way: getattr(nn, kind)(5, 8, num_layers=2, bidirectional=True, evaluation=way) for way in nn.EVALUATIONS}
    x = torch.randn(40, 2, 5)
    for layer in layers.values():
        layer.load_state_dict(layers["sequential"].state_dict())
        torch.testing.assert_close(layer(x)[0], layers["sequential"](x)[0], rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="evaluation='netwon'"):
        nn.GRU(5, 8, evaluation="netwon")


def test_whether_it_pays_is_measured_once(monkeypatch) -> None:
    from seqloom.ops import newton as module

    cell, x, weights, _ = arguments("gru", 33, state=False, dtype=torch.float32)
    monkeypatch.setattr(module, "_measured", {})
    first = pays(cell, x, weights)
    monkeypatch.setattr(module, "_seconds", None)  # a second measurement would fail
    assert pays(cell, x, weights) is first
    assert pays(cell, x[:, :0], weights) is False
