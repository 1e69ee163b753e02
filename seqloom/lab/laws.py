"""The laws of the mixer contract as functions: `check_mixer(spec)` holds any mixer to all of them, yours too.

Each law raises AssertionError with what differs and by how much. Tolerances: float64 1e-9 (sums of some hundred
terms of size one leave about 1e-14); float32 2e-4 (the same sums leave about 1e-6, and a gradient through a dozen
steps some tens of times that).
"""

import copy
import functools
import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from seqloom.core.types import FRESH, Place, State, fresh_place, leaves, locate, state_bytes, take, tree_map
from seqloom.model.mixer import Cut, MixerSpec, SequenceMixer
from seqloom.ops.recurrence import gathered_by

TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-4}
WIDTH, BATCH, LENGTH = 8, 3, 13

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
    mixer, x = _build(spec, dtype), _input(dtype)
    y, nothing = mixer(x)
    _claim(nothing is None, "state=None handed back a state")
    if mixer.causal:
        fresh, state = mixer(x, FRESH)
        _equal(fresh, y, "outputs of FRESH and None")
        for leaf in leaves(state):
            _claim(leaf.shape[0] == BATCH, f"a state leaf of shape {tuple(leaf.shape)} is not batch first")
            _claim(not leaf.is_floating_point() or leaf.itemsize >= 4, f"state in {leaf.dtype}, less than float32")


def no_state_without_causality(spec: MixerSpec, dtype: torch.dtype) -> None:
    """A mixer that sees the future refuses a state."""
    mixer = _build(spec, dtype)
    if not mixer.causal:
        try:
            mixer(_input(dtype), FRESH)
        except ValueError:
            return
        raise AssertionError("it sees the future and took a state")


def split_anywhere_equals_whole(spec: MixerSpec, dtype: torch.dtype) -> None:
    """Any cuts of time, single steps and empty chunks too, give the whole's outputs and gradients."""
    mixer = _build(spec, dtype)
    if not mixer.causal:
        return
    for segment in (None, *_segments()):
        x = _input(dtype).requires_grad_()
        whole, grads = _with_gradients(mixer, x, segment, [])
        for cuts in ([5], [0, 4, 4, 13], list(range(1, LENGTH))):
            parts, part_grads = _with_gradients(mixer, x, segment, cuts)
            _equal(parts, whole, f"outputs cut at {cuts}")
            for part, grad in zip(part_grads, grads, strict=True):
                _equal(part, grad, f"gradients cut at {cuts}")


def goes_on_without_where(spec: MixerSpec, dtype: torch.dtype) -> None:
    """Without `where` a state goes on as with it."""
    mixer, x = _build(spec, dtype), _input(dtype)
    if mixer.causal:
        whole, _ = mixer(x)
        first, state = mixer(x[:, :6], FRESH)
        second, _ = mixer(x[:, 6:], state)
        _equal(torch.cat([first, second], dim=1), whole, "outputs without where")


def empty_rows_are_empty(spec: MixerSpec, dtype: torch.dtype) -> None:
    """No rows and no steps are handled, also from a state."""
    mixer, x = _build(spec, dtype), _input(dtype)
    _claim(mixer(x[:0])[0].shape == (0, LENGTH, WIDTH), "no rows")
    _claim(mixer(x[:, :0])[0].shape == (BATCH, 0, WIDTH), "no steps")
    if mixer.causal:
        _, state = mixer(x[:, :0], FRESH)
        _equal(mixer(x, state)[0], mixer(x)[0], "outputs after an empty start")


def the_future_does_not_matter(spec: MixerSpec, dtype: torch.dtype) -> None:
    """A causal mixer's outputs do not change with later inputs."""
    mixer, x = _build(spec, dtype), _input(dtype)
    if mixer.causal:
        other = x.clone()
        other[:, 7:] += 1.0
        _equal(mixer(other)[0][:, :7], mixer(x)[0][:, :7], "outputs before a change of the future")


def documents_are_independent(spec: MixerSpec, dtype: torch.dtype) -> None:
    """Documents packed in one row give what each gives alone."""
    mixer, x = _build(spec, dtype), _input(dtype)
    segment = torch.tensor([[3] * 4 + [1] * 3 + [2] * 6] * BATCH)
    packed, _ = _run(mixer, x, segment, [])
    for steps in (slice(0, 4), slice(4, 7), slice(7, 13)):
        _equal(packed[:, steps], mixer(x[:, steps])[0], f"outputs of the document at {steps}")


