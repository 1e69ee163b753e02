"""The laws of the mixer contract as functions: `check_mixer(spec)` holds any mixer to all of them, yours too.

Each law raises AssertionError with what differs and by how much. Tolerances: float64 1e-9 (sums of some hundred
terms of size one leave about 1e-14); float32 2e-4 (the same sums leave about 1e-6, and a gradient through a dozen
steps some tens of times that).
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from seqloom.core.types import FRESH, fresh_place, leaves, locate, state_bytes, take, tree_map
from seqloom.lab.laws_tools import (
    BATCH,
    LENGTH,
    WIDTH,
    Outputs,
    build,
    claim,
    claim_all_equal,
    claim_equal,
    claim_told,
    folded,
    generator,
    go_on,
    gradients,
    leaf_mixers,
    make_input,
    on_ranks,
    paddings,
    run,
    segments,
    with_gradients,
)
from seqloom.model.mixer import MixerSpec

Law = Callable[[MixerSpec, torch.dtype], None]


def check_mixer(spec: MixerSpec, dtype: torch.dtype = torch.float64) -> None:
    """Hold a mixer to every law.

    Raises:
        AssertionError: a law is broken; the message names it.
    """
    for name, law in LAWS.items():
        try:
            law(spec, dtype)
        except AssertionError as error:
            raise AssertionError(f"{spec.name()} breaks the law {name}: {error}") from error


def fresh_equals_none(spec: MixerSpec, dtype: torch.dtype) -> None:
    """Prefill gives the outputs of training; no state is handed back unless asked for."""
    mixer, x = build(spec, dtype), make_input(dtype)
    y, nothing = mixer(x)
    claim(nothing is None, "state=None handed back a state")
    if mixer.causal:
        fresh, state = mixer(x, FRESH)
        claim_equal(fresh, y, "outputs of FRESH and None")
        for leaf in leaves(state):
            claim(leaf.shape[0] == BATCH, f"a state leaf of shape {tuple(leaf.shape)} is not batch first")
            claim(not leaf.is_floating_point() or leaf.itemsize >= 4, f"state in {leaf.dtype}, less than float32")


def no_state_without_causality(spec: MixerSpec, dtype: torch.dtype) -> None:
    """A mixer that sees the future refuses a state."""
    mixer = build(spec, dtype)
    if not mixer.causal:
        try:
            mixer(make_input(dtype), FRESH)
        except ValueError:
            return
        raise AssertionError("it sees the future and took a state")


def split_anywhere_equals_whole(spec: MixerSpec, dtype: torch.dtype) -> None:
    """Any cuts of time, single steps and empty chunks too, give the whole's outputs and gradients."""
    mixer = build(spec, dtype)
    if not mixer.causal:
        return
    for segment in (None, *segments()):
        x = make_input(dtype).requires_grad_()
        whole, grads = with_gradients(mixer, x, segment, [])
        for cuts in ([5], [0, 4, 4, 13], list(range(1, LENGTH))):
            parts, part_grads = with_gradients(mixer, x, segment, cuts)
            claim_equal(parts, whole, f"outputs cut at {cuts}")
            claim_all_equal(part_grads, grads, f"gradients cut at {cuts}")


def goes_on_without_where(spec: MixerSpec, dtype: torch.dtype) -> None:
    """Without `where` a state goes on as with it."""
    mixer, x = build(spec, dtype), make_input(dtype)
    if mixer.causal:
        whole, _ = mixer(x)
        first, state = mixer(x[:, :6], FRESH)
        second, _ = mixer(x[:, 6:], state)
        claim_equal(torch.cat([first, second], dim=1), whole, "outputs without where")


def empty_rows_are_empty(spec: MixerSpec, dtype: torch.dtype) -> None:
    """No rows and no steps are handled, also from a state."""
    mixer, x = build(spec, dtype), make_input(dtype)
    claim(mixer(x[:0])[0].shape == (0, LENGTH, WIDTH), "no rows")
    claim(mixer(x[:, :0])[0].shape == (BATCH, 0, WIDTH), "no steps")
    if mixer.causal:
        _, state = mixer(x[:, :0], FRESH)
        claim_equal(mixer(x, state)[0], mixer(x)[0], "outputs after an empty start")


def the_future_does_not_matter(spec: MixerSpec, dtype: torch.dtype) -> None:
    """A causal mixer's outputs do not change with later inputs."""
    mixer, x = build(spec, dtype), make_input(dtype)
    if mixer.causal:
        other = x.clone()
        other[:, 7:] += 1.0
        claim_equal(mixer(other)[0][:, :7], mixer(x)[0][:, :7], "outputs before a change of the future")


