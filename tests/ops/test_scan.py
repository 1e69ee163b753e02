"""Every kernel of the scan equals the reference in float64, in value and every gradient."""

import hypothesis
import pytest
import torch
from hypothesis import strategies as st

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
    if reasons := scan.kernels[name].why_not(*arguments):
        pytest.skip(" ".join(reasons))
    given = outputs_and_gradients(scan.kernels[name], arguments)
    expected = outputs_and_gradients(scan.reference, arguments)
    for a, b in zip(given, expected, strict=True):
        torch.testing.assert_close(a, b, **TOLERANCE)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("name", ["native", "blocked"])
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
    best = next(name for name, reasons in scan.explain(*arguments).items() if not reasons)
    assert scan.choose(*arguments) is scan.kernels[best]


def test_an_unknown_kernel_or_op_is_named() -> None:
    with pytest.raises(ValueError, match="Did you mean 'scan'"), use(scn="reference"):
        pass
    with pytest.raises(ValueError, match="Did you mean 'blocked'"), use(scan="bloked"):
        pass


# ---- any input ----

TYPES = {torch.float32: 1e-5, torch.float64: 1e-12, torch.complex64: 1e-5, torch.complex128: 1e-12}


def draw(batch, length, width, with_state, dtype=torch.complex128):
    g = torch.Generator().manual_seed(length + 7 * width)
    a = torch.rand(batch, length, width, dtype=torch.float64, generator=g)
    if dtype.is_complex:
        a = torch.polar(a, 6 * torch.rand(batch, length, width, dtype=torch.float64, generator=g))
    wide = torch.complex128 if dtype.is_complex else torch.float64
    b = torch.randn(batch, length, width, dtype=wide, generator=g)
    h0 = torch.randn(batch, width, dtype=wide, generator=g) if with_state else None
    return a, b, h0


def results(function, arguments):
    given = [None if t is None else t.detach().requires_grad_() for t in arguments]
    h = function(*given)
    weight = torch.linspace(1, 2, h.shape[-1]).to(h.dtype)
    loss = (h * weight).real.sum() + (h.imag.sum() if h.is_complex() else 0)
    return [h, *torch.autograd.grad(loss, [t for t in given if t is not None])]


def check(name, arguments, dtype):
    own = [None if t is None else t.to(dtype) for t in arguments]
    kernel = scan.kernels[name]
    if reasons := kernel.why_not(*own):
        pytest.skip(" ".join(reasons))
    for a, b in zip(results(kernel, own), results(scan.reference, arguments), strict=True):
        assert a.dtype == dtype and a.shape == b.shape
        if b.numel():
            assert (a - b).abs().max() <= TYPES[dtype] * b.abs().max()


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 2, 3), (3, 63, 17), (1, 65, 33), (5, 10, 257), (2, 1000, 8)])
@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("name", ["native", "blocked"])
def test_a_kernel_equals_the_float64_reference(name, with_state, shape, dtype) -> None:
    check(name, draw(*shape, with_state, dtype), dtype)


@pytest.mark.parametrize("name", ["native", "blocked"])
@hypothesis.settings(max_examples=30, deadline=None)
@hypothesis.given(
    st.integers(1, 5), st.integers(1, 70), st.integers(1, 70), st.booleans(), st.sampled_from(list(TYPES))
)
def test_a_kernel_takes_any_shape(name, batch, length, width, with_state, dtype) -> None:
    check(name, draw(batch, length, width, with_state, dtype), dtype)


@pytest.mark.parametrize("name", ["native", "blocked"])
@pytest.mark.parametrize("shape", [(2, 0, 3), (0, 4, 3), (2, 4, 0)])
def test_nothing_to_scan_is_nothing(name, shape) -> None:
    arguments = draw(*shape, True, torch.float64)
    if reasons := scan.kernels[name].why_not(*arguments):
        pytest.skip(" ".join(reasons))
    h, *gradients = results(scan.kernels[name], arguments)
    assert h.shape == shape
    assert all(g is not None and (g == 0).all() for g in gradients)


@pytest.mark.parametrize("name", ["native", "blocked"])
def test_any_strides_are_read(name) -> None:
    a, b, h0 = draw(3, 21, 6, True, torch.float64)
    turned = b.transpose(0, 1).contiguous().transpose(0, 1)
    across = a.transpose(1, 2).contiguous().transpose(1, 2)
    wide = torch.cat([a, b], dim=2)
    kernel = scan.kernels[name]
    if reasons := kernel.why_not(a, b, h0):
        pytest.skip(" ".join(reasons))
    expected = scan.reference(a, b, h0)
    for decay, entering in ((across, turned), (wide[..., :6], wide[..., 6:]), (a, b[:, :, :1].expand(-1, -1, 6))):
        if entering.stride(2) == 0:
            expected = scan.reference(decay, entering, h0)
        torch.testing.assert_close(kernel(decay, entering, h0), expected)
        assert_equal_to_reference(
            name, (decay.detach().requires_grad_(), entering.detach().requires_grad_(), h0.requires_grad_())
        )