def padding_changes_nothing(spec: MixerSpec, dtype: torch.dtype) -> None:
    """Padding left, inside and right changes neither outputs nor what follows; gradients there are zero."""
    mixer, x = _build(spec, dtype), _input(dtype)
    alone, _ = mixer(x)
    for real in _paddings():
        padded = torch.zeros(BATCH, real.shape[1], WIDTH, dtype=dtype)
        padded[:, real[0]] = x
        padded.requires_grad_()
        segment = real.long()
        y, _ = _run(mixer, padded, segment, [])
        _equal(y[:, real[0]], alone, "outputs beside padding")
        _claim(bool(y.isfinite().all()), "outputs at padding are not finite")
        (grad,) = torch.autograd.grad((y * segment[..., None]).sin().sum(), padded)
        _claim(bool((grad[:, ~real[0]] == 0).all()), "a gradient reaches the padding")
        if mixer.causal:
            _, after = _run(mixer, padded, segment, [], FRESH)
            _, after_alone = _run(mixer, x, torch.ones(BATCH, LENGTH, dtype=torch.int64), [], FRESH)
            more = _input(dtype, seed=7)
            _equal(_go_on(mixer, more, after), _go_on(mixer, more, after_alone), "what follows padding")


def rows_are_independent(spec: MixerSpec, dtype: torch.dtype) -> None:
    """A row alone gives what it gives among others; rows of a state can be taken, also twice."""
    mixer, x = _build(spec, dtype), _input(dtype)
    _equal(mixer(x[1:2])[0], mixer(x)[0][1:2], "a row alone")
    if mixer.causal:
        order = torch.tensor([2, 0, 2])
        _, state = mixer(x, FRESH)
        more = _input(dtype, seed=7)
        _equal(mixer(more[order], take(state, order))[0], mixer(more, state)[0][order], "rows taken from a state")


def state_is_untouched(spec: MixerSpec, dtype: torch.dtype) -> None:
    """A call does not change the state that it is given."""
    mixer, x = _build(spec, dtype), _input(dtype)
    if mixer.causal:
        _, state = mixer(x, FRESH)
        kept = tree_map(lambda leaf: leaf.clone(), state)
        mixer(x, state)
        for before, after in zip(leaves(kept), leaves(state), strict=True):
            _claim(torch.equal(before, after), "the state given was changed")


def gradients_are_right(spec: MixerSpec, dtype: torch.dtype) -> None:
    """Gradients equal finite differences (float64 only)."""
    if dtype != torch.float64:
        return
    mixer = _build(spec, dtype)
    x = _input(dtype)[:2, :5].clone().requires_grad_()
    segment = torch.tensor([[1, 1, 1, 0, 0], [0, 1, 1, 2, 2]])
    names, parameters = zip(*mixer.named_parameters(), strict=True)

    def run(inputs: Tensor, *values: Tensor) -> Tensor:
        where, _ = locate(segment, fresh_place(2), 2, 5)
        y, _ = functional_call(mixer, dict(zip(names, values, strict=True)), (inputs, None, where))
        return y * where.real[..., None]

    arguments = tuple(parameter.detach().clone().requires_grad_() for parameter in parameters)
    _claim(torch.autograd.gradcheck(run, (x, *arguments), fast_mode=True), "gradcheck")


def cost_is_counted(spec: MixerSpec, dtype: torch.dtype) -> None:
    """`cost` gives the product FLOPs that a counter sees and the bytes that the state holds."""
    mixer, x = _build(spec, dtype), _input(dtype)
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        mixer(x)
    cost = mixer.cost(BATCH, LENGTH)
    _claim(counter.get_total_flops() == cost.flops, f"{counter.get_total_flops()} FLOPs counted, {cost.flops} stated")
    if mixer.causal:
        _, state = mixer(x, FRESH)
        held = state_bytes(state)
        _claim(held == cost.state_bytes, f"state holds {held} bytes, {cost.state_bytes} stated")


