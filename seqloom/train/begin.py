"""The weights of a trained run, and beginning from them: all but the head's."""

import hashlib
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from seqloom.train import checkpoint
from seqloom.train.directory import CHECKPOINTS
from seqloom.train.experiment import Begin

_HEAD = "head."
_SHOWN = 8  # weights that a message names

Weights = dict[str, Tensor]


def best(run: Path) -> tuple[Weights, checkpoint.Loaded]:
    """Return (the weights of a run that were best on validation so far, the checkpoint that holds them).

    Raises:
        ValueError: the run has no checkpoint, or none of them is whole.
    """
    found = checkpoint.load(run / CHECKPOINTS)
    if found is None:
        raise ValueError(f"'{run}' has no checkpoint yet; go on with it: seqloom train --resume --out {run}")
    return found.tensors.get("best", found.tensors["model"]), found


def put(model: nn.Module, weights: Weights, run: Path, head: bool = True) -> None:
    """Give a model the weights of a run, or all but the head's, which then stays as it is.

    Raises:
        ValueError: they are not those of such a model; the message names them.
    """
    own, given = (part if head else _trunk(part) for part in (model.state_dict(), weights))
    shared = [name for name in own if name in given]
    wrong = {
        "lacks": [name for name in own if name not in given],
        "has, and the model has not,": [name for name in given if name not in own],
        "has in another shape": [
            f"{name} {tuple(given[name].shape)}, not {tuple(own[name].shape)}"
            for name in shared
            if given[name].shape != own[name].shape
        ],
    }
    told = [f"it {how} {_listed(names)}" for how, names in wrong.items() if names]
    if told:
        raise ValueError(f"the weights of '{run}' are not those of its model in this version: {'; '.join(told)}")
    model.load_state_dict({**model.state_dict(), **given})


def take(model: nn.Module, begin: Begin) -> None:
    """Give a model the weights of the run that it begins from; its head stays as it is.

    Raises:
        ValueError: the run is gone, its weights are no more those that were meant, or they are not those of the model.
    """
    run = Path(begin.run)
    if not run.is_dir():
        raise ValueError(f"the run to begin from, '{run}', is gone; put it back")
    weights, _ = best(run)
    found = fingerprint(weights)
    if found != begin.weights:
        raise ValueError(
            f"'{run}' has other weights now than those to begin from ({found}, not {begin.weights}); put them back, or "
            "begin anew with --overwrite"
        )
    put(model, weights, run, head=False)


def fingerprint(weights: Weights) -> str:
    """Return 12 hexadecimal digits that change when a name or a bit of weights changes, but for the head's."""
    words = hashlib.sha256()
    for name, tensor in sorted(_trunk(weights).items()):
        words.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        words.update(np.ascontiguousarray(tensor.detach().cpu().numpy()).data)
    return words.hexdigest()[:12]


def _trunk(weights: Weights) -> Weights:
    return {name: tensor for name, tensor in weights.items() if not name.startswith(_HEAD)}


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"
