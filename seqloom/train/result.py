"""What a training run has come to: its course so far, and its result."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from seqloom.measure.scores import Scores


class Point(NamedTuple):
    """One point of the learning curve."""

    step: int
    train_s: float
    train_loss: float  # mean since the point before
    validation: float  # what the task watches


@dataclass
class Course:
    """How far a run has come; all that a checkpoint holds besides tensors. A pure function of steps, but for `_s`."""

    planned: int | None = None  # steps of the whole run; None: not measured yet
    step: int = 0  # updates so far
    train_s: float = 0.0  # spent in them: without scoring and saving
    threads: int | None = None  # CPU threads that were found fastest; None: as many as the process has
    probe_s: float = 0.0  # spent in finding out how many steps a budget in seconds holds
    loss_sum: float = 0.0  # since the last point of the curve
    loss_steps: int = 0
    best: float | None = None  # validation
    best_step: int | None = None
    misses: int = 0  # validations since the best one
    stopped: bool = False  # early
    curve: list[Point] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Return whether nothing is left to train."""
        return self.stopped or (self.planned is not None and self.step >= self.planned)

    def add(self, loss: float) -> None:
        """Count an update."""
        self.step += 1
        self.loss_sum += loss
        self.loss_steps += 1

    def validated(self, value: float, better: str, patience: int | None) -> bool:
        """Add a point to the curve; return whether it is the best.

        NaN never is. Of equals the later is taken, having learnt for longer, but patience wants better ones.
        """
        mean = self.loss_sum / self.loss_steps if self.loss_steps else float("nan")
        self.curve.append(Point(self.step, self.train_s, mean, value))
        self.loss_sum, self.loss_steps = 0.0, 0
        sign = 1 if better == "higher" else -1
        ahead = -math.inf if math.isnan(value) else math.inf if self.best is None else sign * (value - self.best)
        self.misses = 0 if ahead > 0 else self.misses + 1
        self.stopped = patience is not None and self.misses >= patience
        if ahead >= 0:
            self.best, self.best_step = value, self.step
        return ahead >= 0

    def to_data(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**asdict(self), "curve": [list(point) for point in self.curve]}

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> "Course":
        """Return the course that `to_data` wrote."""
        return cls(**{**data, "curve": [Point(*point) for point in data["curve"]]})


@dataclass(frozen=True)
class Result:
    """The end of a run: the weights that were best on validation, scored on test.

    A budget in seconds is turned into `planned` steps once, by timing the first ones for at most a tenth of it; from
    then on the run is a pure function of steps, equal to a run of the budget `planned` steps.
    """

    metrics: dict[str, float]  # on test
    scores: Scores  # on test, by example
    metric: str  # the one that decides
    better: str
    curve: list[Point]
    steps: int
    planned: int
    best_step: int | None
    train_s: float
    probe_s: float
    time_to_quality_s: float | None
    parameters: int
    peak_bytes: int  # of live tensors in a step of the longest rows
    stopped: bool  # early
    notices: list[str]
    traffic: dict[str, dict[str, dict[str, int]]]  # axis -> operation -> calls and bytes that this process sent


def time_to_quality_s(curve: list[Point], better: str, within: float = 0.01) -> float | None:
    """Return the training time after which validation came within a fraction of its own best; None without a curve."""
    values = [point.validation for point in curve if not math.isnan(point.validation)]
    if not values:
        return None
    best = max(values) if better == "higher" else min(values)
    slack = within * abs(best)
    for point in curve:
        if point.validation >= best - slack if better == "higher" else point.validation <= best + slack:
            return point.train_s
    return None
