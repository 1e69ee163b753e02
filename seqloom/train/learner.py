"""What learns: a model and its optimizer, on this process or laid out over those of a plan."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seqloom.data.batches import Examples
from seqloom.parallel._door import Axis, Traffic
from seqloom.parallel.data import BUCKET_MB
from seqloom.parallel.layout import Layout
from seqloom.parallel.plan import Plan
from seqloom.train.checkpoint import Loaded
from seqloom.train.experiment import Optimizer, local_why_not
from seqloom.train.local import together
from seqloom.train.update import Weights, adamw, apply, gradients, moments, n_targets, norm_of, set_moments


class Learner:
    """A model and its AdamW on this process alone; several processes have the same methods in `Together`."""

    first = True  # whether this process writes and speaks for all
    part = 0  # which draws of dropout are its own
    bucket_mb = BUCKET_MB  # of what replicas send at once

    def __init__(self, model: Any, settings: Optimizer) -> None:
        self.model, self.settings = model, settings
        self.optimizer = adamw(model, settings)
        self.copies = Axis("data", [0], 0, None, Traffic())  # of processes that hold replicas

    def update(self, examples: Examples, rows: np.ndarray, rate: float) -> tuple[float, float]:
        """Take one step on some rows, unless its loss or gradient is not finite; with replicas, a round of local SGD.

        Returns:
            (loss, norm of the gradient before clipping); the step was taken if both are finite.
        """
        if self.settings.replicas == 1:
            return self.moved(examples, rows, rate)
        return together(self, examples, rows, rate)

    def moved(self, examples: Examples, rows: np.ndarray, rate: float) -> tuple[float, float]:
        """Move the weights along the gradient of some rows; as `update`, of one replica alone."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.gradients(examples, rows)
        return apply(self.optimizer, loss, self.norm(), self.settings.clip, rate)

    def gradients(self, examples: Examples, rows: np.ndarray) -> Tensor:
        """Add the gradient of the mean loss over rows; return that loss."""
        return gradients(self.model, examples, rows, self.settings)

    def norm(self) -> Tensor:
        """Return the norm of the gradient."""
        return norm_of(self.optimizer)

    def whole(self) -> Any:
        """Return the model with all of its weights, as they are."""
        return self.model

    def weights(self) -> Weights:
        """Return the weights of the whole model."""
        return self.model.state_dict()

    def moments(self) -> Weights:
        """Return the optimizer's tensors for the whole model as "slot/parameter"."""
        return moments(self.model, self.optimizer)

    def restore(self, weights: Weights, moments: Weights | None = None) -> None:
        """Take weights and optimizer's tensors of the whole model; without the latter it keeps its own."""
        self.model.load_state_dict(weights)
        if moments is not None:
            set_moments(dict(self.model.named_parameters()), self.optimizer, moments)

    def traffic(self) -> dict[str, dict[str, dict[str, int]]]:
        """Return what this process sent to others: axis -> operation -> calls and bytes."""
        return {}

    def notices(self) -> list[str]:
        """Return what a user should know of the steps that were taken."""
        return []

    def any(self, flag: bool) -> bool:
        """Return whether it is so on any process."""
        return flag

    def told(self, value: float) -> float:
        """Return the first process's value."""
        return value

    def clock(self) -> float:
        """Return seconds that are the same on all processes."""
        return self.told(time.perf_counter())

    def first_does(self, work: Callable[[], Loaded | None]) -> Loaded | None:
        """Return what the first process's work gives, or raise what it raises, on all."""
        return work()


