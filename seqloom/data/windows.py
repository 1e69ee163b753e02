"""Windows of series as examples: some steps to read, normalised by themselves, and those behind them to forecast."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import numpy as np
import torch

from seqloom.data.batches import Batch, Examples

Normalise = Literal["window", "last", "train"]

_LEAST_VARIANCE = 1e-5  # of a window, in units of the training data: a window of equal values is not divided by 0


@dataclass(frozen=True)
class Window:
    """What an example is made of."""

    length: int  # steps that are read
    horizon: int  # steps to forecast
    apart: bool  # one series an example; else all of them are the values of a step
    normalise: Normalise  # by the window's mean and deviation, its last value, or as the training data alone
    ahead: int = 0  # future steps that are read for what is known of them
    flags: bool = False  # whether each value comes with one that says whether it is known

    def to_data(self) -> dict[str, Any]:
        """Return JSON values; `Window(**data)` is the window again."""
        return asdict(self)


@dataclass(frozen=True)
class Standard:
    """Mean and deviation of each column's known training values."""

    mean: np.ndarray  # (C,)
    deviation: np.ndarray  # (C,), 1 where a column is constant

    @classmethod
    def of(cls, values: np.ndarray) -> Self:
        """Return those of (N, C) with NaN where missing; 0 and 1 for a column without any value."""
        known = ~np.isnan(values)
        count = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, values, 0.0).sum(axis=0) / count
        deviation = np.sqrt(np.square(np.where(known, values - mean, 0.0)).sum(axis=0) / count)
        # sums of equal values round: what is left of them is no deviation
        return cls(mean, np.where(deviation > 1e-12 * np.maximum(np.abs(mean), 1e-300), deviation, 1.0))

    def to_data(self) -> dict[str, Any]:
        """Return JSON values for `from_data`."""
        return {"mean": self.mean.tolist(), "deviation": self.deviation.tolist()}

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Self:
        """Return what `to_data` wrote."""
        return cls(np.array(data["mean"], dtype=np.float64), np.array(data["deviation"], dtype=np.float64))

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Return values (N, C) standardised, float32."""
        return ((values - self.mean) / self.deviation).astype(np.float32)


class SeriesWindows(Examples):
    """Windows of standardised series, by the step at which their forecast begins and by series.

    A window is normalised by the mean and the deviation of its known values and missing values are 0, the mean. What a
    forecast is scored by goes with the target (see `model/head_forecast.py`). Source of normalising each window by
    itself: Kim et al. 2022 (RevIN), OpenReview cGDAkQo1C0p; by the last value: Zeng et al. 2022 (NLinear), arXiv
    2205.13504.

    Args:
        values: (C, N) float32 standardised, NaN where missing.
        covariates: (N, Q) float32, known also of the future.
        naive: (C,) float32, mean absolute error of the seasonal naive forecast on the training data.
        window: what an example is made of.
        starts: (n,) the first step to forecast of each example.
        series: (n,) which series, of windows that stand apart.
    """

    def __init__(
        self,
        values: np.ndarray,
        covariates: np.ndarray,
        naive: np.ndarray,
        window: Window,
        starts: np.ndarray,
        series: np.ndarray,
    ) -> None:
        self.lengths = np.full(len(starts), window.length + window.ahead, dtype=np.int64)
        self.values, self.covariates, self.naive, self.window = values, covariates, naive, window
        self.starts, self.series = starts, series

    def batch(self, rows: np.ndarray) -> Batch:
        """Collate rows. Work O(B K (T + H))."""
        window, starts = self.window, self.starts[rows]
        index = starts[:, None] + np.arange(-window.length, window.horizon)
        if window.apart:
            values, naive = (
                self.values[self.series[rows][:, None], index][:, None],
                self.naive[self.series[rows]][:, None],
            )
        else:
            values, naive = (
                self.values[:, index].swapaxes(0, 1),
                np.broadcast_to(self.naive, (len(rows), len(self.naive))),
            )
        past, future = values[..., : window.length], values[..., window.length :]
        middle, scale = middle_and_scale(past, window.normalise)
        inputs = frames(past, middle, scale, self.covariates[index[:, : window.length + window.ahead]], window)
        target = (future - middle[..., None]) / scale[..., None]
        target = np.concatenate([target, scale[..., None], naive[..., None]], axis=2)
        return Batch(torch.from_numpy(inputs), None, torch.from_numpy(target), torch.from_numpy(rows.astype(np.int64)))

    def select(self, rows: np.ndarray) -> "SeriesWindows":
        """Return the split of some of the rows, numbered anew; nothing is copied but their places."""
        return SeriesWindows(
            self.values, self.covariates, self.naive, self.window, self.starts[rows], self.series[rows]
        )

    def truth(self) -> np.ndarray:
        """Return the standardised values (n, H) to forecast of windows that stand apart."""
        assert self.window.apart
        return self.values[self.series[:, None], self.starts[:, None] + np.arange(self.window.horizon)]

    def all_as(self, window: Window) -> "SeriesWindows":
        """Return the windows that begin at the same steps, made otherwise."""
        starts = np.unique(self.starts)
        return windows(self.values, self.covariates, self.naive, window, starts)


def windows(
    values: np.ndarray, covariates: np.ndarray, naive: np.ndarray, window: Window, starts: np.ndarray
) -> SeriesWindows:
    """Return the windows that begin to forecast at some steps, series by series.

    Left out are those without any known value to read, or any to forecast.
    """
    known = np.pad(np.cumsum(~np.isnan(values), axis=1), ((0, 0), (1, 0)))  # (C, N + 1)
    read = known[:, starts] - known[:, starts - window.length] > 0
    asked = known[:, starts + window.horizon] - known[:, starts] > 0
    if window.apart:
        series, at = np.nonzero(read & asked)
    else:
        at = np.flatnonzero(read.any(axis=0) & asked.any(axis=0))
        series = np.zeros_like(at)
    return SeriesWindows(values, covariates, naive, window, starts[at], series)


def middle_and_scale(past: np.ndarray, normalise: Normalise) -> tuple[np.ndarray, np.ndarray]:
    """Return what is taken from and divides windows (B, K, T), (B, K) each; 0 and 1 where nothing is known."""
    zeros, ones = (np.full(past.shape[:2], value, dtype=np.float32) for value in (0.0, 1.0))
    if normalise == "train":
        return zeros, ones
    known = ~np.isnan(past)
    some = known.any(axis=2)
    if normalise == "last":
        last = np.where(known, np.arange(past.shape[2]), 0).max(axis=2)
        return np.where(some, np.take_along_axis(past, last[..., None], axis=2)[..., 0], zeros), ones
    count = np.maximum(known.sum(axis=2), 1).astype(np.float32)
    middle = np.where(known, past, 0.0).sum(axis=2) / count
    variance = np.square(np.where(known, past - middle[..., None], 0.0)).sum(axis=2) / count
    return middle.astype(np.float32), np.where(some, np.sqrt(variance + _LEAST_VARIANCE), ones).astype(np.float32)


def frames(
    past: np.ndarray, middle: np.ndarray, scale: np.ndarray, covariates: np.ndarray, window: Window
) -> np.ndarray:
    """Return inputs (B, T + ahead, K (1 + flags) + Q) of windows (B, K, T) and covariates (B, T + ahead, Q).

    The values of steps ahead are 0 and flagged as unknown.
    """
    known = ~np.isnan(past)
    values = np.where(known, (past - middle[..., None]) / scale[..., None], 0.0)
    parts = [values, known] if window.flags else [values]
    steps = np.concatenate(parts, axis=1).swapaxes(1, 2).astype(np.float32)
    steps = np.pad(steps, ((0, 0), (0, window.ahead), (0, 0)))
    return np.concatenate([steps, covariates], axis=2)
