"""Forecasts that a trained model has to beat: naive, seasonal naive, and ridge regression on the window."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

_PENALTIES = (1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of the mean square of the inputs
Piece = tuple[np.ndarray, np.ndarray, np.ndarray]  # inputs (n, T), targets (n, H) with NaN where missing, scale (n,)


def season_filled(values: np.ndarray, season: int) -> np.ndarray:
    """Return (C, N) with missing values as they were a season before, or as many as it takes; else 0, the mean."""
    series, steps = values.shape
    rows = -(-steps // season)
    padded = np.full((series, rows * season), np.nan, dtype=values.dtype)
    padded[:, :steps] = values
    folded = padded.reshape(series, rows, season)
    last = np.maximum.accumulate(np.where(np.isnan(folded), -1, np.arange(rows)[:, None]), axis=1)
    taken = np.take_along_axis(folded, np.maximum(last, 0), axis=1)
    return np.where(last >= 0, taken, 0.0).reshape(series, -1)[:, :steps]


def seasonal(filled: np.ndarray, season: int, series: np.ndarray, starts: np.ndarray, horizon: int) -> np.ndarray:
    """Return the seasonal naive forecasts (n, H): the values of the last season before each start, again and again.

    Args:
        filled: (C, N), by `season_filled`.
        season: steps; 1: the last value.
        series, starts: (n,) of which series, and the first step to forecast.
        horizon: H.
    """
    back = season - np.arange(horizon) % season
    return filled[series[:, None], np.maximum(starts[:, None] - back, 0)]


def seasonal_error(values: np.ndarray, season: int) -> np.ndarray:
    """Return the mean absolute error (C,) of forecasting values (C, N) one season ahead, the scale of MASE; 0: none."""
    if values.shape[1] <= season:
        return np.zeros(len(values), dtype=np.float32)
    error = np.abs(values[:, season:] - season_filled(values, season)[:, :-season])
    known = ~np.isnan(error)
    return (np.where(known, error, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)).astype(np.float32)


class Ridge(NamedTuple):
    """A linear map of a window to its forecast, the same for all series."""

    weight: np.ndarray  # (T + 1, H), the last row a constant

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """Return forecasts (n, H) of windows (n, T)."""
        return inputs @ self.weight[:-1] + self.weight[-1]


def ridge(pieces: Iterable[Piece], check: Iterable[Piece]) -> Ridge | None:
    """Return the ridge regression, in closed form, whose penalty is best on other windows; None without a whole target.

    Errors weigh by the square of their window's scale, as in a mean over standardised values. Windows with a missing
    value to forecast are left out. Work O(n T (T + H) + T^3).
    """
    gram = product = None
    for inputs, target, scale in pieces:
        whole = ~np.isnan(target).any(axis=1)
        x = _with_constant(inputs[whole]) * scale[whole, None]
        y = target[whole] * scale[whole, None]
        if gram is None or product is None:
            gram, product = np.zeros((x.shape[1], x.shape[1])), np.zeros((x.shape[1], y.shape[1]))
        gram += x.T @ x
        product += x.T @ y
    if gram is None or product is None or not gram.any():
        return None
    values, vectors = np.linalg.eigh(gram)
    turned = vectors.T @ product
    mean = values.sum() / len(values)
    found = [Ridge(vectors @ (turned / (values + penalty * mean)[:, None])) for penalty in _PENALTIES]
    kept = list(check)
    return min(found, key=lambda fit: sum(float(squared(fit(x), y, scale)[0]) for x, y, scale in kept))


def squared(forecast: np.ndarray, target: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return (sum of squared errors, their number) over the known values of targets (n, H)."""
    error = (target - forecast) * scale[:, None]
    known = ~np.isnan(error)
    return np.array([np.square(error[known], dtype=np.float64).sum(), known.sum()])


def _with_constant(inputs: np.ndarray) -> np.ndarray:
    return np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1, dtype=np.float64)
