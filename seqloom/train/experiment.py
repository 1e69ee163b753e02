"""Experiment: a task, a model, a plan, a budget and a seed, as one value whose digest names the run."""

import math
import re
from typing import Any, Self

import pydantic

from seqloom.core.spec import Spec, digest_of, resolve, to_data
from seqloom.data.batches import Examples
from seqloom.model.frontend import Frontend
from seqloom.model.model import ModelSpec
from seqloom.parallel.plan import Plan
from seqloom.tasks.task import Interface, Opened, Task
from seqloom.zoo.architecture import Architecture, fit_width

_UNITS = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), ("seconds", 1)),
    **dict.fromkeys(("m", "min", "minute", "minutes"), ("seconds", 60)),
    **dict.fromkeys(("h", "hour", "hours"), ("seconds", 3600)),
    **dict.fromkeys(("step", "steps"), ("steps", 1)),
    **dict.fromkeys(("epoch", "epochs"), ("epochs", 1)),
}


class Budget(Spec):
    """How long to train: steps, epochs or seconds, exactly one of them."""

    steps: int | None = pydantic.Field(default=None, gt=0)  # updates of the parameters
    epochs: float | None = pydantic.Field(default=None, gt=0, allow_inf_nan=False)  # passes over the training split
    seconds: float | None = pydantic.Field(default=None, gt=0, allow_inf_nan=False)  # training alone: without scoring

    @pydantic.model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [name for name in ("steps", "epochs", "seconds") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of steps, epochs, seconds; given: {', '.join(given) or 'none'}")
        return self

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """Return the budget that a text names: "90s", "5m", "2h", "100 steps", "3 epochs".

        Raises:
            ValueError: not a number above 0 followed by a unit.
        """
        found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*([a-z]+)\s*", text, re.IGNORECASE)
        unit = _UNITS.get(found[2].lower()) if found else None
        if found is None or unit is None:
            raise ValueError(f"budget '{text}': give a number and a unit, such as 90s, 5m, 2h, '100 steps', '3 epochs'")
        name, factor = unit
        amount = float(found[1]) * factor
        if not 0 < amount < math.inf:
            raise ValueError(f"budget '{text}': must be above 0 and finite")
        if name == "steps" and amount != int(amount):
            raise ValueError(f"budget '{text}': steps are whole; give '{max(round(amount), 1)} steps'")
        return resolve(cls, {name: int(amount) if name == "steps" else amount})

    def __str__(self) -> str:
        if self.seconds is not None:
            return f"{self.seconds:g}s"
        return f"{self.steps} steps" if self.steps is not None else f"{self.epochs:g} epochs"


class Optimizer(Spec):
    """AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101), its learning rate over time, and the size of a step."""

    learning_rate: float = pydantic.Field(default=3e-3, gt=0, allow_inf_nan=False)  # the largest, after warm-up
    weight_decay: float = pydantic.Field(default=0.01, ge=0, allow_inf_nan=False)  # of matrices only
    betas: tuple[float, float] = (0.9, 0.98)  # decay of the moving mean and mean square of the gradient
    warmup: float = pydantic.Field(default=0.05, ge=0, lt=1)  # fraction of the steps in which the rate climbs
    final: float = pydantic.Field(default=0.05, ge=0, le=1)  # fraction of the rate that is left at the last step
    batch_size: int = pydantic.Field(default=32, gt=0)  # rows of a step, of all replicas together
    accumulate: int = pydantic.Field(default=1, gt=0)  # parts that a step is computed in: less memory, same numbers
    replicas: int = pydantic.Field(default=1, gt=0)  # local SGD: models that learn apart and are averaged every step
    local_steps: int = pydantic.Field(default=1, gt=0)  # local SGD: updates that each of them makes in a step
    clip: float | None = pydantic.Field(default=1.0, gt=0, allow_inf_nan=False)  # largest gradient norm; None: any
    bf16: bool = False  # products in bfloat16; parameters and their updates stay float32
    patience: int | None = pydantic.Field(default=None, gt=0)  # stop after so many validations without a better one

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Self:
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas {self.betas}: each must be at least 0 and below 1")
        if self.accumulate > self.batch_size:
            raise ValueError(f"accumulate {self.accumulate}: cannot cut {self.batch_size} rows into more parts")
        if self.local_steps > 1 and self.replicas == 1:
            raise ValueError(
                f"local_steps {self.local_steps}: between them replicas are averaged; take replicas of 2 or more"
            )
        if self.replicas * self.local_steps > self.batch_size:
            raise ValueError(
                f"batch_size {self.batch_size}: {self.replicas} replicas with {self.local_steps} local_steps each need "
                f"{self.replicas * self.local_steps} rows or more"
            )
        return self

    @classmethod
    def of(cls, *settings: dict[str, Any]) -> "Optimizer":
        """Return the optimizer of some settings, later ones winning, e.g. a task's defaults and then the user's."""
        return resolve(cls, {key: value for part in settings for key, value in part.items()})


class Begin(Spec):
    """The trained run that another begins from: its weights but for the head, which is new."""

    run: str  # its directory
    digest: str  # of its experiment
    weights: str  # fingerprint of those that were best on validation
    frontend: Frontend  # as it was trained with
    causal: bool  # whether it was kept from seeing the future; it stays so


class Experiment(Spec):
    """What is trained, on what, how, for how long, from which seed."""

    task: Task
    model: Architecture
    budget: Budget
    optimizer: Optimizer = Optimizer()
    plan: Plan = Plan()
    seed: int = pydantic.Field(default=0, ge=0, lt=2**32)  # of the initial weights, the order and dropout
    data_seed: int = pydantic.Field(default=0, ge=0)  # of splits and generated data: seeds are compared on one test
    parameters: int | None = pydantic.Field(default=None, gt=0)  # bring the model's width to this many; None: leave it
    evaluate_every: int | None = pydantic.Field(default=None, gt=0)  # steps between validations; None: 20 in the run
    validation_examples: int | None = pydantic.Field(default=1024, gt=0)  # scored at each validation; None: all
    begin: Begin | None = None  # a trained run whose weights are taken; None: all weights are new

    @pydantic.model_validator(mode="after")
    def _of_the_size_it_begins_with(self) -> Self:
        if self.begin is not None and self.parameters is not None:
            raise ValueError(f"parameters {self.parameters}: the size is that of the run '{self.begin.run}'; give none")
        return self

    def digest(self) -> str:
        """Return the digest of what is learnt, on what and how: a plan changes the clock, not that."""
        return digest_of({name: value for name, value in to_data(self).items() if name != "plan"})

    @classmethod
    def suited(
        cls,
        opened: Opened,
        model: str,
        budget: Budget,
        *,
        architecture: dict[str, Any] | None = None,
        seed: int = 0,
        parameters: int | None = None,
        settings: dict[str, Any] | None = None,
        **rest: Any,
    ) -> "Experiment":
        """Return an experiment with the task's defaults where the user has said nothing.

        Args:
            opened: the task, opened.
            model: its registered name.
            budget: how long to train.
            architecture: settings of the Architecture, before the task's own.
            seed: of the weights and the order.
            parameters: bring the model to this size; None: leave its width.
            settings: of the Optimizer, before the task's own.
            **rest: other fields of the Experiment.
        """
        fields = {
            "task": opened.task,
            "model": resolve(Architecture, {**opened.architecture, **(architecture or {}), "name": model}),
            "budget": budget,
            "optimizer": Optimizer.of(opened.defaults, settings or {}),
            "seed": seed,
            "parameters": parameters,
            **rest,
        }
        return resolve(cls, fields)

    def sized(self, opened: Interface) -> Architecture:
        """Return the architecture for the opened task, at the size asked for."""
        if self.parameters is None:
            return self.model
        return fit_width(self.model, opened.frontend, opened.head, opened.causal, self.parameters, opened.source)

    def reading(self, opened: Interface) -> tuple[Frontend, bool]:
        """Return (the frontend, whether the model is causal): the task's, or those of the run that this begins from."""
        begin = self.begin
        return (opened.frontend, opened.causal) if begin is None else (begin.frontend, begin.causal)

    def model_spec(self, opened: Interface) -> ModelSpec:
        """Return the whole model for the opened task, at the size asked for."""
        frontend, causal = self.reading(opened)
        return self.sized(opened).model(frontend, opened.head, causal, opened.source)


def known_steps(budget: Budget, train: Examples, batch_size: int) -> int | None:
    """Return the steps that a budget names; None for a budget in seconds, which must be measured first."""
    if budget.steps is not None:
        return budget.steps
    if budget.epochs is not None:
        return max(1, math.ceil(budget.epochs * -(-len(train) // batch_size)))
    return None


def local_why_not(settings: Optimizer, plan: Plan) -> list[str]:
    """Return why the replicas of local SGD cannot be laid out by a plan; empty: they can, or there are none."""
    if settings.replicas == 1:
        return []
    reasons: list[str] = []
    if plan.data not in (1, settings.replicas):
        reasons.append(
            f"data={plan.data} with replicas {settings.replicas}, which learn apart: take data={settings.replicas}, "
            "a process for each, or data=1"
        )
    if plan.sharded:
        reasons.append(
            "sharded shares out what replicas have in common, and those of local SGD differ; take one of them"
        )
    if plan.bf16_gradients:
        reasons.append("bf16_gradients: what replicas of local SGD send each other are weights; leave it out")
    return reasons


def check(experiment: Experiment, processes: int, checkpoint_every: int | None, keep: int) -> None:
    """Refuse a plan for another number of processes or other replicas, and numbers that are none.

    Raises:
        ValueError: as said.
    """
    reasons = experiment.plan.why_not(processes) + local_why_not(experiment.optimizer, experiment.plan)
    if reasons:
        raise ValueError("; ".join(reasons))
    for name, value in (("checkpoint_every", checkpoint_every), ("keep", keep)):
        if value is not None and value < 1:
            raise ValueError(f"{name} {value}: must be at least 1")


def check_positions(frontend: Frontend, opened: Opened) -> None:
    """Refuse now what would end the training at the first example that is too long, which may be one of test."""
    if frontend.positions == "learned":
        steps = max(int(part.lengths.max(initial=0)) for part in (opened.train, opened.validation, opened.test))
        known = frontend.max_length * (frontend.size if frontend.kind == "patches" else 1)
        if steps > known:
            raise ValueError(
                f"{opened.task.name()} has an example of {steps} steps, the model learns {known} positions: let the "
                "task give less, or take a larger max_length of the model"
            )
