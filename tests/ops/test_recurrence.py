"""Every kernel of the recurrence equals the reference in float64, in value and every gradient, for every input."""

import contextlib

import hypothesis
import pytest
import torch
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_padded_sequence

from seqloom.core.types import Where, fresh_place, locate
from seqloom.ops import recurrence, use
from seqloom.ops.recurrence import CELLS, Packed, Weights

LENGTHS = [1, 2, 63, 65, 1000]
LAYOUTS = ["none", "tail", "mixed", "packed"]
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}  # relative to the largest element


def arguments(cell, length, layout="none", *, batch=3, width=4, hidden=5, state=True, bias=True, reverse=False):
    """Return the arguments of the op in float64."""
    g = torch.Generator().manual_seed(length + hidden)
    gates, states = CELLS[cell].gates, CELLS[cell].states

    def make(*shape):
        return (0.5 * torch.randn(*shape, dtype=torch.float64, generator=g)).requires_grad_()

    x = make(batch, length, width)
    biases = (make(gates * hidden), make(gates * hidden)) if bias else (None, None)
    # a spectral radius of one half: a larger one would grow the rounding errors of 1000 steps, whatever the kernel
    inner = (make(gates * hidden, hidden).detach() / hidden**0.5).requires_grad_()
    weights = Weights(make(gates * hidden, width), inner, *biases)
    before = tuple(make(batch, hidden) for _ in range(states)) if state else ()
    where = None
    if layout in ("tail", "mixed"):
        segment = torch.ones(batch, length, dtype=torch.int64)
        segment[batch // 2, (length + 1) // 2 :] = 0 if layout == "tail" or reverse else 2
        if layout == "mixed":
            segment[-1, ::3] = 0
        where, _ = locate(segment, fresh_place(batch)._replace(id=segment.new_ones(batch)), batch, length)
    if layout == "packed":
        lengths = torch.linspace(max(length // 2, 1), length, batch).long().flip(0)
        packed = pack_padded_sequence(x.detach(), lengths, batch_first=True)
        x, where = packed.data.requires_grad_(), Packed(packed.batch_sizes)
    return (cell, x, weights, before, where, True, reverse)


def converted(given, dtype):
    def convert(tensor):
        return None if tensor is None else tensor.detach().to(dtype).requires_grad_()

    cell, x, weights, state, *rest = given
    return (cell, convert(x), Weights(*map(convert, weights)), tuple(map(convert, state)), *rest)


def outputs_and_gradients(function, given):
    y, state = function(*given)
    _, x, weights, before, where, *_ = given
    if isinstance(where, Where):
        y = torch.where(where.real[..., None], y, 0.0)
    wanted = [t for t in (x, *weights, *before) if t is not None]
    loss = (y * torch.arange(1, y.shape[-1] + 1)).sin().sum() + sum(s.square().sum() for s in state)
    return [y, *state, *torch.autograd.grad(loss, wanted)]


def check(name, given, dtype=torch.float64, kernel_arguments=None) -> None:
    """Compare a kernel, run in some type, with the reference in float64."""
    kernel = recurrence.kernels[name]
    own = kernel_arguments or converted(given, dtype)
    if reasons := kernel.why_not(*own):
        pytest.skip(" ".join(reasons))
    expected = outputs_and_gradients(recurrence.reference, given)
    for a, b in zip(outputs_and_gradients(kernel, own), expected, strict=True):
        assert a.dtype == dtype
        if b.numel():
            error = (a.double() - b).abs().max() / b.abs().max().clamp(min=1e-3)
            assert error <= TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", ["native", "loop"])
def test_a_kernel_equals_the_reference(name, cell, length, layout, dtype) -> None:
    if name == "loop" and dtype == torch.float32:
        pytest.skip("torch's operations in float32 are not ours to test")
    check(name, arguments(cell, length, layout, state=layout != "tail", bias=layout != "mixed"), dtype)


@pytest.mark.parametrize("length", [1, 65])
@pytest.mark.parametrize("cell", CELLS)
def test_torchs_kernel_equals_the_reference(cell, length) -> None:
    given = arguments(cell, length)
    reasons = recurrence.kernels["torch"].why_not(*given)
    assert reasons == ["On a CPU torch has a fused kernel only for the float32 LSTM."]
    expected = outputs_and_gradients(recurrence.reference, given)
    for a, b in zip(outputs_and_gradients(recurrence.kernels["torch"], given), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-11)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", ["native", "loop"])
def test_a_reversed_kernel_equals_the_reference(name, cell, layout) -> None:
    check(name, arguments(cell, 9, layout, reverse=True))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_reversed_is_the_reversed_sequence_of_each_row(layout) -> None:
    given = arguments("gru", 9, layout, reverse=True)
    cell, x, weights, state, where, last, _ = given
    y, after = recurrence(*given)
    for row in range(3):
        if isinstance(where, Packed):
            steps = [int(where.sizes[:t].sum()) + row for t, size in enumerate(where.sizes) if row < size]
            alone, result = x[steps][None], y[steps]
        else:
            real = slice(None) if where is None else where.real[row]
            alone, result = x[row][real][None], y[row][real]
        before = tuple(s[row : row + 1] for s in state)
        expected, expected_after = recurrence.reference(cell, alone.flip(1), weights, before, None, last)
        torch.testing.assert_close(result, expected[0].flip(0))
        torch.testing.assert_close(after[0][row], expected_after[0][0])


def test_a_document_that_begins_inside_a_row_cannot_be_reversed() -> None:
    where, _ = locate(torch.tensor([[1, 1, 2]]), fresh_place(1), 1, 3)
    cell, x, weights, *_ = arguments("gru", 3, batch=1)
    with pytest.raises(ValueError, match="each document its own row"):
        recurrence(cell, x, weights, (), where, True, True)


@pytest.mark.parametrize("cell", CELLS)
@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(
    st.integers(1, 9), st.integers(1, 20), st.integers(1, 40), st.integers(1, 70), st.sampled_from(LAYOUTS),
    st.booleans(), st.booleans(),
)  # fmt: skip
def test_the_native_kernel_equals_the_reference_for_any_shape(
    cell, batch, length, width, hidden, layout, state, reverse
) -> None:
    given = arguments(cell, length, layout, batch=batch, width=width, hidden=hidden, state=state, reverse=reverse)
    check("native", given, torch.float64)


@pytest.mark.parametrize("cell", CELLS)
def test_few_sequences_with_large_weights_are_shared_by_a_team(cell) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        check("native", arguments(cell, 7, "mixed", batch=2, width=150, hidden=230))
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("batch", [1, 2, 5, 33])
@pytest.mark.parametrize("cell", CELLS)
def test_the_number_of_threads_does_not_change_a_bit(cell, batch) -> None:
    given = converted(arguments(cell, 33, batch=batch, width=150, hidden=200), torch.float32)
    if reasons := recurrence.kernels["native"].why_not(*given):
        pytest.skip(" ".join(reasons))
    threads = torch.get_num_threads()
    try:
        results = []
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            results.append(outputs_and_gradients(recurrence.kernels["native"], given))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", ["native", "loop"])
def test_inputs_need_not_be_contiguous(name, cell) -> None:
    given = arguments(cell, 21, width=6, hidden=7)

    def turned(t):
        return t.detach().transpose(0, 1).contiguous().transpose(0, 1).requires_grad_()

    cell, x, weights, state, *rest = given
    wide = torch.cat([x, x], dim=2).detach()[:, :, :6].requires_grad_()
    for other in (turned(x), wide):
        w = Weights(turned(weights.ih), turned(weights.hh), *weights[2:])
        check(name, given, torch.float64, (cell, other, w, state, *rest))
    repeated = x[:1].detach().expand(3, -1, -1)
    same = (cell, repeated.contiguous(), weights, state, *rest)
    torch.testing.assert_close(recurrence(cell, repeated, weights, state, *rest)[0], recurrence(*same)[0])


@pytest.mark.parametrize("layout", ["none", "mixed", "packed"])
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_pass_gradcheck(cell, layout) -> None:
    cell, x, weights, state, where, *rest = arguments(cell, 4, layout, width=2, hidden=3)

    def run(x, ih, hh, b_ih, b_hh, *state):
        y, after = recurrence(cell, x, Weights(ih, hh, b_ih, b_hh), state, where, *rest)
        return (torch.where(where.real[..., None], y, 0.0) if isinstance(where, Where) else y, *after)

    # relu has a kink: away from it in this draw
    assert torch.autograd.gradcheck(run, (x, *weights, *state))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("cell", CELLS)
def test_narrow_types_are_computed_in_float32(cell, dtype) -> None:
    given = converted(arguments(cell, 30), dtype)
    state = tuple(s.float() for s in given[3])
    y, after = recurrence(cell, given[1], given[2], state, None, True)
    wide = [t.float() for t in given[2]]
    expected, expected_after = recurrence.reference(cell, given[1].float(), Weights(*wide), state, None, True)
    assert y.dtype == dtype and after[0].dtype == torch.float32
    # one rounding of the output: 8 bits in bfloat16; the loop, without the native kernel, rounds gates too
    torch.testing.assert_close(y.float(), expected, rtol=0, atol=0.03)
    torch.testing.assert_close(after[0], expected_after[0], rtol=0, atol=0.03)


@pytest.mark.parametrize("name", ["native", "loop"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("cell", CELLS)
def test_uninitialised_memory_is_never_read(cell, layout, name, monkeypatch) -> None:
    def poisoned(make):
        return lambda *args, **kwargs: make(*args, **kwargs).fill_(float("nan"))

    given = arguments(cell, 9, layout)
    if reasons := recurrence.kernels[name].why_not(*given):
        pytest.skip(" ".join(reasons))
    monkeypatch.setattr(torch.Tensor, "new_empty", poisoned(torch.Tensor.new_empty))
    monkeypatch.setattr(torch, "empty_like", poisoned(torch.empty_like))
    y, _ = recurrence.kernels[name](*given)
    assert y.isfinite().all()  # at padding too
    assert all(t.isfinite().all() for t in outputs_and_gradients(recurrence.kernels[name], given))


@pytest.mark.parametrize("cell", CELLS)
def test_no_steps_and_no_rows_hand_on_the_state(cell) -> None:
    for batch, length in ((2, 0), (0, 3)):
        given = arguments(cell, length, batch=batch)
        y, *state = outputs_and_gradients(recurrence, given)[: 1 + len(given[3])]
        assert y.shape == (batch, length, 5)
        assert all(torch.equal(a, b) for a, b in zip(state, given[3], strict=True))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_native_op_passes_the_checks_of_torch_library(layout) -> None:
    given = arguments("lstm", 9, layout)
    kernel = recurrence.kernels["native"]
    if reasons := kernel.why_not(*given):
        pytest.skip(" ".join(reasons))
    from seqloom.ops._slots import arrange

    rows, plan = arrange(given[1], given[4], False)
    first = torch.stack(given[3]).detach().requires_grad_()
    call = ("lstm", rows.detach().requires_grad_(), *given[2], first, *plan, True)
    results = torch.library.opcheck(torch.ops.seqloom.recurrence_native.default, call, raise_exception=False)
    assert set(results.values()) == {"SUCCESS"}, results


@pytest.mark.parametrize("name", ["recurrence", "recurrence_backward"])
def test_the_loops_ops_pass_the_checks_of_torch_library(name) -> None:
    cell, x, weights, state, where, *_ = arguments("lstm", 9, "mixed")
    gates = torch.nn.functional.linear(x.transpose(0, 1), weights.ih, weights.b_ih).detach().requires_grad_()
    first = torch.stack(state).detach().requires_grad_()
    given = (cell, gates, weights.hh, weights.b_hh, first, where.start, where.real)
    if name == "recurrence_backward":
        states, saved = torch.ops.seqloom.recurrence(*given)
        grads = torch.ones_like(states)
        given = (cell, grads, weights.hh.detach(), states.detach(), saved.detach(), where.start, where.real)
    results = torch.library.opcheck(getattr(torch.ops.seqloom, name).default, given, raise_exception=False)
    assert set(results.values()) == {"SUCCESS"}, results


@pytest.mark.parametrize("name", ["native", "loop"])
@pytest.mark.parametrize("cell", CELLS)
def test_second_derivatives_of_a_recurrence_need_the_reference(cell, name) -> None:
    given = arguments(cell, 5, "mixed")
    if reasons := recurrence.kernels[name].why_not(*given):
        pytest.skip(" ".join(reasons))
    x = given[1]

    def slope() -> torch.Tensor:
        y, _ = recurrence(*given)
        (first,) = torch.autograd.grad(y.sin().sum(), x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), x)[0]

    with use(recurrence=name), pytest.raises(RuntimeError, match=r'use\(recurrence="reference"\)'):
        slope()
    with use(recurrence="reference"):
        assert slope().abs().sum() > 0


def test_functorch_sees_the_reference() -> None:
    cell, x, weights, state, *rest = arguments("gru", 6)
    detached = Weights(*(w.detach() for w in weights))
    jvp = torch.func.jvp(lambda x: recurrence(cell, x, detached, (), *rest)[0], (x.detach(),), (torch.ones_like(x),))
    assert jvp[1].abs().sum() > 0


def test_a_forced_kernel_that_cannot_run_says_why() -> None:
    given = arguments("gru", 9, "mixed")
    with use(recurrence="torch"), pytest.raises(ValueError, match="knows neither documents nor padding"):
        recurrence(*given)
    with pytest.raises(ValueError, match="Did you mean 'recurrence'"), use(recurence="loop"):
        pass


def test_mixed_types_are_refused_by_whatever_would_run() -> None:
    cell, x, *rest = arguments("gru", 3)
    with pytest.raises(RuntimeError, match="dtype"):
        recurrence(cell, x.float(), *rest)


@pytest.mark.parametrize("forced", [None, "loop"])
def test_compiled_and_exported_programs_take_any_batch_and_length(forced) -> None:
    cell, x, weights, *_ = arguments("gru", 5, batch=2)
    weights = Weights(*(w.detach() for w in weights))

    class Layer(torch.nn.Module):
        def forward(self, x):
            return recurrence(cell, x, weights, (), None, True)[0]

    sizes = {0: torch.export.Dim("B", min=1), 1: torch.export.Dim("T", min=1)}
    with use(recurrence=forced) if forced else contextlib.nullcontext():
        program = torch.export.export(Layer(), (x.detach(),), dynamic_shapes=({**sizes},)).module()
    ops = [str(node.target) for node in program.graph.nodes if "seqloom" in str(node.target)]
    assert len(ops) == 1
    for batch, length in ((2, 5), (3, 8)):
        given = torch.randn(batch, length, 4, dtype=torch.float64)
        torch.testing.assert_close(program(given), recurrence.reference(cell, given, weights, (), None, True)[0])