def tensor_split_equals_whole(spec: MixerSpec, dtype: torch.dtype) -> None:
    """Two ranks with the declared cuts of the parameters sum to the whole, with every gradient."""
    for mixer in _leaf_mixers(_build(spec, dtype)):
        _claim(set(mixer.split) == {name for name, _ in mixer.named_parameters()}, "split does not name the parameters")
        x = _input(dtype).requires_grad_()
        parameters = dict(mixer.named_parameters())
        targets = [x, *parameters.values()]
        whole = mixer(x)[0]
        parts = _on_ranks(mixer, x, 2)
        _equal(parts, whole, "sum over two ranks")
        expected = torch.autograd.grad(whole.sin().sum(), targets)
        for name, part, grad in zip(
            ("x", *parameters), torch.autograd.grad(parts.sin().sum(), targets), expected, strict=True
        ):
            _equal(part, grad, f"gradient of {name} over two ranks")


def time_split_equals_whole(spec: MixerSpec, dtype: torch.dtype) -> None:
    """A fold mixer's state after a stretch is `advance` of the state before it by the stretch's summary."""
    for mixer in _leaf_mixers(_build(spec, dtype)):
        if not mixer.causal or mixer.carry != "fold":
            continue
        for segment in (torch.ones(BATCH, LENGTH, dtype=torch.int64), *_segments()):
            x, more = _input(dtype), _input(dtype, seed=7)
            where, place = locate(segment, fresh_place(BATCH), BATCH, LENGTH)
            _, before = mixer(x, FRESH, where)
            later, _ = locate(None, place, BATCH, LENGTH)
            _, expected = mixer(more, before, later)
            folded = mixer.advance(before, mixer.summary(more, later))
            for part, leaf in zip(leaves(folded), leaves(expected), strict=True):
                _equal(part, leaf, "folded state")
            begun = mixer.advance(FRESH, mixer.summary(x, where))
            for part, leaf in zip(leaves(begun), leaves(before), strict=True):
                _equal(part, leaf, "folded first state")


def spec_round_trips(spec: MixerSpec, dtype: torch.dtype) -> None:
    """Spec -> JSON -> Spec is the same value, hash and digest, and builds the same parameters."""
    again = MixerSpec.from_json(spec.to_json())
    _claim(again == spec and hash(again) == hash(spec) and again.digest() == spec.digest(), "it comes back another")
    shapes = {name: value.shape for name, value in spec.build(WIDTH).state_dict().items()}
    _claim(shapes == {name: value.shape for name, value in again.build(WIDTH).state_dict().items()}, "other parameters")


def compiles_and_exports(spec: MixerSpec, dtype: torch.dtype) -> None:
    """One graph without breaks serves any batch and length, in training and exported."""
    mixer = _Outputs(_build(spec, dtype))
    torch.compiler.reset()
    compiled = torch.compile(mixer, fullgraph=True, dynamic=True, backend="aot_eager")
    for batch, length in ((3, 13), (2, 9), (4, 20)):
        x = torch.randn(batch, length, WIDTH, dtype=dtype, generator=_generator(batch)).requires_grad_()
        y, expected = compiled(x), mixer(x)
        _equal(y, expected, "compiled outputs")
        grads = [torch.autograd.grad(out.sin().sum(), x)[0] for out in (y, expected)]
        _equal(grads[0], grads[1], "compiled gradients")
    dims = {0: torch.export.Dim("batch", min=2), 1: torch.export.Dim("length", min=2)}
    exported = torch.export.export(mixer, (_input(dtype),), dynamic_shapes=(dims,)).module()
    for batch, length in ((2, 9), (4, 20)):
        x = torch.randn(batch, length, WIDTH, dtype=dtype, generator=_generator(batch))
        _equal(exported(x), mixer(x), "exported outputs")


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


class _Outputs(nn.Module):
    def __init__(self, mixer: SequenceMixer) -> None:
        super().__init__()
        self.mixer = mixer

    def forward(self, x: Tensor) -> Tensor:
        return self.mixer(x)[0]


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _build(spec: MixerSpec, dtype: torch.dtype) -> SequenceMixer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return spec.build(WIDTH).to(dtype)


def _input(dtype: torch.dtype, seed: int = 1) -> Tensor:
    return torch.randn(BATCH, LENGTH, WIDTH, dtype=dtype, generator=_generator(seed))


def _segments() -> list[Tensor]:
    """Documents and padding in every arrangement: behind, in front, inside, an empty row."""
    return [
        torch.tensor([[1] * 13, [1] * 9 + [0] * 4, [2] * 2 + [0] * 11]),
        torch.tensor([[1] * 5 + [2] * 8, [0] * 3 + [5] * 4 + [0] * 2 + [5] * 2 + [7] * 2, [0] * 13]),
    ]


