"""Attention: every kernel equals the reference in value and gradients, whatever a query sees."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from seqloom import ops
from seqloom.ops import _native
from seqloom.ops.attention import attention, reference

needs_library = pytest.mark.skipif(bool(_native.why_not()), reason=" ".join(_native.why_not()))
KERNELS = ["torch", pytest.param("native", marks=needs_library)]
# queries, keys, heads, heads of keys, width, causal, window, lengths; blocks are 64 queries by 256 keys
CASES = {
    "one": (1, 1, 1, 1, 1, True, None, None),
    "causal": (70, 70, 2, 2, 16, True, None, None),
    "causal over several blocks": (300, 300, 2, 1, 20, True, None, None),
    "both ways": (130, 130, 4, 2, 7, False, None, None),
    "lengths": (270, 270, 2, 2, 5, False, None, (100, 270)),
    "an empty row": (20, 20, 1, 1, 4, False, None, (0, 20)),
    "causal lengths": (20, 20, 1, 1, 4, True, None, (3, 20)),
    "window": (300, 300, 2, 2, 8, True, 33, None),
    "window both ways": (80, 80, 2, 2, 8, False, 7, (30, 80)),
    "window 1": (9, 9, 1, 1, 3, True, 1, None),
    "more keys than queries": (40, 300, 2, 2, 8, True, None, None),
    "fewer keys than queries": (90, 9, 1, 1, 8, True, None, None),
    "window behind the last keys": (5, 600, 1, 1, 8, True, 64, None),
}


def draw(case, dtype=torch.float64):
    length, keys, heads, groups, width, causal, window, lengths = case
    g = torch.Generator().manual_seed(0)
    q = torch.randn(2, length, heads, width, generator=g, dtype=dtype)
    k, v = (torch.randn(2, keys, groups, width, generator=g, dtype=dtype) for _ in range(2))
    leaves = [part.requires_grad_() for part in (q, k, v)]
    return leaves, (causal, window, None if lengths is None else torch.tensor(lengths))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_kernels_equal_the_reference_in_value_and_gradients(case, kernel) -> None:
    leaves, seen = draw(case)
    expected = reference(*leaves, *seen)
    with ops.use(attention=kernel):
        y = attention(*leaves, *seen)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)
    found = torch.autograd.grad(y.sin().sum(), leaves)
    for a, b in zip(found, torch.autograd.grad(expected.sin().sum(), leaves), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-11)


@needs_library
@pytest.mark.parametrize("case", ["causal over several blocks", "lengths", "window"])
def test_single_precision_is_near(case) -> None:
    leaves, seen = draw(CASES[case], torch.float32)
    with ops.use(attention="native"):
        y = attention(*leaves, *seen)
    expected = reference(*leaves, *seen)
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
    found = torch.autograd.grad(y.sin().sum(), leaves)
    for a, b in zip(found, torch.autograd.grad(expected.sin().sum(), leaves), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@needs_library
def test_large_scores_neither_overflow_nor_vanish() -> None:
    leaves, seen = draw(CASES["causal over several blocks"], torch.float32)
    leaves = [(30 * part).detach().requires_grad_() for part in leaves]
    with ops.use(attention="native"):
        y = attention(*leaves, *seen)
    exact = reference(*(part.double() for part in leaves), *seen).float()
    torch.testing.assert_close(y, exact, rtol=1e-2, atol=0.05)
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(y.sum(), leaves))


@needs_library
def test_results_do_not_depend_on_threads() -> None:
    leaves, seen = draw((300, 300, 2, 1, 64, True, None, None), torch.float32)

    def run(threads: int):
        torch.set_num_threads(threads)
        with ops.use(attention="native"):
            y = attention(*leaves, *seen)
        return y, *torch.autograd.grad(y.sin().sum(), leaves)

    for one, two in zip(run(1), run(2), strict=True):
        assert torch.equal(one, two)


@needs_library
def test_parts_of_one_matrix_are_read_where_they_stand() -> None:
    fused = torch.randn(2, 90, 12, 8, dtype=torch.float64, requires_grad=True)
    expected = reference(*fused.split(4, dim=2), True)
    with ops.use(attention="native"):
        y = attention(*fused.split(4, dim=2), True)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)
    (given,) = torch.autograd.grad(y.sum(), fused)  # the gradient of a sum is expanded, not laid out
    torch.testing.assert_close(given, torch.autograd.grad(expected.sum(), fused)[0], rtol=0, atol=1e-12)
    with ops.use(attention="native"):  # columns that do not lie together
        turned = fused.detach().transpose(1, 3).contiguous().transpose(1, 3)
        torch.testing.assert_close(attention(*turned.split(4, dim=2), True), expected, rtol=0, atol=1e-12)


@needs_library
def test_second_derivatives_are_right() -> None:
    leaves, seen = draw((5, 5, 2, 1, 3, True, 3, None))

    def run(*leaves):
        with ops.use(attention="native"):
            return attention(*leaves, *seen)

    assert torch.autograd.gradcheck(run, tuple(leaves))
    assert torch.autograd.gradgradcheck(run, tuple(leaves))


@needs_library
def test_narrow_types_are_computed_in_single_precision() -> None:
    leaves, seen = draw(CASES["causal"], torch.bfloat16)
    with ops.use(attention="native"):
        y = attention(*leaves, *seen)
    assert y.dtype == torch.bfloat16
    exact = reference(*(part.float() for part in leaves), *seen)
    torch.testing.assert_close(y, exact.bfloat16(), rtol=1e-2, atol=1e-2)


@needs_library
def test_native_takes_large_calls_and_says_why_it_cannot_run() -> None:
    (q, k, v), _ = draw((300, 300, 2, 2, 8, True, None, None), torch.float32)
    assert attention.choose(q, k, v, True) is attention.kernels["native"]
    assert attention.choose(q[:, :4], k[:, :4], v[:, :4], True) is attention.kernels["torch"]
    why_not = attention.kernels["native"].why_not
    assert "all alike" in why_not(q, k, v.double(), True)[0]
    assert "not on 'meta'" in why_not(*(part.to("meta") for part in (q, k, v)), True)[0]
    assert "nothing to attend to" in why_not(q[:0], k[:0], v[:0], True)[0]


@needs_library
def test_flops_are_counted() -> None:
    (q, k, v), _ = draw((300, 300, 2, 2, 8, True, None, None), torch.float32)
    with FlopCounterMode(display=False) as counter:
        attention(q, k, v, True).sum().backward()
    assert counter.get_total_flops() == 3.5 * 4 * 2 * 300 * 300 * 2 * 8
