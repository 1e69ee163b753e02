"""Every kernel equals its op's reference in value and every gradient, at odd lengths, with and without masks."""

import pytest
import torch

from seqloom.core.types import Where, fresh_place, locate
from seqloom.ops import recurrence, scan, use
from seqloom.ops.recurrence import CELLS

LENGTHS = [1, 2, 63, 65, 1000]
# float64 over 1000 steps: rounding errors of 1e-16 grow at most with the steps and the size of the gradients
TOLERANCE = {"rtol": 1e-8, "atol": 1e-9}


def scan_arguments(length: int, with_state: bool, dtype=torch.float64):
    g = torch.Generator().manual_seed(length)
    a = torch.rand(2, length, 3, dtype=dtype, generator=g).requires_grad_()
    b = torch.randn(2, length, 3, dtype=dtype, generator=g).requires_grad_()
    return (a, b, torch.randn(2, 3, dtype=dtype, generator=g).requires_grad_() if with_state else None)


def recurrence_arguments(cell: str, length: int, with_state: bool, layout: str, bias: bool = True):
    g = torch.Generator().manual_seed(length)
    gates, states = CELLS[cell].gates, CELLS[cell].states

    def make(*shape):
        return (0.5 * torch.randn(*shape, dtype=torch.float64, generator=g)).requires_grad_()

    x, w_ih, w_hh = make(3, length, 4), make(gates * 5, 4), make(gates * 5, 5)
    biases = (make(gates * 5), make(gates * 5)) if bias else (None, None)
    state = tuple(make(3, 5) for _ in range(states)) if with_state else ()
    where = None
    if layout != "none":
        segment = torch.ones(3, length, dtype=torch.int64)
        segment[1, (length + 1) // 2 :] = 0 if layout == "tail" else 2
        if layout == "mixed":
            segment[2, ::3] = 0
        where, _ = locate(segment, fresh_place(3)._replace(id=torch.ones(3, dtype=torch.int64)), 3, length)
    return (cell, x, w_ih, w_hh, *biases, state, where, True)


def outputs_and_gradients(function, arguments):
    result = function(*arguments)
    y, state = result if isinstance(result, tuple) else (result, ())
    where = next((a for a in arguments if isinstance(a, Where)), None)
    if where is not None:
        y = y * where.real[..., None]
    tensors = [t for a in arguments for t in (a if isinstance(a, tuple) else (a,)) if isinstance(t, torch.Tensor)]
    wanted = [t for t in tensors if t.requires_grad]
    loss = (y * torch.arange(1, y.shape[-1] + 1)).sin().sum() + sum(s.square().sum() for s in state)
    return [y, *state, *torch.autograd.grad(loss, wanted)]


def assert_equal_to_reference(op, name, arguments) -> None:
    given = outputs_and_gradients(op.kernels[name], arguments)
    expected = outputs_and_gradients(op.reference, arguments)
    for a, b in zip(given, expected, strict=True):
        torch.testing.assert_close(a, b, **TOLERANCE)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("name", scan.kernels)
def test_scan_kernel_equals_reference(name, with_state, length) -> None:
    assert_equal_to_reference(scan, name, scan_arguments(length, with_state))


@pytest.mark.parametrize("layout", ["none", "tail", "mixed"])
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("cell", CELLS)
def test_loop_kernel_equals_reference(cell, length, layout) -> None:
    arguments = recurrence_arguments(cell, length, with_state=layout != "tail", layout=layout, bias=layout != "mixed")
    assert_equal_to_reference(recurrence, "loop", arguments)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("cell", CELLS)
def test_torch_kernel_equals_reference(cell, length) -> None:
    assert_equal_to_reference(recurrence, "torch", recurrence_arguments(cell, length, True, "none"))


def test_kernels_take_inputs_that_are_not_contiguous() -> None:
    a, b, h0 = scan_arguments(65, True)
    turned = tuple(t.detach().transpose(1, 2).contiguous().transpose(1, 2).requires_grad_() for t in (a, b))
    assert_equal_to_reference(scan, "blocked", (*turned, h0))
    cell, x, *rest = recurrence_arguments("gru", 63, True, "none")
    x = x.detach().transpose(0, 1).contiguous().transpose(0, 1).requires_grad_()
    assert_equal_to_reference(recurrence, "loop", (cell, x, *rest))


@pytest.mark.parametrize("name", ["scan", "recurrence", "recurrence_backward"])
def test_ops_pass_the_checks_of_torch_library(name) -> None:
    if name == "scan":
        arguments = scan_arguments(9, True)
    else:
        cell, x, w_ih, w_hh, b_ih, b_hh, state, where, _ = recurrence_arguments("lstm", 9, True, "mixed")
        gates = torch.nn.functional.linear(x.transpose(0, 1), w_ih, b_ih).detach().requires_grad_()
        first = torch.stack(state).detach().requires_grad_()
        arguments = (cell, gates, w_hh, b_hh, first, where.start, where.real)
        if name == "recurrence_backward":
            states, saved = torch.ops.seqloom.recurrence(*arguments)
            grads = torch.ones_like(states)
            arguments = (cell, grads, w_hh.detach(), states.detach(), saved.detach(), where.start, where.real)
    results = torch.library.opcheck(getattr(torch.ops.seqloom, name).default, arguments, raise_exception=False)
    assert set(results.values()) == {"SUCCESS"}, results


def test_scan_is_differentiable_twice() -> None:
    a, b, _ = scan_arguments(9, False)
    assert torch.autograd.gradgradcheck(lambda a, b: scan(a, b).sin(), (a, b))


@pytest.mark.parametrize("cell", CELLS)
def test_second_derivatives_of_a_recurrence_need_the_reference(cell) -> None:
    arguments = recurrence_arguments(cell, 5, True, "mixed")
    x = arguments[1]

    def slope() -> torch.Tensor:
        y, _ = recurrence(*arguments)
        (first,) = torch.autograd.grad(y.sin().sum(), x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), x)[0]

    with use(recurrence="loop"), pytest.raises(RuntimeError, match=r'use\(recurrence="reference"\)'):
        slope()
    with use(recurrence="reference"):
        assert slope().abs().sum() > 0