def documents_are_independent(spec: MixerSpec, dtype: torch.dtype) -> None:
    """Documents packed in one row give what each gives alone."""
    mixer, x = build(spec, dtype), make_input(dtype)
    segment = torch.tensor([[3] * 4 + [1] * 3 + [2] * 6] * BATCH)
    packed, _ = run(mixer, x, segment, [])
    for steps in (slice(0, 4), slice(4, 7), slice(7, 13)):
        alone, _ = run(mixer, x[:, steps], segment[:, steps], [])
        claim_equal(packed[:, steps], alone, f"outputs of the document at {steps}")


def padding_changes_nothing(spec: MixerSpec, dtype: torch.dtype) -> None:
    """Padding left, inside and right changes neither outputs nor what follows; gradients there are zero."""
    mixer, x = build(spec, dtype), make_input(dtype)
    alone, _ = mixer(x)
    for real in paddings():
        padded = torch.zeros(BATCH, real.shape[1], WIDTH, dtype=dtype)
        padded[:, real[0]] = x
        padded.requires_grad_()
        segment = real.long()
        y, _ = run(mixer, padded, segment, [])
        claim_equal(y[:, real[0]], alone, "outputs beside padding")
        claim(bool(y.isfinite().all()), "outputs at padding are not finite")
        (grad,) = torch.autograd.grad((y * segment[..., None]).sin().sum(), padded)
        claim(bool((grad[:, ~real[0]] == 0).all()), "a gradient reaches the padding")
        if mixer.causal:
            _, after = run(mixer, padded, segment, [], FRESH)
            _, after_alone = run(mixer, x, torch.ones(BATCH, LENGTH, dtype=torch.int64), [], FRESH)
            more = make_input(dtype, seed=7)
            claim_equal(go_on(mixer, more, after), go_on(mixer, more, after_alone), "what follows padding")


def rows_are_independent(spec: MixerSpec, dtype: torch.dtype) -> None:
    """A row alone gives what it gives among others; rows of a state can be taken, also twice."""
    mixer, x = build(spec, dtype), make_input(dtype)
    claim_equal(mixer(x[1:2])[0], mixer(x)[0][1:2], "a row alone")
    if mixer.causal:
        order = torch.tensor([2, 0, 2])
        _, state = mixer(x, FRESH)
        more = make_input(dtype, seed=7)
        claim_equal(mixer(more[order], take(state, order))[0], mixer(more, state)[0][order], "rows taken from a state")


def state_is_untouched(spec: MixerSpec, dtype: torch.dtype) -> None:
    """A call does not change the state that it is given."""
    mixer, x = build(spec, dtype), make_input(dtype)
    if mixer.causal:
        _, state = mixer(x, FRESH)
        kept = tree_map(lambda leaf: leaf.clone(), state)
        mixer(x, state)
        for before, after in zip(leaves(kept), leaves(state), strict=True):
            claim(torch.equal(before, after), "the state given was changed")


def gradients_are_right(spec: MixerSpec, dtype: torch.dtype) -> None:
    """Gradients equal finite differences (float64 only)."""
    if dtype != torch.float64:
        return
    mixer = build(spec, dtype)
    x = make_input(dtype)[:2, :5].clone().requires_grad_()
    segment = torch.tensor([[1, 1, 1, 0, 0], [0, 1, 1, 2, 2]])
    names, parameters = zip(*mixer.named_parameters(), strict=True)

    def outputs(inputs: Tensor, *values: Tensor) -> Tensor:
        where, _ = locate(segment, fresh_place(2), 2, 5)
        y, _ = functional_call(mixer, dict(zip(names, values, strict=True)), (inputs, None, where))
        return y * where.real[..., None]

    arguments = tuple(parameter.detach().clone().requires_grad_() for parameter in parameters)
    claim(torch.autograd.gradcheck(outputs, (x, *arguments), fast_mode=True), "gradcheck")


def cost_is_counted(spec: MixerSpec, dtype: torch.dtype) -> None:
    """`cost` gives the product FLOPs that a counter sees and the bytes that the state holds."""
    mixer, x = build(spec, dtype), make_input(dtype)
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        mixer(x)
    cost = mixer.cost(BATCH, LENGTH)
    claim(counter.get_total_flops() == cost.flops, f"{counter.get_total_flops()} FLOPs counted, {cost.flops} stated")
    if mixer.causal:
        _, state = mixer(x, FRESH)
        held = state_bytes(state)
        claim(held == cost.state_bytes, f"state holds {held} bytes, {cost.state_bytes} stated")