def test_results_too_large_for_any_cache_are_the_same() -> None:
    a, b, h0 = (t.float() for t in draw(3, 2100, 1024, True, torch.float64))
    large = results(scan, (a, b, h0))
    small = [results(scan, (a[i : i + 1], b[i : i + 1], h0[i : i + 1])) for i in range(3)]
    for part, whole in enumerate(large):
        assert torch.equal(whole, torch.cat([one[part] for one in small]))


@pytest.mark.parametrize("shape", [(1, 300, 300), (3, 300, 130), (4, 100, 257), (1, 1100, 65)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_the_number_of_threads_does_not_change_a_bit(dtype, shape) -> None:
    arguments = [t.to(dtype) for t in draw(*shape, True, dtype)]
    if reasons := scan.kernels["native"].why_not(*arguments):
        pytest.skip(" ".join(reasons))
    threads = torch.get_num_threads()
    try:
        found = []
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            found.append(results(scan, arguments))
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("name", ["native", "blocked"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_gradients_pass_gradcheck_and_gradgradcheck(dtype, name) -> None:
    a, b, h0 = (t.requires_grad_() for t in draw(2, 5, 3, True, dtype))
    kernel = scan.kernels[name]
    if reasons := kernel.why_not(a, b, h0):
        pytest.skip(" ".join(reasons))
    assert torch.autograd.gradcheck(kernel, (a, b, h0))
    assert torch.autograd.gradgradcheck(kernel, (a, b, h0))


@pytest.mark.parametrize("name", ["native", "blocked"])
def test_uninitialised_memory_is_never_read(name, monkeypatch) -> None:
    def poisoned(make):
        return lambda *args, **kwargs: make(*args, **kwargs).fill_(float("nan"))

    arguments = draw(2, 10, 19, True, torch.float64)
    if reasons := scan.kernels[name].why_not(*arguments):
        pytest.skip(" ".join(reasons))
    monkeypatch.setattr(torch.Tensor, "new_empty", poisoned(torch.Tensor.new_empty))
    monkeypatch.setattr(torch, "empty_like", poisoned(torch.empty_like))
    assert all(t.isfinite().all() for t in results(scan.kernels[name], arguments))


@pytest.mark.parametrize("name", ["scan", "scan_native"])
def test_ops_pass_the_checks_of_torch_library(name) -> None:
    if name == "scan_native" and (reasons := scan.kernels["native"].why_not(*scan_arguments(9, True))):
        pytest.skip(" ".join(reasons))
    op = getattr(torch.ops.seqloom, name).default
    found = torch.library.opcheck(op, scan_arguments(9, True), raise_exception=False)
    assert set(found.values()) == {"SUCCESS"}, found


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_types_are_computed_in_float32(dtype) -> None:
    a, b, h0 = (t.to(dtype) for t in draw(2, 200, 5, True, torch.float64))
    h = scan(a, b, h0)
    assert h.dtype == dtype
    if not scan.kernels["native"].why_not(a, b, h0):
        assert torch.equal(h, scan.reference(a.float(), b.float(), h0.float()).to(dtype))


def test_compiled_and_exported_programs_take_any_batch_and_length() -> None:
    class Scan(torch.nn.Module):
        def forward(self, a, b):
            return scan(a, b)

    sizes = {0: torch.export.Dim("B", min=1), 1: torch.export.Dim("T", min=1)}
    a, b, _ = draw(2, 9, 3, False, torch.float64)
    program = torch.export.export(Scan(), (a, b), dynamic_shapes=(sizes, sizes)).module()
    compiled = torch.compile(Scan(), backend="aot_eager", fullgraph=True, dynamic=True)
    for shape in ((2, 9, 3), (3, 14, 3)):
        arguments = draw(*shape, False, torch.float64)
        expected = results(scan.reference, arguments)
        torch.testing.assert_close(program(*arguments[:2]), expected[0])
        for x, y in zip(results(lambda a, b, _: compiled(a, b), arguments), expected, strict=True):
            torch.testing.assert_close(x, y)


@pytest.mark.parametrize(
    ("a", "b", "h0", "says"),
    [
        ((2, 3, 4), (2, 3, 5), None, r"one shape \(B, T, N\), got \(2, 3, 4\) and \(2, 3, 5\)"),
        ((2, 3), (2, 3), None, r"one shape \(B, T, N\)"),
        ((2, 3, 4), (2, 3, 4), (2, 5), r"h0 of shape \(B, N\) = \(2, 4\), got \(2, 5\)"),
    ],
)
@pytest.mark.parametrize("name", ["native", "blocked", "reference"])
def test_wrong_shapes_are_named(name, a, b, h0, says) -> None:
    function = scan.reference if name == "reference" else scan.kernels[name]
    with pytest.raises(ValueError, match=says):
        function(torch.ones(a), torch.ones(b), None if h0 is None else torch.ones(h0))


def test_mixed_types_are_named() -> None:
    with pytest.raises(ValueError, match=r"got torch.float32 and torch.float64: convert one"):
        scan(torch.ones(1, 2, 3), torch.ones(1, 2, 3).double())
