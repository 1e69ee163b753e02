"""Local SGD: replicas learn apart on their shares of a batch's rows, and are then averaged.

It is part of the experiment and not of a plan, since it changes what is learnt. One process plays the replicas in turn;
under a plan with as many of `data` each has a process, and what is learnt is the same but for the draws of dropout.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from seqloom.data.batches import Examples
from seqloom.parallel.data import sum_tensors
from seqloom.train.experiment import Optimizer

if TYPE_CHECKING:
    from seqloom.train.learner import Learner

State = list[tuple[Tensor, dict[str, Tensor]]]  # of each parameter that learns: its numbers, the optimizer's


def together(learns: "Learner", examples: Examples, rows: np.ndarray, rate: float) -> tuple[float, float]:
    """Take a round: each replica its local steps from the same weights, and then the mean of all.

    Averaged are the weights and both moments of AdamW, so that between rounds all replicas are one and a checkpoint is
    that of a single model: three times the bytes of a gradient, once a round. Replicas weigh the same, whatever they
    have of a batch's rows; a batch of fewer rows than replicas gives some of them to more than one.

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
        if found:
            _restore(learns.optimizer, _copy(before))
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
    sum_tensors([t for number, kept in mean for t in (number, *_floats(kept))], copies, learns.bucket_mb)
    _restore(learns.optimizer, mean)
    return loss, norm


def pieces(rows: np.ndarray, replica: int, settings: Optimizer) -> list[np.ndarray]:
    """Return the rows of each local step of a replica; of as many steps as any other replica takes."""
    steps = max(min(settings.local_steps, len(rows) // settings.replicas), 1)
    mine = np.array_split(rows, settings.replicas)[replica]
    return np.array_split(mine if len(mine) else rows[replica % len(rows)][None], steps)


def beside_bytes(learns: "Learner") -> int:
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


def _copy(state: State) -> State:
    return [(numbers.clone(), {slot: tensor.clone() for slot, tensor in kept.items()}) for numbers, kept in state]


def _restore(optimizer: torch.optim.Optimizer, state: State) -> None:
    """Take a state, whose tensors are the optimizer's from now on."""
    with torch.no_grad():
        for parameter, (numbers, kept) in zip(_learning(optimizer), state, strict=True):
            parameter.copy_(numbers)
            optimizer.state.pop(parameter, None)
            if kept:
                optimizer.state[parameter] = kept


def _added(mean: State | None, state: State, replicas: int) -> State:
    """Return the part of a mean over replicas with one more of them; counts of steps are as they are."""
    for number, (numbers, kept) in enumerate(state):
        mine = (numbers, *_floats(kept))
        others = None if mean is None else (mean[number][0], *_floats(mean[number][1]))
        torch._foreach_div_(mine, replicas)  # pyright: ignore[reportPrivateImportUsage]
        if others is not None:
            assert len(mine) == len(others), "a parameter has a part in what one replica learns and none in another's"
            torch._foreach_add_(mine, others)  # pyright: ignore[reportPrivateImportUsage]
    return state


def _floats(kept: dict[str, Tensor]) -> list[Tensor]:
    """Return an optimizer's tensors that have a parameter's shape."""
    return [tensor for slot, tensor in sorted(kept.items()) if slot != "step"]


def _learning(optimizer: torch.optim.Optimizer) -> list[torch.nn.Parameter]:
    return [p for group in optimizer.param_groups for p in group["params"]]
