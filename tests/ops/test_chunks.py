"""Associative memory and the delta rule: chunks equal the steps, in value and every gradient."""

import pytest
import torch

from seqloom.ops.associative import associative, reference
from seqloom.ops.chain import chain
from seqloom.ops.delta import delta
from seqloom.ops.delta import reference as delta_reference
from seqloom.ops.op import use
from seqloom.ops.shortconv import short_convolution

LENGTHS = (1, 2, 63, 65, 200)


def draw(length: int, groups: int = 2, heads: int = 4, dtype=torch.float64, decay: bool = True):
    generator = torch.Generator().manual_seed(length)
    rand = lambda *shape: torch.randn(*shape, dtype=dtype, generator=generator)  # noqa: E731
    q, k = rand(2, length, groups, 3), rand(2, length, groups, 3)
    v = rand(2, length, heads, 5)
    log_decay = -rand(2, length, heads).abs() if decay else None
    start = torch.rand(2, length, generator=generator) < 0.05
    state = rand(2, groups, 3, heads // groups, 5)
    leaves = [part.requires_grad_() for part in (q, k, v, log_decay, state) if part is not None]
    return (q, k, v, log_decay, start, state), leaves


def gradients(outputs, leaves):
    return torch.autograd.grad(sum(part.sin().sum() for part in outputs), leaves, allow_unused=True)


@pytest.mark.parametrize("decay", [True, False])
@pytest.mark.parametrize("length", LENGTHS)
def test_associative_chunks_equal_steps(length, decay):
    arguments, leaves = draw(length, decay=decay)
    expected = reference(*arguments, True)
    with use(associative="chunked"):
        given = associative(*arguments, True, 16)
    for a, b in zip(given, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)
    for a, b in zip(gradients(given, leaves), gradients(expected, leaves), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


def delta_arguments(length: int, decay: bool):
    (_, _, v, log_decay, start, _), _ = draw(length, decay=decay)
    generator = torch.Generator().manual_seed(7)
    q, k = (torch.randn(2, length, 4, 3, dtype=torch.float64, generator=generator) for _ in range(2))
    k = torch.nn.functional.normalize(k, dim=-1)
    beta = torch.rand(2, length, 4, dtype=torch.float64, generator=generator)
    state = torch.randn(2, 4, 3, 5, dtype=torch.float64, generator=generator)
    parts = [q, k, v.detach(), beta, None if log_decay is None else log_decay.detach(), start, state]
    leaves = [part.requires_grad_() for part in parts if part is not None and part.is_floating_point()]
    return parts, leaves


@pytest.mark.parametrize("decay", [True, False])
@pytest.mark.parametrize("length", LENGTHS)
def test_delta_chunks_equal_steps(length, decay):
    arguments, leaves = delta_arguments(length, decay)
    expected = delta_reference(*arguments, True)
    given = delta(*arguments, True, 16)
    for a, b in zip(given, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)
    for a, b in zip(gradients(given, leaves), gradients(expected, leaves), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["associative", "delta"])
def test_the_opaque_operation_equals_the_function_with_every_gradient(name):
    arguments, leaves = draw(37) if name == "associative" else delta_arguments(37, True)
    expected = {"associative": associative, "delta": delta}[name](*arguments, True, 8)
    given = getattr(torch.ops.seqloom, name)(*arguments, 8)
    for a, b in zip(given, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    for a, b in zip(gradients(given, leaves), gradients(expected, leaves), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    torch.library.opcheck(getattr(torch.ops.seqloom, name).default, (*arguments, 8))


def test_a_chain_is_its_products_and_differentiable_twice():
    generator = torch.Generator().manual_seed(0)
    a, b, first = (
        torch.randn(*shape, dtype=torch.float64, generator=generator, requires_grad=True)
        for shape in ((2, 5, 3, 4, 4), (2, 5, 3, 4, 2), (2, 3, 4, 2))
    )
    s = first
    for i, state in enumerate(chain(a, b, first).unbind(1)):
        torch.testing.assert_close(state, s)
        if i < 5:
            s = a[:, i] @ s + b[:, i]
    assert torch.autograd.gradcheck(chain, (a, b, first), fast_mode=True)
    assert torch.autograd.gradgradcheck(chain, (a, b, first), fast_mode=True)


def test_a_short_convolution_is_torchs():
    x = torch.randn(2, 11, 6, dtype=torch.float64)
    layer = torch.nn.Conv1d(6, 6, 4, groups=6, padding=3).double()
    expected = layer(x.transpose(1, 2))[..., :11].transpose(1, 2)
    given, tail = short_convolution(x, layer.weight[:, 0], layer.bias)
    torch.testing.assert_close(given, expected)
    torch.testing.assert_close(tail, x[:, -3:])


def test_shapes_that_do_not_fit_are_refused():
    q = torch.zeros(1, 3, 2, 4)
    with pytest.raises(ValueError, match="groups that divide the heads"):
        associative(q, q, torch.zeros(1, 3, 3, 4))
    with pytest.raises(ValueError, match="needs q, k"):
        delta(q, q, torch.zeros(1, 4, 2, 4), torch.zeros(1, 4, 2))
