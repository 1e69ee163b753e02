"""Forecast: the next steps of one or several time series in a table of the user's."""

import functools
import math
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import pydantic

from seqloom.data.columns import chosen_by
from seqloom.data.formats import Column
from seqloom.data.series import Series, read_series
from seqloom.data.splits import by_time
from seqloom.data.windows import SeriesWindows, Standard, Window, windows
from seqloom.measure.baselines import seasonal_error
from seqloom.model.frontend import Frontend, Patches, Values
from seqloom.model.head import Forecast as Head
from seqloom.tasks._forecast_scores import block, by_block, floors
from seqloom.tasks._forecasts import Forecaster, known_ahead
from seqloom.tasks.task import Coding, Opened, Task

_PER_VALUE, _SMALLEST = 20, 10_000  # parameters of a model for each value of training, up to 100,000, and at least
_STEPS = 20  # of a window after patching, at least, where the patch is chosen


class Forecast(Task):
    """Forecast the next steps of time series, learnt from a CSV, TSV, JSON lines or Parquet file of yours.

    One example of length=4, horizon=2, before it is normalised; its target is 27.0 25.9:

        date,load
        2016-07-01 00:00,30.5
        2016-07-01 01:00,27.8
        2016-07-01 02:00,NA
        2016-07-01 03:00,25.0

        inputs    30.5 27.8 - 25.0

    Rows are sorted by time, gaps and missing cells are steps without a value. The file is split by time: training,
    validation, test. Windows of validation and test may look back into the part before for what they read, never for
    what they forecast. Everything is standardised by the known training values, and errors are in that unit.
    """

    metric: ClassVar[str] = "mse"
    better: ClassVar[str] = "lower"
    models: ClassVar[tuple[str, ...]] = ("gru", "lstm", "mingru", "transformer", "hybrid")
    source: ClassVar[tuple[tuple[str, ...], ...]] = (
        (
            "nie2023",
            "Nie, Y. and others",
            "A Time Series is Worth 64 Words: Long-term Forecasting with Transformers",
            "2023",
            "arXiv:2211.14730",
        ),
        (
            "zeng2022",
            "Zeng, A. and others",
            "Are Transformers Effective for Time Series Forecasting?",
            "2022",
            "arXiv:2205.13504",
        ),
        (
            "kim2022",
            "Kim, T. and others",
            "Reversible Instance Normalization for Accurate Time-Series Forecasting against Distribution Shift",
            "2022",
            "openreview:cGDAkQo1C0p",
        ),
    )
    data: str  # table to learn from: .csv .tsv .jsonl, also .gz, or .parquet
    time: tuple[
        Column, ...
    ] = ()  # column of the time, or columns of year,month,day,hour,minute,second; none: row by row
    target: tuple[Column, ...] = ()  # columns to forecast; none: all others that hold numbers
    covariates: tuple[Column, ...] = ()  # columns of numbers that are known of the future too, such as holidays
    calendar: bool = False  # tell the model hour, weekday and time of the year of each step
    horizon: int = pydantic.Field(default=24, gt=0)  # steps to forecast
    length: int | None = pydantic.Field(default=None, gt=0)  # steps to read; None: 3 horizons, 2 seasons at least
    patch: int | None = pydantic.Field(default=None, gt=0)  # steps that the model takes together; None: by the length
    apart: bool = True  # each series is an example of its own; else all of them are the values of a step
    quantiles: tuple[float, ...] = ()  # levels to forecast, 0.5 among them, e.g. 0.1,0.5,0.9; none: one value
    loss: Literal["mse", "mae"] = "mse"  # of one value; quantiles have the pinball loss
    pool: Literal["last", "flatten"] = "last"  # forecast from the last vector, or from all of them side by side
    head_dropout: float = pydantic.Field(default=0.0, ge=0, lt=1)  # on what is forecast from
    normalise: Literal["window", "last", "train"] = "last"  # by a window's mean and deviation, its last value, or not
    split: tuple[float, float, float] = (0.7, 0.1, 0.2)  # training, validation and test: shares, or numbers of steps
    season: int | None = pydantic.Field(default=None, gt=0)  # steps; None: by the step, e.g. 24 of hours, 12 of months
    time_format: str | None = None  # such as %d/%m/%Y; None: found
    duplicates: Literal["refuse", "mean"] = "refuse"  # rows of one time: refuse, or mean of their values
    encoding: str = "utf-8"  # of the file
    header: bool | None = None  # whether the first row names the columns; None: it does unless all are numbers
    delimiter: str | None = None  # what separates cells; None: by the file's name
    allow_rejects: bool = False  # go on with more than 0.1 % of the rows unusable

    @pydantic.field_validator("time", "target", "covariates", mode="before")
    @classmethod
    def _columns(cls, given: Any) -> Any:
        given = [given] if isinstance(given, str | int) else given
        return tuple(int(c) if isinstance(c, str) and c.isdecimal() else c for c in given)

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.calendar and not self.time:
            raise ValueError("the calendar needs a time: name its column with --time")
        whole = all(part == int(part) for part in self.split)
        if min(self.split) <= 0 or not (whole or math.isclose(sum(self.split), 1)):
            raise ValueError(
                f"split {self.split}: give three shares that sum to 1, as 0.7,0.1,0.2, or three numbers of steps"
            )
        Head(horizon=self.horizon, quantiles=self.quantiles, loss=self.loss)
        return self

    @chosen_by("time", "target", "covariates")
    def open(self, seed: int = 0) -> Opened:
        """Read the series, split them by time, standardise by the training part; nothing depends on the seed.

        Raises:
            ValueError: the table cannot be read, its times are duplicated or irregular, a part is too short, or a
                target has no value, or all are constant, in training.
        """
        found = self._prepared()
        parts, window, series = found.parts, found.window, found.series
        least = floors(parts, found.season)
        best = min(least, key=lambda name: least[name])
        patch = self._patch(window)
        count = len(series.names)
        known = int((~np.isnan(series.values[: found.ends[0]])).sum())
        return Opened(
            task=self,
            title=f"Next {self.horizon} steps of {PurePath(self.data).name}",
            train=parts[0],
            validation=parts[1],
            test=parts[2],
            frontend=_frontend(window, count, parts[0].covariates.shape[1], patch),
            head=Head(
                horizon=self.horizon,
                series=1 if self.apart else count,
                quantiles=self.quantiles,
                loss=self.loss,
                pool=self.pool,
                steps=(window.length + window.ahead) // patch if self.pool == "flatten" else None,
                dropout=self.head_dropout,
            ),
            causal=self.pool == "last",
            floor=least[best],
            floor_of=f"the {best} forecast, the best of {', '.join(least)}",
            facts={**series.facts, **_facts(self, found), "patch": patch, "floors_mse": least},
            rejects=[{"line": line, "reason": reason} for line, reason in series.rejects],
            parameters=min(max(_PER_VALUE * known, _SMALLEST), 100_000),
            defaults={"batch_size": 64, "learning_rate": 2e-3},
            scorer=functools.partial(by_block, steps=block(parts[2], self.horizon)),
            coding=self._coding(found.told),
            encoding=found.told.to_data(),
        )

    def coding(self, encoding: Any) -> Coding:
        """Return how a file of recent history is read, and forecasts told in the data's own units."""
        return self._coding(Forecaster.of(encoding))

    def _coding(self, told: Forecaster) -> Coding:
        def items(path: Any) -> Iterator[Series]:
            yield self._read(path, told)

        return Coding(answers=told.answers, items=items)

    def _prepared(self) -> "_Prepared":
        """Read the series, standardise them, and cut the windows of each part."""
        series = self._read(self.data)
        ends = by_time(len(series), self.split, self.horizon)
        series, empty = _with_values(self, series, ends[0])
        train = series.values[: ends[0]]
        varying = np.nanmax(train, axis=0) > np.nanmin(train, axis=0)
        if not varying.any():
            raise ValueError(f"'{self.data}': every target is constant in training; there is nothing to learn")
        standard, also = Standard.of(train), Standard.of(series.covariates[: ends[0]])
        values = standard.apply(series.values).T.copy()
        covariates = known_ahead(series.covariates, also, series.times if self.calendar else None, series.grid)
        season = self._season(series, ends[0])
        window = self._window(season, bool(np.isnan(values).any()), ends[0])
        naive = np.where(varying, seasonal_error(values[:, : ends[0]], season), 0).astype(np.float32)
        parts = [
            windows(values, covariates, naive, window, np.arange(first, end - window.horizon + 1))
            for first, end in zip((window.length, *ends[:2]), ends, strict=True)
        ]
        _check_parts(self, parts)
        told = Forecaster(
            target=series.target,
            standard=standard,
            covariates=also,
            window=window,
            grid=series.grid,
            timed=bool(self.time),
            with_calendar=self.calendar,
        )
        return _Prepared(series, ends, empty, varying, season, window, parts, told)

    def _read(self, path: Any, told: Forecaster | None = None) -> Series:
        return read_series(
            path,
            self.time,
            told.target if told else self.target,
            self.covariates,
            time_format=self.time_format,
            duplicates=self.duplicates,
            grid=told.grid if told else None,
            encoding=self.encoding,
            header=self.header,
            delimiter=self.delimiter,
            allow_rejects=self.allow_rejects,
        )

    def _season(self, series: Series, train: int) -> int:
        """Return the season given, or that of the step if training holds two of it."""
        if self.season is not None:
            return self.season
        season = series.grid.season() if self.time else 1
        return season if 2 * season <= train else 1

    def _window(self, season: int, missing: bool, train: int) -> Window:
        """Return what an example is made of; its length is rounded up to whole patches."""
        ahead = self.horizon if self.covariates or self.calendar else 0
        length = self.length or min(max(3 * self.horizon, 2 * season, 16), max((train - self.horizon) // 2, 1))
        found = Window(length, self.horizon, self.apart, self.normalise, ahead, missing or ahead > 0)
        length += -(length + ahead) % self._patch(found)
        if length + self.horizon > train:
            raise ValueError(
                f"the training part has {train} steps, fewer than the {length} to read and {self.horizon} to forecast "
                "of one window; give a shorter --length or --horizon, or more rows"
            )
        return Window(length, self.horizon, self.apart, self.normalise, ahead, missing or ahead > 0)

    def _patch(self, window: Window) -> int:
        steps = window.length + window.ahead
        return self.patch or 2 ** max(int(math.log2(steps / _STEPS)), 0)


class _Prepared(NamedTuple):
    """Series that are ready to be learnt from."""

    series: Series
    ends: tuple[int, int, int]  # the step behind the last of training, validation and test
    empty: list[str]  # names of series without a value in training, left out
    varying: np.ndarray  # (C,) whether training shows two values
    season: int
    window: Window
    parts: list[SeriesWindows]
    told: Forecaster


def _facts(task: Forecast, found: _Prepared) -> dict[str, Any]:
    """Return what was done to the series, for the report."""
    names, ends, window = found.series.names, found.ends, found.window
    of_each = 1 if not window.apart else len(names)
    possible = (ends[2] - window.length - len(ends) * (task.horizon - 1)) * of_each
    sizes = [len(part) for part in found.parts]
    return {
        **dict(zip(("train", "validation", "test"), sizes, strict=True)),
        "series": list(names),
        "series_without_values": found.empty,
        "series_constant": [name for name, varies in zip(names, found.varying, strict=True) if not varies],
        "steps_of_parts": [ends[0], ends[1] - ends[0], ends[2] - ends[1]],
        "steps_unused": len(found.series) - ends[2],
        "windows_left_out": possible - sum(sizes),
        "horizon": task.horizon,
        "length": window.length,
        "season": found.season,
    }


def _with_values(task: Forecast, series: Series, train: int) -> tuple[Series, list[str]]:
    """Return the series without targets that training shows no value of, and the names of these."""
    known = np.any(~np.isnan(series.values[:train]), axis=0)
    empty = [name for name, some in zip(series.names, known, strict=True) if not some]
    if empty and (task.target or not known.any()):
        raise ValueError(
            f"column '{empty[0]}' of '{task.data}' has no value in the {train} steps of training; leave it out of "
            "--target"
        )
    return series.only(known), empty


def _frontend(window: Window, series: int, covariates: int, patch: int) -> Frontend:
    channels = (1 if window.apart else series) * (1 + window.flags) + covariates
    return Patches(channels=channels, size=patch) if patch > 1 else Values(channels=channels)


def _check_parts(task: Forecast, parts: list[SeriesWindows]) -> None:
    for name, part in zip(("training", "validation", "test"), parts, strict=True):
        if not len(part):
            raise ValueError(f"no window of the {name} part of '{task.data}' has a known value to read and to forecast")
