"""What the laws are checked with: a mixer and its inputs from fixed seeds, runs in pieces and over ranks, claims."""

import copy
import functools
import itertools
import threading
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from seqloom.core.cost import Cost
from seqloom.core.types import FRESH, Place, State, Where, fresh_place, leaves, locate
from seqloom.model.mixer import Memory, MixerSpec, SequenceMixer
from seqloom.ops.recurrence import gathered_by
from seqloom.parallel.tensor import cut

TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-4}  # why so much: see laws.py
WIDTH, BATCH, LENGTH = 8, 3, 13


class Outputs(nn.Module):
    """A mixer as compilers and exporters take it: outputs only."""

    def __init__(self, mixer: SequenceMixer) -> None:
        super().__init__()
        self.mixer = mixer

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, D)."""
        return self.mixer(x)[0]


def generator(seed: int) -> torch.Generator:
    """Return a generator of random numbers from a seed."""
    return torch.Generator().manual_seed(seed)


def build(spec: MixerSpec, dtype: torch.dtype) -> SequenceMixer:
    """Return the mixer, the same at every call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        mixer = spec.build(WIDTH).to(dtype)
    return Reading(mixer, dtype) if mixer.reads else mixer


class Reading(SequenceMixer):
    """A mixer that reads a memory, given the same one at every beginning: an entry or two for every document."""

    def __init__(self, mixer: SequenceMixer, dtype: torch.dtype) -> None:
        super().__init__()
        self.mixer = mixer
        self.causal = mixer.causal
        self.register_buffer("entries", torch.randn(LENGTH, WIDTH, dtype=dtype, generator=generator(3)))
        self.register_buffer("ids", torch.tensor([1, 1, 3, 2, 2, 4, 5, 5, 3, 7, 7, 0, 1]))
        self.split = {
            "entries": "copy",
            "ids": "copy",
            **{f"mixer.{name}": how for name, how in mixer.split.items()},
        }

    def forward(self, x: Tensor, state: State | None = None, where: Where | None = None) -> tuple[Tensor, State | None]:
        """Mix along time, handing over the memory unless a state holds it."""
        if state:
            return self.mixer(x, state, where)
        entries, ids = (
            self.get_buffer(name).expand(x.shape[0], *(-1,) * n) for name, n in (("entries", 2), ("ids", 1))
        )
        return self.mixer(x, state, where, Memory(entries, ids))

    def cost(self, batch: int, length: int) -> Cost:
        """Return the mixer's."""
        return self.mixer.cost(batch, length)


def make_input(dtype: torch.dtype, seed: int = 1) -> Tensor:
    """Return an input (B, T, D)."""
    return torch.randn(BATCH, LENGTH, WIDTH, dtype=dtype, generator=generator(seed))


def segments() -> list[Tensor]:
    """Documents and padding in every arrangement: behind, in front, inside, an empty row."""
    return [
        torch.tensor([[1] * 13, [1] * 9 + [0] * 4, [2] * 2 + [0] * 11]),
        torch.tensor([[1] * 5 + [2] * 8, [0] * 3 + [5] * 4 + [0] * 2 + [5] * 2 + [7] * 2, [0] * 13]),
    ]


def paddings() -> list[Tensor]:
    """Masks (B, T'), the same for all rows, with LENGTH real steps each."""
    layouts = ([0, 0, *[1] * 13], [*[1] * 13, 0, 0, 0], [*[1] * 6, 0, 0, *[1] * 7], [0, *[1] * 4, 0, *[1] * 9, 0])
    return [torch.tensor([layout] * BATCH, dtype=torch.bool) for layout in layouts]


