"""What the planner says of plans that are about to be timed, from steps here with fewer rows and shorter ones."""

from typing import NamedTuple

from seqloom.lab.planner import Prediction, Prices, predict
from seqloom.lab.prices import corrected, fitted, measured, tried
from seqloom.model.model import ModelSpec
from seqloom.parallel._door import Axis
from seqloom.parallel.cluster import Cluster
from seqloom.parallel.plan import Plan

_TRIES = 12  # the longest step that is tried takes this part of the budget at most: there are about ten such


class Told(NamedTuple):
    """What is predicted of a step of one process, and of one under a plan."""

    one: Prediction
    plan: Prediction

    def speedup(self, times: int) -> tuple[float, float, float]:
        """Return the speed-up and its band, where the plan's step does so many times the work."""
        assert self.one.step_s and self.plan.step_s and self.plan.low and self.plan.high
        work_s = self.one.step_s * times
        return work_s / self.plan.step_s, work_s / self.plan.high, work_s / self.plan.low


class Foreteller:
    """Predicts plans as `seqloom plan --machine this` does; all processes of the plans call it together.

    Links are measured and prices fitted once a model and width, and each plan is tried with three quarters, half and
    a quarter of the steps, or with shorter rows where those take long.

    Args:
        batch: rows of a step of one process.
        length: tokens of a row of it.
        budget_s: seconds, about, that a plan's share of this takes.
    """

    def __init__(self, batch: int, length: int, budget_s: float) -> None:
        self._size, self._budget_s = (batch, length), budget_s
        self._known: dict[str, tuple[Cluster, Prices | None]] = {}

    def __call__(self, spec: ModelSpec, plan: Plan, world: Axis, batch: int, length: int) -> Told:
        """Return what is predicted, on all processes.

        Args:
            spec: the model.
            plan: for as many processes as there are.
            world: all of them.
            batch: rows of a step under the plan.
            length: tokens of a row of it.
        """
        cluster, prices = self._prices(spec, world)
        one = predict(spec, [Plan()], *self._size, cluster, prices)[0] if prices else None
        found = predict(spec, [plan], batch, length, cluster, prices)[0] if prices else None
        if world.tell_data(found and found.step_s) is not None:  # the planner knows such plans
            taken = tried(spec, world, batch, length, [plan], min(1.0, self._budget_s / _TRIES))
            if prices:
                prices = corrected(prices, spec, cluster, taken)
                found = predict(spec, [plan], batch, length, cluster, prices)[0]
        told = world.tell_data([each and each._asdict() for each in (one, found)])
        return Told(*(Prediction(**each) for each in told))

    def _prices(self, spec: ModelSpec, world: Axis) -> tuple[Cluster, Prices | None]:
        """Return the machine, and on the first process what a step asks for costs here."""
        key = spec.digest()
        if key not in self._known:
            cluster = measured(spec, world, world.size)
            prices = fitted(spec, *self._size, self._budget_s) if world.index == 0 else None
            world.meet()  # the others are idle meanwhile
            self._known[key] = cluster, prices
        return self._known[key]
