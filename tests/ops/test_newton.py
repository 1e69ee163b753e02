"""All steps at once give what the steps in turn give, or say that they did not and are the steps in turn."""

import math

import pytest
import torch

from seqloom import nn
from seqloom.core.types import fresh_place, locate
from seqloom.ops import _newton_gradient, recurrence, use
from seqloom.ops import newton as module
from seqloom.ops._newton_evidence import exponent
from seqloom.ops._newton_rows import Rows
from seqloom.ops._newton_solve import Outcome
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


def outputs_and_gradients(run, cell, x, weights, state, where=None, **options):
    y, after, *rest = run(cell, x, weights, state, where, **options)
    if where is not None:
        y = torch.where(where.real[..., None], y, 0.0)
    loss = (y * torch.linspace(1, 2, y.shape[-1]).to(y)).sin().sum() + sum(s.square().sum() for s in after)
    return [y, *after, *torch.autograd.grad(loss, [x, *weights, *state])], rest


def in_turn(cell, x, weights, state, where=None, reverse=False):
    return recurrence.reference(cell, x, weights, state, where, True, reverse)


def at_once_forbidden(cell, x, weights, state, where=None):
    return recurrence(cell, x, weights, state, where, True)


@pytest.mark.parametrize("length", [1, 2, 70])
@pytest.mark.parametrize("cell", CELLS)
def test_a_solution_has_the_values_and_gradients_of_the_steps_in_turn(cell, length) -> None:
    given = arguments(cell, length)
    found, (certificate,) = outputs_and_gradients(newton, *given)
    assert certificate.converged and certificate.reason == ""
    assert certificate.residual <= 1e-12 and certificate.agreement <= 1e-11
    (gradient,) = certificate.gradients
    assert gradient.reason == "" and gradient.residual <= 1e-12
    for a, b in zip(found, outputs_and_gradients(in_turn, *given)[0], strict=True):
        # states and gradients are exact to 1e-12, which the contraction and sums over steps multiply by less than 100
        assert (a - b).abs().max() <= 1e-10 * max(1, float(b.detach().abs().max()))


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
        assert (a - b).abs().max() <= 1e-10 * max(1, float(b.detach().abs().max()))


def padded(x, *, documents=False):
    segment = torch.ones(x.shape[:2], dtype=torch.int64)
    segment[1, 30:] = 0
    segment[0, :3] = 0
    if documents:
        segment[0, 50:] = 2
    place = fresh_place(len(x))._replace(id=torch.ones(len(x), dtype=torch.int64))
    return locate(segment, place, *x.shape[:2])[0]


