"""Local SGD: replicas learn apart on their shares of a batch's rows, and are then averaged.

It is part of the experiment and not of a plan, since it changes what is learnt. One process plays the replicas in turn;
under a plan with as many of `data` each has a process, and what is learnt is the same.
"""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from seqloom.data.batches import Examples
from seqloom.parallel._door import Axis
from seqloom.parallel.data import sum_tensors
from seqloom.train.experiment import Optimizer

State = list[tuple[Tensor, dict[str, Tensor]]]  # of each parameter that learns: its numbers, the optimizer's


class Learns(Protocol):
    """What takes local SGD's steps, one replica at a time."""

    settings: Optimizer
    optimizer: torch.optim.AdamW
    copies: Axis

    def moved(self, examples: Examples, rows: np.ndarray, rate: float) -> tuple[float, float]:
        """Move the weights along the gradient of some rows."""
        ...


def together(learns: Learns, examples: Examples, rows: np.ndarray, rate: float) -> tuple[float, float]:
    """Take a round: each replica its local steps from the same weights, and then the mean of all.

    Averaged are the weights and both moments of AdamW, so that between rounds all replicas are one and a checkpoint is
    that of a single model: three times the bytes of a gradient, once a round. A batch of fewer rows than replicas gives
    some of its rows to more than one.

    Args:
        learns: at the same weights on all processes.
        examples: from which rows are taken.
        rows: of the round.
        rate: of learning.

    Returns:
        (mean loss, mean norm of the gradients before clipping) of all local steps; if one is not finite, all is as it
        was before the round.

    Complexity: work that of the local steps; memory up to three more copies of weights and moments.

    Source: Stich 2019, arXiv 1805.09767 (local SGD); Wang et al. 2020, arXiv 1910.00643 (what becomes of the moments).
    """
    settings, copies = learns.settings, learns.copies
    before, mean = _state(learns.optimizer), None
    found: list[tuple[float, float]] = []
    for replica in range(settings.replicas) if copies.size == 1 else (copies.index,):
        _restore(learns.optimizer, before)
        for piece in pieces(rows, replica, settings):
            found.append(learns.moved(examples, piece, rate))
            if not np.isfinite(found[-1]).all():
                break
        mean = _added(mean, _state(learns.optimizer), settings.replicas)
    values = copies.sum(torch.tensor(found, dtype=torch.float64).mean(dim=0)) / copies.size
    loss, norm = values.tolist()
    if not np.isfinite((loss, norm)).all():
        _restore(learns.optimizer, before)
        return loss, norm
    assert mean is not None
    sum_tensors([t for number, kept in mean for t in (number, *_floats(kept))], copies)
    _restore(learns.optimizer, mean)
    return loss, norm


def pieces(rows: np.ndarray, replica: int, settings: Optimizer) -> list[np.ndarray]:
    """Return the rows of each local step of a replica; of as many steps as any other replica takes."""
    steps = max(min(settings.local_steps, len(rows) // settings.replicas), 1)
    mine = np.array_split(rows, settings.replicas)[replica]
    return np.array_split(mine if len(mine) else rows[replica % len(rows)][None], steps)


def beside_bytes(learns: Learns) -> int:
    """Return the bytes that a round holds while a replica learns: where it began, and the mean so far."""
    held = sum(
        tensor.numel() * tensor.element_size()
        for parameter in _learning(learns.optimizer)
        for tensor in (parameter, *learns.optimizer.state.get(parameter, {}).values())
    )
    replicas = learns.settings.replicas
    return 0 if replicas == 1 else held * (2 if learns.copies.size == 1 else 1)


def _state(optimizer: torch.optim.Optimizer) -> State:
    return [
        (p.detach().clone(), {slot: tensor.clone() for slot, tensor in optimizer.state.get(p, {}).items()})
        for p in _learning(optimizer)
    ]


def _restore(optimizer: torch.optim.Optimizer, state: State) -> None:
    with torch.no_grad():
        for parameter, (numbers, kept) in zip(_learning(optimizer), state, strict=True):
            parameter.copy_(numbers)
            optimizer.state.pop(parameter, None)
            if kept:
                optimizer.state[parameter] = {slot: tensor.clone() for slot, tensor in kept.items()}


def _added(mean: State | None, state: State, replicas: int) -> State:
    """Return the part of a mean over replicas with one more of them; counts of steps are as they are."""
    for number, (numbers, kept) in enumerate(state):
        for place, tensor in enumerate((numbers, *_floats(kept))):
            tensor /= replicas
            if mean is not None:
                tensor += (mean[number][0], *_floats(mean[number][1]))[place]
    return state


def _floats(kept: dict[str, Tensor]) -> list[Tensor]:
    """Return an optimizer's tensors that have a parameter's shape."""
    return [tensor for slot, tensor in sorted(kept.items()) if slot != "step"]


def _learning(optimizer: torch.optim.Optimizer) -> list[torch.nn.Parameter]:
    return [p for group in optimizer.param_groups for p in group["params"]]