class Together(Learner):
    """This process's part of a model under a plan; every method is called by all processes, in the same order.

    Args:
        model: whole, the same on every process; it is changed in place.
        build: makes such a model; its weights do not matter.
        settings: of the optimizer.
        plan: how the model is laid out.

    Raises:
        ValueError: the model cannot be laid out so; all reasons are told.
    """

    def __init__(self, model: Any, build: Callable[[], Any], settings: Optimizer, plan: Plan) -> None:
        self._build = build
        reasons = local_why_not(settings, plan)
        if reasons:
            raise ValueError("; ".join(reasons))
        self.layout = Layout(plan, model, apart=settings.replicas > 1)
        super().__init__(model, settings)
        mesh = self.layout.mesh
        self.copies, self.bucket_mb = mesh["data"], plan.bucket_mb
        self.first = mesh.rank == 0
        self.part = mesh.replicas.index + mesh.replicas.size * mesh["pipeline"].index
        self._world = mesh.world

    def gradients(self, examples: Examples, rows: np.ndarray) -> Tensor:
        """Add this process's part of the gradient of the mean loss over rows; return that loss."""
        mine = self.layout.share(rows)
        most = -(-len(rows) // self.layout.shares)  # every process takes part as often as the one with most rows
        pieces = np.array_split(mine, min(self.settings.accumulate, most))
        batches = [examples.batch(piece if len(piece) else rows[:1]) for piece in pieces]
        counts = [n_targets(batch) if len(piece) else 0 for piece, batch in zip(pieces, batches, strict=True)]
        return self.layout.gradients(batches, counts, self.settings.bf16)

    def norm(self) -> Tensor:
        """Return the norm of the whole gradient."""
        return self.layout.norm()

    def whole(self) -> Any:
        """Return a copy of the model with all of its weights, as they are."""
        model: Any = self._build()
        model.load_state_dict(self.weights())
        return model

    def weights(self) -> Weights:
        """Return the weights of the whole model, gathered."""
        return self.layout.whole()

    def moments(self) -> Weights:
        """Return the optimizer's tensors for the whole model, gathered."""
        state: Any = self.optimizer.state
        slots: list[str] = self._world.tell_data(sorted({slot for kept in state.values() for slot in kept}))
        return {
            f"{slot}/{name}": tensor
            for slot in slots
            for name, tensor in self.layout.whole(lambda p, slot=slot: state.get(p, {}).get(slot)).items()
        }

    def restore(self, weights: Weights, moments: Weights | None = None) -> None:
        """Take this process's part of weights and optimizer's tensors of the whole model."""
        self.layout.load(weights)
        if moments is None:
            return
        own = {name: p for name, p in self.layout.parameters.items() if p.requires_grad}
        keyed = {key: key.partition("/")[2] for key in moments}
        parts = {key: self.layout.part(name, moments[key]) for key, name in keyed.items() if name in own}
        set_moments(own, self.optimizer, parts)

    def traffic(self) -> dict[str, dict[str, dict[str, int]]]:
        """Return what this process sent to others: axis -> operation -> calls and bytes."""
        counts = self.layout.mesh.traffic.counts()
        return {axis: {name: each._asdict() for name, each in found.items()} for axis, found in counts.items()}

    def notices(self) -> list[str]:
        """Return what a user should know of the steps that were taken."""
        return self.layout.notices()

    def any(self, flag: bool) -> bool:
        """Return whether it is so on any process."""
        return bool(self._world.sum(torch.tensor(float(flag))) > 0)

    def told(self, value: float) -> float:
        """Return the first process's value."""
        return float(self._world.tell(torch.tensor(value, dtype=torch.float64)))

    def first_does(self, work: Callable[[], Loaded | None]) -> Loaded | None:
        """Return what the first process's work gives, or raise what it raises, on all: they need not see its files."""
        found, refused = None, None
        if self.first:
            try:
                found = work()
            except ValueError as error:
                refused = error
        told = self._world.tell_data({"refused": refused and str(refused), "found": _outline(found)})
        if told["refused"] is not None:
            raise refused or ValueError(told["refused"])
        return None if told["found"] is None else self._received(told["found"], found)

    def _received(self, outline: dict[str, Any], found: Loaded | None) -> Loaded:
        tensors: dict[str, Weights] = {}
        for group, named in outline["tensors"].items():
            for name, (kind, shape) in named.items():
                mine = torch.empty(shape, dtype=getattr(torch, kind)) if found is None else found.tensors[group][name]
                tensors.setdefault(group, {})[name] = self._world.tell(mine)
        return found or Loaded(outline["step"], tensors, outline["data"], [])


def _outline(found: Loaded | None) -> dict[str, Any] | None:
    """Return all of a checkpoint but the tensors' numbers, as JSON data."""
    if found is None:
        return None
    tensors = {
        group: {name: (str(t.dtype).removeprefix("torch."), list(t.shape)) for name, t in named.items()}
        for group, named in found.tensors.items()
    }
    return {"step": found.step, "data": found.data, "tensors": tensors}


def learner(model: nn.Module, build: Callable[[], Any], settings: Optimizer, plan: Plan) -> Learner:
    """Return what learns under a plan; arguments as those of Together."""
    return Learner(model, settings) if plan.processes == 1 else Together(model, build, settings, plan)