def run(
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


def go_on(mixer: SequenceMixer, x: Tensor, after: tuple[Place, State | None]) -> Tensor:
    """Return the outputs that follow what `run` handed back."""
    where, _ = locate(None, after[0], x.shape[0], x.shape[1])
    return mixer(x, after[1], where)[0]


def with_gradients(
    mixer: SequenceMixer, x: Tensor, segment: Tensor | None, cuts: list[int]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return outputs, and the gradients of the input and of every parameter, with time cut or whole."""
    real = torch.ones(x.shape[:2]) if segment is None else segment != 0
    y, _ = run(mixer, x * real[..., None].to(x.dtype), segment, cuts)
    y = y * real[..., None]
    return y.detach(), gradients(mixer, x, y)


def gradients(mixer: SequenceMixer, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    """Return the gradients of the input and of every parameter, of a sum over what the outputs become."""
    return torch.autograd.grad(y.sin().sum(), [x, *mixer.parameters()])


def folded(mixer: SequenceMixer, x: Tensor, where: Where, cuts: list[int]) -> tuple[Tensor, State]:
    """Return the outputs and the state at the end, each stretch begun from what those before it tell."""
    spans = [slice(*ends) for ends in itertools.pairwise([0, *cuts, x.shape[1]])]
    pieces = [(x[:, span], where.select(span)) for span in spans]
    edges = [mixer.edge(*piece) for piece in pieces]
    begun = [functools.reduce(mixer.advance_edge, edges[:n], FRESH) for n in range(len(edges) + 1)]
    summaries = [mixer.summary(*piece, before) for piece, before in zip(pieces, begun, strict=False)]
    states = [functools.reduce(mixer.advance, summaries[:n], before) for n, before in enumerate(begun)]
    outputs = [mixer(piece, state, place)[0] for (piece, place), state in zip(pieces, states, strict=False)]
    return torch.cat(outputs, dim=1), states[-1]


def leaf_mixers(mixer: SequenceMixer) -> list[SequenceMixer]:
    """Return the mixers that hold no other mixer: those declare, wrappers need not."""
    if isinstance(mixer, Reading):
        return [mixer]
    found = [part for part in mixer.modules() if isinstance(part, SequenceMixer)]
    return [part for part in found if sum(isinstance(inner, SequenceMixer) for inner in part.modules()) == 1]


def on_ranks(mixer: SequenceMixer, x: Tensor, ranks: int) -> Tensor:
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
            whole = dict(mixer.named_parameters()) | dict(mixer.named_buffers())
            local = {name: cut(tensor, mixer.split[name], rank, ranks) for name, tensor in whole.items()}
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
    claim(all(output is not None for output in outputs), "a rank failed")
    return functools.reduce(torch.add, outputs)


def claim(holds: bool, what: str) -> None:
    """Raise AssertionError unless something holds."""
    if not holds:
        raise AssertionError(what)


def claim_equal(given: Tensor, expected: Tensor, what: str) -> None:
    """Raise AssertionError unless tensors agree within the tolerance of their type."""
    claim(given.shape == expected.shape, f"{what}: shape {tuple(given.shape)}, not {tuple(expected.shape)}")
    if given.numel():
        scale = max(1.0, expected.detach().abs().max().item())
        given, expected = given.detach(), expected.detach()
        wide = torch.promote_types(expected.dtype, torch.float64)
        error = (given.to(wide) - expected.to(wide)).abs().max().item() / scale
        claim(error <= TOLERANCE.get(expected.real.dtype, 1e-9), f"{what} differ by {error:.1e}")


def claim_all_equal(given: Sequence[Tensor], expected: Sequence[Tensor], what: str) -> None:
    """Raise AssertionError unless there are as many, and each agrees as in `claim_equal`."""
    claim(len(given) == len(expected), f"{what}: {len(given)}, not {len(expected)}")
    for one, other in zip(given, expected, strict=True):
        claim_equal(one, other, what)


def claim_told(mixer: SequenceMixer, x: Tensor, where: Where, state: State) -> None:
    """Hold `folded`: it tells the stretch's summary, and goes on from the state that it is answered."""
    said: list[State] = []

    def tell(summary: State) -> State:
        said.append(summary)
        return state

    y = mixer.folded(x, where, state, tell)
    claim_equal(y, mixer(x, state, where)[0], "outputs of a stretch that is told its state")
    claim_all_equal(leaves(said[0]), leaves(mixer.summary(x, where, state)), "the summary that is told")
