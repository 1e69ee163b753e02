"""Scores: metrics as formulas of sums over examples, kept by example, so that they merge and can be bootstrapped."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from seqloom.measure.statistics import Formula, ratio


@dataclass(frozen=True)
class Scores:
    """What is summed over examples, (n, k) by metric, and how a metric comes of its k sums: they merge in any order."""

    parts: Mapping[str, np.ndarray]  # metric -> (n, k) float64
    formulas: Mapping[str, Formula] = field(default_factory=dict)  # of metrics that are no ratio of two sums

    def __len__(self) -> int:
        return len(next(iter(self.parts.values()))) if self.parts else 0

    @property
    def metrics(self) -> tuple[str, ...]:
        """Return the names of the metrics."""
        return tuple(self.parts)

    def formula(self, metric: str) -> Formula:
        """Return how a metric comes of its sums."""
        return self.formulas.get(metric, ratio)

    def value(self, metric: str) -> float:
        """Return the formula of the columns' sums, each summed exactly.

        Raises:
            ValueError: no such metric, or nothing was scored.
        """
        if metric not in self.parts:
            raise ValueError(f"no metric '{metric}' among {', '.join(self.parts) or 'none'}")
        sums = np.array([_sum(column) for column in self.parts[metric].T])
        value = float(self.formula(metric)(sums))
        if math.isnan(value) and np.isfinite(sums).all():
            raise ValueError(f"'{metric}' is of nothing: no target was scored")
        return value

    def values(self) -> dict[str, float]:
        """Return every metric's value."""
        return {metric: self.value(metric) for metric in self.parts}

    def merge(self, other: "Scores") -> "Scores":
        """Return the scores of both sets of examples."""
        if set(self.parts) != set(other.parts):
            raise ValueError(f"cannot merge scores of {sorted(self.parts)} with {sorted(other.parts)}")
        return Scores(
            {name: np.concatenate([part, other.parts[name]]) for name, part in self.parts.items()}, self.formulas
        )


def _sum(values: np.ndarray) -> float:
    # fsum refuses inf - inf, where the honest answer is NaN
    if np.isfinite(values).all():
        return math.fsum(values)
    with np.errstate(invalid="ignore"):
        return float(np.sum(values))