def tensor_split_equals_whole(spec: MixerSpec, dtype: torch.dtype) -> None:
    """Two ranks with the declared cuts of the parameters sum to the whole, with every gradient."""
    for mixer in leaf_mixers(build(spec, dtype)):
        named = {name for name, _ in [*mixer.named_parameters(), *mixer.named_buffers()]}
        claim(set(mixer.split) == named, "split does not name the parameters")
        x = make_input(dtype).requires_grad_()
        parameters = dict(mixer.named_parameters())
        targets = [x, *parameters.values()]
        whole = mixer(x)[0]
        parts = on_ranks(mixer, x, 2)
        claim_equal(parts, whole, "sum over two ranks")
        expected = torch.autograd.grad(whole.sin().sum(), targets)
        for name, part, grad in zip(
            ("x", *parameters), torch.autograd.grad(parts.sin().sum(), targets), expected, strict=True
        ):
            claim_equal(part, grad, f"gradient of {name} over two ranks")


def time_split_equals_whole(spec: MixerSpec, dtype: torch.dtype) -> None:
    """Edges and summaries of stretches, short and empty ones too, tell a fold mixer the states between them."""
    for mixer in leaf_mixers(build(spec, dtype)):
        if not mixer.causal or mixer.carry != "fold":
            continue
        for segment in (torch.ones(BATCH, LENGTH, dtype=torch.int64), *segments()):
            x, more = make_input(dtype), make_input(dtype, seed=7)
            where, place = locate(segment, fresh_place(BATCH), BATCH, LENGTH)
            _, before = mixer(x, FRESH, where)
            later, _ = locate(None, place, BATCH, LENGTH)
            _, expected = mixer(more, before, later)
            edged = mixer.advance_edge(before, mixer.edge(more, later))
            told = mixer.advance(edged, mixer.summary(more, later, before))
            claim_all_equal(leaves(told), leaves(expected), "folded states")
            claim_told(mixer, more, later, before)
            real = where.real[..., None]
            x = (x * real).requires_grad_()
            whole, after = mixer(x, FRESH, where)
            grads = gradients(mixer, x, whole * real)
            for cuts in ([], [6], [1, 3, 4, 4, 9]):
                y, state = folded(mixer, x, where, cuts)
                claim_equal(y * real, whole * real, f"outputs folded at {cuts}")
                claim_all_equal(leaves(state), leaves(after), f"states folded at {cuts}")
                claim_all_equal(gradients(mixer, x, y * real), grads, f"gradients folded at {cuts}")


def spec_round_trips(spec: MixerSpec, dtype: torch.dtype) -> None:
    """Spec -> JSON -> Spec is the same value, hash and digest, and builds the same parameters."""
    again = MixerSpec.from_json(spec.to_json())
    claim(again == spec and hash(again) == hash(spec) and again.digest() == spec.digest(), "it comes back another")
    shapes = {name: value.shape for name, value in spec.build(WIDTH).state_dict().items()}
    claim(shapes == {name: value.shape for name, value in again.build(WIDTH).state_dict().items()}, "other parameters")


def compiles_and_exports(spec: MixerSpec, dtype: torch.dtype) -> None:
    """One graph without breaks serves any batch and length, in training and exported."""
    mixer = Outputs(build(spec, dtype))
    torch.compiler.reset()
    compiled = torch.compile(mixer, fullgraph=True, dynamic=True, backend="aot_eager")
    for batch, length in ((3, 13), (2, 9), (4, 20)):
        x = torch.randn(batch, length, WIDTH, dtype=dtype, generator=generator(batch)).requires_grad_()
        y, expected = compiled(x), mixer(x)
        claim_equal(y, expected, "compiled outputs")
        grads = [torch.autograd.grad(out.sin().sum(), x)[0] for out in (y, expected)]
        claim_equal(grads[0], grads[1], "compiled gradients")
    dims = {0: torch.export.Dim("batch", min=2), 1: torch.export.Dim("length", min=2)}
    exported = torch.export.export(mixer, (make_input(dtype),), dynamic_shapes=(dims,)).module()
    for batch, length in ((2, 9), (4, 20)):
        x = torch.randn(batch, length, WIDTH, dtype=dtype, generator=generator(batch))
        claim_equal(exported(x), mixer(x), "exported outputs")


LAWS: dict[str, Law] = {
    law.__name__: law
    for law in (
        fresh_equals_none,
        no_state_without_causality,
        split_anywhere_equals_whole,
        goes_on_without_where,
        empty_rows_are_empty,
        the_future_does_not_matter,
        documents_are_independent,
        padding_changes_nothing,
        rows_are_independent,
        state_is_untouched,
        gradients_are_right,
        cost_is_counted,
        tensor_split_equals_whole,
        time_split_equals_whole,
        spec_round_trips,
        compiles_and_exports,
    )
}