def _paddings() -> list[Tensor]:
    """Masks (B, T'), the same for all rows, with LENGTH real steps each."""
    layouts = ([0, 0, *[1] * 13], [*[1] * 13, 0, 0, 0], [*[1] * 6, 0, 0, *[1] * 7], [0, *[1] * 4, 0, *[1] * 9, 0])
    return [torch.tensor([layout] * BATCH, dtype=torch.bool) for layout in layouts]


def _run(
    mixer: SequenceMixer, x: Tensor, segment: Tensor | None, cuts: list[int], state: State | None = None
) -> tuple[Tensor, tuple[Place, State | None]]:
    """Run through the Model's door, in one piece or cut; (outputs, (place, state))."""
    place = fresh_place(x.shape[0])
    outputs: list[Tensor] = []
    edges = [0, *cuts, x.shape[1]]
    if cuts:
        state = FRESH
    if segment is not None and not x.requires_grad:
        x = x * (segment != 0)[..., None]  # as frontends do
    for begin, end in zip(edges, edges[1:], strict=False):
        piece = None if segment is None else segment[:, begin:end]
        where, place = locate(piece, place, x.shape[0], end - begin)
        y, state = mixer(x[:, begin:end], state, where)
        outputs.append(y)
    return torch.cat(outputs, dim=1), (place, state)


def _go_on(mixer: SequenceMixer, x: Tensor, after: tuple[Place, State | None]) -> Tensor:
    where, _ = locate(None, after[0], x.shape[0], x.shape[1])
    return mixer(x, after[1], where)[0]


def _with_gradients(
    mixer: SequenceMixer, x: Tensor, segment: Tensor | None, cuts: list[int]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    real = torch.ones(x.shape[:2]) if segment is None else segment != 0
    y, _ = _run(mixer, x * real[..., None].to(x.dtype), segment, cuts)
    y = y * real[..., None]
    targets = [x, *mixer.parameters()]
    return y.detach(), torch.autograd.grad(y.sin().sum(), targets)


def _leaf_mixers(mixer: SequenceMixer) -> list[SequenceMixer]:
    """Return the mixers that hold no other mixer: those declare, wrappers need not."""
    found = [part for part in mixer.modules() if isinstance(part, SequenceMixer)]
    return [part for part in found if sum(isinstance(inner, SequenceMixer) for inner in part.modules()) == 1]


def _cut(parameter: Tensor, how: Cut | str, rank: int, ranks: int) -> Tensor:
    if how == "copy":
        return parameter
    if how == "once":
        return parameter if rank == 0 else torch.zeros_like(parameter)
    assert isinstance(how, Cut)
    parts = parameter.unflatten(how.dim, (how.parts, -1))
    return parts.chunk(ranks, dim=how.dim + 1)[rank].flatten(how.dim, how.dim + 1)


def _on_ranks(mixer: SequenceMixer, x: Tensor, ranks: int) -> Tensor:
    """Run each rank on its cut of the parameters in a thread of its own; the sum of their outputs."""
    slots: list[Any] = [None] * ranks
    outputs: list[Any] = [None] * ranks
    barrier = threading.Barrier(ranks)
    copies = [copy.deepcopy(mixer) for _ in range(ranks)]

    def work(rank: int) -> None:
        def gather(part: Tensor) -> Tensor:
            slots[rank] = part
            barrier.wait()
            whole = torch.cat(slots, dim=1)
            barrier.wait()
            return whole

        try:
            local = {name: _cut(p, mixer.split[name], rank, ranks) for name, p in mixer.named_parameters()}
            with gathered_by(gather):
                outputs[rank] = functional_call(copies[rank], local, (x,))[0]
        except BaseException:
            barrier.abort()
            raise

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _claim(all(output is not None for output in outputs), "a rank failed")
    return functools.reduce(torch.add, outputs)


def _claim(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(what)


def _equal(given: Tensor, expected: Tensor, what: str) -> None:
    _claim(given.shape == expected.shape, f"{what}: shape {tuple(given.shape)}, not {tuple(expected.shape)}")
    if given.numel():
        scale = max(1.0, expected.detach().abs().max().item())
        error = (given.detach().double() - expected.detach().double()).abs().max().item() / scale
        _claim(error <= TOLERANCE.get(expected.dtype, 1e-9), f"{what} differ by {error:.1e}")