def test_forward_mode_and_functorch_see_the_reference() -> None:
    a, b, h0 = scan_arguments(9, True)
    tangent = torch.ones_like(b)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(b.detach(), tangent)
        out = torch.autograd.forward_ad.unpack_dual(scan(a.detach(), dual, h0.detach()))
    assert out.tangent is not None
    torch.testing.assert_close(out.tangent, scan.reference(a.detach(), tangent))
    per_row = torch.func.vmap(torch.func.grad(lambda b, a: scan(a[None], b[None]).sum()))(b.detach(), a.detach())
    (expected,) = torch.autograd.grad(scan.reference(a, b).sum(), b)
    torch.testing.assert_close(per_row, expected)


def test_a_forced_kernel_that_cannot_run_says_why() -> None:
    _, x, *rest = recurrence_arguments("gru", 9, True, "mixed")
    with use(recurrence="torch"), pytest.raises(ValueError, match="knows neither documents nor padding"):
        recurrence("gru", x, *rest)
    with pytest.raises(ValueError, match="Did you mean 'scan'"), use(scn="reference"):
        pass
    with pytest.raises(ValueError, match="Did you mean 'blocked'"), use(scan="bloked"):
        pass


def test_use_forces_the_reference_inside_the_block_only() -> None:
    arguments = scan_arguments(9, False)
    with use(scan="reference"):
        assert scan.choose(*arguments) is scan.reference
    assert scan.choose(*arguments) is scan.kernels["blocked"]


def test_uninitialised_memory_is_never_read(monkeypatch) -> None:
    def poisoned(make):
        return lambda *args, **kwargs: make(*args, **kwargs).fill_(float("nan"))

    monkeypatch.setattr(torch.Tensor, "new_empty", poisoned(torch.Tensor.new_empty))
    monkeypatch.setattr(torch, "empty_like", poisoned(torch.empty_like))
    for cell in CELLS:
        arguments = recurrence_arguments(cell, 9, True, "mixed")
        assert all(t.isfinite().all() for t in outputs_and_gradients(recurrence.kernels["loop"], arguments))
    assert all(t.isfinite().all() for t in outputs_and_gradients(scan.kernels["blocked"], scan_arguments(10, True)))
