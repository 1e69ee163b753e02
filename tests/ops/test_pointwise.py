"""Rotary turns, RMSNorm and SwiGLU: native kernels equal the references in value and every gradient."""

import pytest
import torch

from seqloom import ops
from seqloom.ops import _native
from seqloom.ops.op import Op
from seqloom.ops.rmsnorm import RMSNorm, rmsnorm
from seqloom.ops.rotate import rotate, rotation
from seqloom.ops.swiglu import swiglu

pytestmark = pytest.mark.skipif(bool(_native.why_not()), reason=" ".join(_native.why_not()))


def draw(*shape: int, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(sum(shape))).requires_grad_()


def angles(batch: int, length: int, width: int, dtype=torch.float64):
    position = torch.arange(batch * length).view(batch, length)
    return (part.to(dtype) for part in rotation(position, width, 100.0))


# one element, broken vectors, whole ones; every head turns or some do; angles shared by the rows or not
CASES = {
    "rotate one pair": (rotate, lambda t: (draw(1, 1, 1, 2, dtype=t), *angles(1, 1, 2, t), 1)),
    "rotate some heads": (rotate, lambda t: (draw(2, 50, 6, 34, dtype=t), *angles(1, 50, 34, t), 4)),
    "rotate by row": (rotate, lambda t: (draw(3, 7, 2, 64, dtype=t), *angles(3, 7, 64, t), 2)),
    "rmsnorm of one": (rmsnorm, lambda t: (draw(1, 1, dtype=t), draw(1, dtype=t), 1e-6)),
    "rmsnorm": (rmsnorm, lambda t: (draw(2, 40, 37, dtype=t), draw(37, dtype=t), 1e-5)),
    "rmsnorm of many rows": (rmsnorm, lambda t: (draw(900, 64, dtype=t), draw(64, dtype=t), 1e-6)),
    "swiglu of one": (swiglu, lambda t: (draw(1, 2, dtype=t),)),
    "swiglu": (swiglu, lambda t: (draw(3, 300, 74, dtype=t),)),
}


def gradients(y: torch.Tensor, arguments: tuple) -> tuple[torch.Tensor, ...]:
    return torch.autograd.grad(y.sin().sum(), [a for a in arguments if isinstance(a, torch.Tensor) and a.requires_grad])


def native(op: Op, *arguments):
    with ops.use(**{op.name: "native"}):
        return op(*arguments)


@pytest.mark.parametrize(("dtype", "near"), [(torch.float64, 1e-11), (torch.float32, 1e-4)])
@pytest.mark.parametrize(("op", "make"), CASES.values(), ids=CASES.keys())
def test_native_equals_the_reference_in_value_and_gradients(op, make, dtype, near) -> None:
    arguments = make(dtype)
    y, expected = native(op, *arguments), op.reference(*arguments)
    torch.testing.assert_close(y, expected, rtol=near, atol=near)
    for a, b in zip(gradients(y, arguments), gradients(expected, arguments), strict=True):
        torch.testing.assert_close(a, b, rtol=near, atol=near)


@pytest.mark.parametrize("name", ["rotate by row", "rmsnorm of many rows", "swiglu"])
def test_results_do_not_depend_on_threads(name) -> None:
    op, make = CASES[name]
    arguments = make(torch.float32)

    def run(threads: int):
        torch.set_num_threads(threads)
        y = native(op, *arguments)
        return y, *gradients(y, arguments)

    for one, two in zip(run(1), run(2), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize(
    ("op", "make"),
    [
        (rotate, lambda: (draw(1, 2, 2, 4), *angles(1, 2, 4), 1)),
        (rmsnorm, lambda: (draw(2, 3), draw(3), 1e-2)),
        (swiglu, lambda: (draw(2, 6),)),
    ],
    ids=["rotate", "rmsnorm", "swiglu"],
)
def test_second_derivatives_are_right(op, make) -> None:
    arguments = make()
    leaves = tuple(a for a in arguments if isinstance(a, torch.Tensor) and a.requires_grad)
    rest = arguments[len(leaves) :]
    assert torch.autograd.gradgradcheck(lambda *leaves: native(op, *leaves, *rest), leaves)


def test_inputs_of_any_layout_are_read() -> None:
    wide = draw(2, 9, 12, 8)
    cos, sin = angles(1, 9, 8)
    part = wide[:, 1:, 2:6]
    torch.testing.assert_close(
        native(rotate, part, cos[:, 1:], sin[:, 1:], 3), rotate.reference(part, cos[:, 1:], sin[:, 1:], 3)
    )
    turned = draw(30, 20, 8).transpose(0, 2)
    weight = draw(30)
    torch.testing.assert_close(native(rmsnorm, turned, weight, 1e-6), rmsnorm.reference(turned, weight, 1e-6))
    torch.testing.assert_close(native(swiglu, turned), swiglu.reference(turned))


def test_only_wanted_gradients_are_given() -> None:
    x, weight = draw(5, 6), draw(6).detach()
    native(rmsnorm, x, weight, 1e-6).sum().backward()
    assert x.grad is not None and weight.grad is None


def test_native_says_why_it_cannot_run() -> None:
    assert "no two halves" in swiglu.kernels["native"].why_not(torch.zeros(2, 3))[0]
    assert "of another size" in rmsnorm.kernels["native"].why_not(torch.zeros(2, 3), torch.zeros(2), 1e-6)[0]
    assert "all alike" in swiglu.kernels["native"].why_not(torch.zeros(2, 4).bfloat16())[0]


def test_the_module_is_torchs_in_names_and_values() -> None:
    ours, torchs = RMSNorm(20, eps=1e-5), torch.nn.RMSNorm(20, eps=1e-5)
    torchs.load_state_dict(ours.state_dict())
    x = draw(7, 20, dtype=torch.float32)
    torch.testing.assert_close(ours(x), torchs(x))
    torch.testing.assert_close(torch.func.vmap(ours)(x), torchs(x))
