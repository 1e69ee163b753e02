"""The linear layer: native products equal torch's in value and every gradient, and say where they cannot run."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from seqloom import ops
from seqloom.nn import Linear
from seqloom.ops import _native
from seqloom.ops.linear import linear, reference

needs_library = pytest.mark.skipif(bool(_native.why_not()), reason=" ".join(_native.why_not()))
# rows, inputs, outputs: single ones, whole and broken vectors and blocks, one stretch of rows and several
SIZES = [(1, 1, 1), (3, 5, 7), (8, 16, 48), (97, 33, 50), (129, 64, 16), (200, 130, 3), (1000, 17, 65)]


def draw(rows: int, inputs: int, outputs: int, dtype: torch.dtype, bias: bool = True):
    g = torch.Generator().manual_seed(rows)
    x = torch.randn(rows, inputs, generator=g, dtype=dtype).requires_grad_()
    w = torch.randn(outputs, inputs, generator=g, dtype=dtype).requires_grad_()
    b = torch.randn(outputs, generator=g, dtype=dtype).requires_grad_() if bias else None
    return x, w, b


@needs_library
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_native_equals_the_reference_in_value_and_gradients(size, bias) -> None:
    x, w, b = draw(*size, torch.float64, bias)
    with ops.use(linear="native"):
        y = linear(x, w, b)
    expected = reference(x, w, b)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-11)
    leaves = [leaf for leaf in (x, w, b) if leaf is not None]
    for a, e in zip(
        torch.autograd.grad(y.sin().sum(), leaves), torch.autograd.grad(expected.sin().sum(), leaves), strict=True
    ):
        torch.testing.assert_close(a, e, rtol=0, atol=1e-9)


@needs_library
def test_single_precision_errs_as_sums_in_single_precision_do() -> None:
    x, w, b = draw(200, 4096, 50, torch.float32)
    exact = F.linear(x.double(), w.double(), b.double())
    with ops.use(linear="native"):
        error = (linear(x, w, b) - exact).square().mean().sqrt()
    # a random walk of 4096 roundings of sums of about 64
    assert error <= 64 * 4096**0.5 * 2**-24


@needs_library
def test_results_do_not_depend_on_threads_or_neighbouring_rows() -> None:
    x, w, b = draw(500, 60, 70, torch.float32)

    def run(threads: int):
        torch.set_num_threads(threads)
        with ops.use(linear="native"):
            y = linear(x, w, b)
        return y, *torch.autograd.grad(y.sum(), [x, w, b])

    for one, two in zip(run(1), run(2), strict=True):
        assert torch.equal(one, two)
    with ops.use(linear="native"), torch.no_grad():
        assert torch.equal(linear(x[:250], w, b), linear(x, w, b)[:250])


@needs_library
@pytest.mark.parametrize("wanted", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1), (0, 1, 1)])
def test_only_wanted_gradients_are_given(wanted) -> None:
    leaves = draw(90, 20, 30, torch.float64)
    for leaf, wants in zip(leaves, wanted, strict=True):
        leaf.requires_grad_(bool(wants))
    with ops.use(linear="native"):
        linear(*leaves).square().sum().backward()
    found = [leaf.grad for leaf in leaves]
    for leaf in leaves:
        leaf.grad = None
    reference(*leaves).square().sum().backward()
    for leaf, gradient in zip(leaves, found, strict=True):
        assert (gradient is None) == (leaf.grad is None)
        if gradient is not None:
            torch.testing.assert_close(gradient, leaf.grad, rtol=0, atol=1e-9)


@needs_library
def test_second_derivatives_and_odd_layouts_are_right() -> None:
    x, w, b = draw(6, 4, 5, torch.float64)

    def run(x, w, b):
        with ops.use(linear="native"):
            return linear(x.t().reshape(4, 3, 2).transpose(0, 1).transpose(1, 2), w, b)

    assert torch.autograd.gradcheck(run, (x, w, b))
    assert torch.autograd.gradgradcheck(run, (x, w, b))
    with ops.use(linear="native"):  # the gradient of a sum is expanded, not laid out
        linear(x, w.t().contiguous().t(), b).sum().backward()
    torch.testing.assert_close(w.grad, x.detach().sum(0).expand(5, 4))


@needs_library
def test_large_products_run_natively_and_small_ones_do_not() -> None:
    large = torch.zeros(512, 128), torch.zeros(256, 128), None
    small = torch.zeros(8, 128), torch.zeros(256, 128), None
    assert linear.choose(*large) is linear.kernels["native"]
    assert linear.choose(*small) is linear.kernels["torch"]


@needs_library
def test_native_says_why_it_cannot_run() -> None:
    w = torch.zeros(3, 4)
    why_not = linear.kernels["native"].why_not
    assert why_not(torch.zeros(2, 4), w) == []
    assert "all alike, not torch.bfloat16" in why_not(torch.zeros(2, 4).bfloat16(), w.bfloat16())[0]
    assert "all alike" in why_not(torch.zeros(2, 4).double(), w)[0]
    assert "not on 'meta'" in why_not(torch.zeros(2, 4, device="meta"), w)[0]
    assert "nothing to multiply" in why_not(torch.zeros(0, 4), w)[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert "Autocast" in why_not(torch.zeros(2, 4), w)[0]
        assert linear(torch.zeros(600, 128), torch.zeros(256, 128)).dtype == torch.bfloat16


def test_errors_are_those_of_torch() -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        Linear(128, 256)(torch.zeros(600, 64))


@needs_library
def test_flops_are_counted() -> None:
    layer, x = Linear(128, 256, bias=False), torch.zeros(600, 128, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        layer(x).sum().backward()
    assert counter.get_total_flops() == 3 * 2 * 600 * 128 * 256


def test_the_layer_is_torchs_in_names_transforms_compilation_and_export() -> None:
    torch.manual_seed(0)
    layer, x = Linear(128, 256), torch.randn(600, 128)
    plain = torch.nn.Linear(128, 256)
    plain.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer(x), plain(x))
    torch.testing.assert_close(torch.func.vmap(layer)(x), plain(x))
    batch = torch.export.Dim("batch", min=2, max=4096)
    exported = torch.export.export(layer, (x,), dynamic_shapes=({0: batch},)).module()
    torch.testing.assert_close(exported(x[:9]), plain(x[:9]))
