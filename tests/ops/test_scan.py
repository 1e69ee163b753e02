"""Every kernel of the scan equals the reference in float64, in value and every gradient."""

import pytest
import torch

from seqloom.ops import scan, use

LENGTHS = [1, 2, 63, 65, 1000]
# float64 over 1000 steps: rounding errors of 1e-16 grow at most with the steps and the size of the gradients
TOLERANCE = {"rtol": 1e-8, "atol": 1e-9}


def scan_arguments(length: int, with_state: bool, dtype=torch.float64):
    g = torch.Generator().manual_seed(length)
    a = torch.rand(2, length, 3, dtype=dtype, generator=g).requires_grad_()
    b = torch.randn(2, length, 3, dtype=dtype, generator=g).requires_grad_()
    return (a, b, torch.randn(2, 3, dtype=dtype, generator=g).requires_grad_() if with_state else None)


def outputs_and_gradients(function, arguments):
    y = function(*arguments)
    wanted = [t for t in arguments if t is not None]
    loss = (y * torch.arange(1, y.shape[-1] + 1)).sin().sum()
    return [y, *torch.autograd.grad(loss, wanted)]


def assert_equal_to_reference(name, arguments) -> None:
    given = outputs_and_gradients(scan.kernels[name], arguments)
    expected = outputs_and_gradients(scan.reference, arguments)
    for a, b in zip(given, expected, strict=True):
        torch.testing.assert_close(a, b, **TOLERANCE)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("name", scan.kernels)
def test_a_kernel_equals_the_reference(name, with_state, length) -> None:
    assert_equal_to_reference(name, scan_arguments(length, with_state))


def test_kernels_take_inputs_that_are_not_contiguous() -> None:
    a, b, h0 = scan_arguments(65, True)
    turned = tuple(t.detach().transpose(1, 2).contiguous().transpose(1, 2).requires_grad_() for t in (a, b))
    assert_equal_to_reference("blocked", (*turned, h0))


def test_scan_is_differentiable_twice() -> None:
    a, b, _ = scan_arguments(9, False)
    assert torch.autograd.gradgradcheck(lambda a, b: scan(a, b).sin(), (a, b))


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


def test_use_forces_the_reference_inside_the_block_only() -> None:
    arguments = scan_arguments(9, False)
    with use(scan="reference"):
        assert scan.choose(*arguments) is scan.reference
    assert scan.choose(*arguments) is next(iter(scan.kernels.values()))


def test_an_unknown_kernel_or_op_is_named() -> None:
    with pytest.raises(ValueError, match="Did you mean 'scan'"), use(scn="reference"):
        pass
    with pytest.raises(ValueError, match="Did you mean 'blocked'"), use(scan="bloked"):
        pass
