"""Telling forecasts: recent history of a user's to windows, and a model's answers back to values with their times."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from seqloom.data.formats import Column
from seqloom.data.series import Series
from seqloom.data.times import Grid, calendar, shown
from seqloom.data.windows import Standard, Window, frames, middle_and_scale


@dataclass(frozen=True)
class Forecaster:
    """What is needed of the training data to forecast from other data of the kind."""

    target: tuple[Column, ...]  # columns to read
    standard: Standard  # of the targets
    covariates: Standard
    window: Window
    grid: Grid
    timed: bool  # whether the data have a time column
    with_calendar: bool

    def to_data(self) -> dict[str, Any]:
        """Return JSON values for `of`."""
        return {
            "target": list(self.target),
            "standard": self.standard.to_data(),
            "covariates": self.covariates.to_data(),
            "window": self.window.to_data(),
            "grid": self.grid.to_data(),
            "timed": self.timed,
            "with_calendar": self.with_calendar,
        }

    @classmethod
    def of(cls, data: Any) -> "Forecaster":
        """Return what `to_data` wrote.

        Raises:
            ValueError: these are not such values.
        """
        try:
            return cls(
                target=tuple(data["target"]),
                standard=Standard.from_data(data["standard"]),
                covariates=Standard.from_data(data["covariates"]),
                window=Window(**data["window"]),
                grid=Grid(**data["grid"]),
                timed=data["timed"],
                with_calendar=data["with_calendar"],
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"no encoding of a forecast: {error!r}") from None

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the targets."""
        return tuple(map(str, self.target))

    def answers(self, model: Any, items: Sequence[Any]) -> list[dict[str, Any]]:
        """Return the forecast of the steps behind each history, in the data's own units.

        Args:
            model: with a forecast head.
            items: histories, Series or, of one series without covariates, text: its last values, separated by blanks.

        Raises:
            ValueError: a history is shorter than a window, or lacks covariates of the steps to forecast.
        """
        return [self._answer(model, self._parsed(item) if isinstance(item, str) else item) for item in items]

    def _answer(self, model: Any, series: Series) -> dict[str, Any]:
        window = self.window
        end = int(np.flatnonzero((~np.isnan(series.values)).any(axis=1)).max(initial=-1)) + 1
        if end < window.length:
            raise ValueError(f"the history has {end} steps up to its last value; the model reads {window.length}")
        past = self.standard.apply(series.values[end - window.length : end]).T[:, None]  # (C, 1, T)
        past = past if window.apart else past.swapaxes(0, 1)
        middle, scale = middle_and_scale(past, window.normalise)
        later = series.grid.after(series.times[end - 1], np.arange(1, window.horizon + 1))
        known = self._known(series, end, later)
        inputs = frames(past, middle, scale, np.broadcast_to(known, (len(past), *known.shape)), window)
        device = next(model.parameters()).device
        with torch.no_grad():
            output = model.head.rearranged(model(torch.from_numpy(inputs).to(device))[0]).double().cpu().numpy()
        found = (output * scale[..., None, None] + middle[..., None, None]).reshape(len(self.names), window.horizon, -1)
        found = found * self.standard.deviation[:, None, None] + self.standard.mean[:, None, None]
        clock = any(len(str(shown(time))) > len("2024-01-31") for time in later)  # all alike: a midnight has it too
        head, timed = model.head, self.timed and series.grid == self.grid
        answer: dict[str, Any] = {
            "time": [shown(time, clock) for time in later] if timed else list(range(1, window.horizon + 1)),
            "forecast": {n: table[:, head.point].tolist() for n, table in zip(self.names, found, strict=True)},
        }
        if head.spec.quantiles:
            answer["quantiles"] = {
                name: {f"{level:g}": table[:, i].tolist() for i, level in enumerate(head.spec.quantiles)}
                for name, table in zip(self.names, found, strict=True)
            }
        return answer

    def _known(self, series: Series, end: int, later: np.ndarray) -> np.ndarray:
        """Return what is known of the steps that are read, also of the future, (T + ahead, Q)."""
        window = self.window
        times = np.concatenate([series.times[end - window.length : end], later])[: window.length + window.ahead]
        given = series.covariates[end - window.length : end + window.ahead]
        if not given.shape[1]:
            given = np.zeros((len(times), 0))
        if len(given) < len(times):
            raise ValueError(
                f"the history has covariates of {len(series) - end} steps behind its last value, and the forecast "
                f"needs those of {window.horizon}; add rows with their times and covariates, and empty targets"
            )
        return known_ahead(given, self.covariates, times if self.with_calendar else None, self.grid)

    def _parsed(self, line: str) -> Series:
        """Return the history that a line of numbers tells."""
        words = line.replace(",", " ").split()
        if len(self.names) > 1 or len(self.covariates.mean) or self.with_calendar:
            raise ValueError(
                "a line of numbers is of one series without covariates or calendar; give a file with --data"
            )
        try:
            values = np.array([float(word) for word in words])
        except ValueError:
            raise ValueError(f"'{line[:80]}' is not a line of numbers, the last values of the series") from None
        return Series(
            target=self.target,
            values=values[:, None],
            covariates=np.zeros((len(values), 0)),
            times=np.arange(len(values), dtype=np.float64),
            grid=Grid("numbers", 1.0),
        )


def known_ahead(covariates: np.ndarray, standard: Standard, times: np.ndarray | None, grid: Grid) -> np.ndarray:
    """Return what is known of steps whatever the series do, (N, Q) float32: covariates, standardised, 0 where missing.

    Behind them stands the calendar of the times, unless these are None.
    """
    given = np.nan_to_num(standard.apply(covariates), nan=0.0)
    return given if times is None else np.concatenate([given, calendar(times, grid)], axis=1)