@pytest.mark.parametrize("pads", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_reversed_rows_are_solved_too(cell, pads) -> None:
    given = arguments(cell)
    given = (*given, padded(given[1]) if pads else None)
    found, (certificate,) = outputs_and_gradients(newton, *given, reverse=True)
    assert certificate.converged
    for a, b in zip(found, outputs_and_gradients(in_turn, *given, reverse=True)[0], strict=True):
        assert (a - b).abs().max() <= 1e-10 * max(1, float(b.detach().abs().max()))


@pytest.mark.parametrize("window", [1, 9, 69])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_windows_hand_on_the_state_and_its_gradient(cell, window) -> None:
    given = arguments(cell)
    given = (*given, padded(given[1], documents=True))
    found, (certificate,) = outputs_and_gradients(newton, *given, window=window)
    assert certificate.converged and certificate.windows == -(-70 // window) == len(certificate.gradients)
    for a, b in zip(found, outputs_and_gradients(in_turn, *given)[0], strict=True):
        assert (a - b).abs().max() <= 1e-10 * max(1, float(b.detach().abs().max()))


def test_a_long_sequence_is_cut_into_windows_that_fit(monkeypatch) -> None:
    cell, x, weights, state = arguments("gru", 300)
    monkeypatch.setattr(module, "WINDOW_BYTES", 2**10)
    y, _, certificate = newton(cell, x, weights, state)
    assert certificate.converged and certificate.windows == 4  # never fewer than 96 steps
    torch.testing.assert_close(y, in_turn(cell, x, weights, state)[0], rtol=0, atol=1e-10)


def test_what_stands_at_padding_may_be_anything() -> None:
    cell, x, weights, state = arguments("lstm")
    where = padded(x)
    spoiled = x.detach().masked_fill(~where.real[..., None], math.nan)
    y, after, certificate = newton(cell, spoiled, weights, state, where)
    assert certificate.converged and y.isfinite().all()
    expected = newton(cell, x, weights, state, where)[1]
    assert all(torch.equal(a, b) for a, b in zip(after, expected, strict=True))


@pytest.mark.parametrize("cell", CELLS)
def test_the_certificate_holds_in_float64(cell) -> None:
    cell, x, weights, state = arguments(cell, 300, hidden=32, dtype=torch.float32, scale=1.2)
    with torch.no_grad():
        y, _, certificate = newton(cell, x, weights, state)
        wide = Weights(*(weight.double() for weight in weights))
        exact, _ = recurrence.reference(cell, x.double(), wide, tuple(s.double() for s in state), None, True)
    assert certificate.converged and -1.5 < certificate.exponent < 0
    scale = max(1.0, float(exact.abs().max()))
    # what the certificate's docstring says, with room for float32's rounding of each step
    bound = (certificate.residual + 1e-6) / (1 - math.exp(certificate.exponent))
    assert float((y - exact).abs().max()) / scale <= 2 * bound
    # the end was checked by a sequential run from the states found 32 steps before it
    if cell != "lstm":
        again, _ = recurrence(cell, x[:, -32:], weights, (y[:, -33],), None, True)
        assert float((again - y[:, -32:]).detach().abs().max()) / scale <= certificate.agreement + 1e-7


@pytest.mark.parametrize("growth", [0.5, 0.9, 1.5])
def test_the_exponent_of_a_scaled_rotation_is_the_logarithm_of_its_scale(growth) -> None:
    rotation = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[0]
    weights = Weights(torch.zeros(8, 2, dtype=torch.float64), growth * rotation)
    rows = Rows(torch.zeros(2, 100, 2, dtype=torch.float64), None, None)
    # without input all states are zero, where tanh has slope 1
    assert exponent("tanh", rows, weights) == pytest.approx(math.log(growth), abs=1e-12)


def test_padding_does_not_count_for_the_exponent() -> None:
    _, x, weights, _ = arguments("tanh", 40, state=False)
    longer = torch.cat([x, torch.full_like(x[:, :20], 100.0)], dim=1)
    lengths = torch.tensor([40, 40])
    with torch.no_grad():
        # growth is counted from the twentieth or the twenty-fourth step on
        assert exponent("tanh", Rows(longer, None, lengths), weights) == pytest.approx(
            exponent("tanh", Rows(x, None, None), weights), abs=0.1
        )


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


def test_a_residual_that_no_longer_falls_ends_the_search(monkeypatch) -> None:
    cell, x, weights, state = arguments("gru", 300, hidden=64, scale=14.0)
    monkeypatch.setattr(module, "exponent", lambda *_: -0.01)  # an estimate may be wrong
    y, _, certificate = newton(cell, x, weights, state)
    assert certificate.iterations < 100 and "no longer falls" in certificate.reason
    assert torch.equal(y, recurrence(cell, x, weights, state, None, True)[0])


def test_a_wrong_solution_does_not_pass_the_check(monkeypatch) -> None:
    given = arguments("gru")

    def wrong(problem, tolerance, most):
        return (problem.gates.new_full((*problem.gates.shape[:2], 16), 0.1),), Outcome(3, 0.0, "")

    monkeypatch.setattr(module, "solve", wrong)
    y, _, certificate = newton(*given)
    assert "differ" in certificate.reason and certificate.agreement > 1e-3
    assert torch.equal(y, recurrence(*given, None, True)[0])


def test_bad_input_falls_back_and_says_so() -> None:
    cell, x, weights, state = arguments("gru")
    x = x.detach().clone()
    x[0, 5] = math.nan
    y, _, certificate = newton(cell, x, weights, state)
    assert "residual is nan" in certificate.reason
    expected = recurrence(cell, x, weights, state, None, True)[0]
    torch.testing.assert_close(y, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("pads", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_that_do_not_converge_are_the_sequential_ones(cell, pads, monkeypatch) -> None:
    def hopeless(problem, linear, given, tolerance, most):
        return given, given, Outcome(9, 1.0, "It was told to fail.")

    given = arguments(cell)
    given = (*given, padded(given[1], documents=True) if pads else None)
    monkeypatch.setattr(_newton_gradient, "adjoint", hopeless)
    found, (certificate,) = outputs_and_gradients(newton, *given)
    assert certificate.converged and certificate.gradients[0].reason
    for a, b in zip(found, outputs_and_gradients(in_turn, *given)[0], strict=True):
        assert (a - b).abs().max() <= 1e-10 * max(1, float(b.detach().abs().max()))


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_pass_gradcheck(cell) -> None:
    cell, x, weights, state = arguments(cell, 5, width=2, hidden=3)
    where = padded(torch.empty(2, 5, 1))

    def run(x, ih, hh, b_ih, b_hh, *state):
        y, after, certificate = newton(cell, x, Weights(ih, hh, b_ih, b_hh), state, where)
        assert certificate.converged
        return (torch.where(where.real[..., None], y, 0.0), *after)

    assert torch.autograd.gradcheck(run, (x, *weights, *state))


def test_biases_may_be_absent_and_weights_frozen() -> None:
    cell, x, weights, state = arguments("lstm")
    weights = Weights(weights.ih, weights.hh.detach())
    y, _, certificate = newton(cell, x.detach(), weights, state)
    (found,) = torch.autograd.grad(y.sum(), weights.ih)
    (expected,) = torch.autograd.grad(in_turn(cell, x.detach(), weights, state)[0].sum(), weights.ih)
    assert certificate.converged
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)


def test_second_derivatives_are_refused() -> None:
    cell, x, weights, state = arguments("gru", 9)
    (first,) = torch.autograd.grad(newton(cell, x, weights, state)[0].sin().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match=r'use\(recurrence="reference"\)'):
        torch.autograd.grad(first.square().sum(), x)


def test_function_transforms_see_the_reference() -> None:
    cell, x, weights, state = arguments("gru", 9)
    weights, state = Weights(*(w.detach() for w in weights)), tuple(s.detach() for s in state)
    seen = []

    def run(x):
        y, _, certificate = newton(cell, x, weights, state)
        seen.append(certificate.reason)
        return y

    _, tangent = torch.func.jvp(run, (x.detach(),), (torch.ones_like(x),))
    assert tangent.abs().sum() > 0 and "transforms" in seen[0]


def test_under_autocast_the_states_stay_in_float32() -> None:
    cell, x, weights, _ = arguments("gru", state=False, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, after, certificate = newton(cell, x, weights)
        expected = recurrence(cell, x, weights, (), None, True)[0]
        y.float().sum().backward()
    assert certificate.converged and certificate.gradients[0].reason == ""
    assert y.dtype == expected.dtype == torch.bfloat16 and after[0].dtype == torch.float32
    torch.testing.assert_close(y, expected, rtol=0, atol=0.03)  # one rounding to 8 bits; the loop also rounds gates
    assert weights.hh.grad is not None and weights.hh.grad.dtype == torch.float32


def test_a_forced_kernel_is_the_one_that_a_fall_back_runs() -> None:
    given = arguments("gru")
    with use(recurrence="reference"):
        y, _, certificate = newton(*given, most=1)
        expected = recurrence.reference(*given, None, True)[0]
    assert not certificate.converged and torch.equal(y, expected)


def test_what_cannot_be_solved_at_once_is_run_in_turn_and_says_why() -> None:
    cell, x, weights, state = arguments("gru")
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


@pytest.mark.parametrize("way", ["newton", "auto"])
def test_a_compiler_sees_the_sequential_op(way) -> None:
    layer, x = nn.GRU(5, 8, evaluation=way), torch.randn(40, 2, 5)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x)[0], layer(x)[0], rtol=0, atol=1e-5)


def test_whether_it_pays_is_measured_once(monkeypatch) -> None:
    cell, x, weights, _ = arguments("gru", 33, state=False, dtype=torch.float32)
    monkeypatch.setattr(module, "_measured", {})
    first = pays(cell, x, weights)
    monkeypatch.setattr(module, "_seconds", None)  # a second measurement would fail
    assert pays(cell, x, weights) is first
    assert pays(cell, x[:, :0], weights) is False


@pytest.mark.parametrize("measured", [1, 100])
def test_it_no_longer_pays_once_it_falls_back_or_needs_more_iterations(measured, monkeypatch) -> None:
    cell, x, weights, _ = arguments("gru", 33, state=False, dtype=torch.float32)
    monkeypatch.setattr(module, "_measured", {})
    # twice as fast, with that many iterations; in truth it takes about ten
    monkeypatch.setattr(module, "_measure", lambda *_: module._Measured(2.0, 1.0, measured, True))
    assert pays(cell, x, weights)
    newton(cell, x, weights)
    assert pays(cell, x, weights) is (measured == 100)
    newton(cell, x, weights, most=1)
    assert not pays(cell, x, weights)
