"""Forecast: windows, splits by time, floors and answers are what they are said to be; each edge has an answer."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seqloom.core.registry import catalog
from seqloom.core.runtime import data_dir
from seqloom.core.spec import resolve, to_data
from seqloom.data.series import Series
from seqloom.data.windows import SeriesWindows
from seqloom.lab.trained import load
from seqloom.measure.baselines import Ridge, ridge, season_filled, seasonal, seasonal_error
from seqloom.model.model import Model
from seqloom.tasks.task import Interface, Opened, Task, evaluate
from seqloom.train.experiment import Budget, Experiment
from seqloom.train.loop import Training
from seqloom.zoo.gru import GRUStack

needs_data = pytest.mark.skipif(data_dir() is None, reason="the data sets under SEQLOOM_DATA are not here")
START = datetime(2024, 1, 1)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def table(folder: Path, columns: dict[str, list | np.ndarray], name: str = "a.csv") -> str:
    steps = len(next(iter(columns.values())))
    lines = ["date," + ",".join(columns)]
    for i in range(steps):
        cells = ["" if value is None or value != value else str(value) for value in (c[i] for c in columns.values())]
        lines.append(f"{START + timedelta(hours=i)}," + ",".join(cells))
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(folder / name)


def waves(steps: int = 400) -> dict[str, Any]:
    generator, t = np.random.default_rng(0), np.arange(steps)
    return {
        "a": 100 + 10 * np.sin(2 * np.pi * t / 24) + generator.normal(size=steps),
        "b": -0.5 * t + 5 * np.cos(2 * np.pi * t / 24) + generator.normal(size=steps),
    }


def opened(data: str, **settings: Any) -> Opened:
    rest = {"time": "date", "horizon": 6, "normalise": "window", **settings}
    return resolve(Task, {"name": "forecast", "data": data, **rest}).open()


def windows(part: Any) -> SeriesWindows:
    assert isinstance(part, SeriesWindows)
    return part


def model_of(task: Opened) -> Model:
    return GRUStack(width=16, layers=1).model(task.frontend, task.head, task.causal).build(seed=0)


def raw(path: str, column: int) -> np.ndarray:
    return np.genfromtxt(path, delimiter=",", skip_header=1, usecols=column)


@pytest.mark.parametrize("normalise", ["window", "last", "train"])
def test_a_window_and_its_target_give_the_values_of_the_file_back(tmp_path: Path, normalise: str) -> None:
    path = table(tmp_path, waves())
    task = opened(path, normalise=normalise, length=20, patch=1)
    values = np.stack([raw(path, 1), raw(path, 2)])
    train = values[:, :280]
    standard = (values - train.mean(1, keepdims=True)) / train.std(1, keepdims=True)
    part = windows(task.validation)
    rows = np.array([0, 3, len(part) - 1])
    batch = part.batch(rows)
    for row, inputs, target in zip(rows, batch.inputs.numpy()[..., 0], batch.target.numpy()[:, 0], strict=True):
        series, start = part.series[row], part.starts[row]
        past = standard[series, start - 20 : start]
        middle = {"window": past.mean(), "last": past[-1], "train": 0.0}[normalise]
        scale = np.sqrt(past.var() + 1e-5) if normalise == "window" else 1.0
        np.testing.assert_allclose(inputs * scale + middle, past, atol=1e-4)
        np.testing.assert_allclose(target[:6] * scale + middle, standard[series, start : start + 6], atol=1e-4)
        assert target[6] == pytest.approx(scale, rel=1e-4)


def test_parts_are_cut_by_time_and_look_back_only_to_read(tmp_path: Path) -> None:
    task = opened(table(tmp_path, waves()), length=20, patch=1, split=(200, 60, 100))
    spans = [(20, 200), (200, 260), (260, 360)]
    for part, (first, end) in zip((task.train, task.validation, task.test), spans, strict=True):
        starts = windows(part).starts
        assert (starts.min(), starts.max()) == (first, end - 6) and len(part) == 2 * (end - first - 5)
    assert task.facts["steps_unused"] == 40 and task.facts["steps_of_parts"] == [200, 60, 100]


def test_only_training_values_make_the_scale(tmp_path: Path) -> None:
    columns = waves()
    before = windows(opened(table(tmp_path, columns)).train).batch(np.arange(5))
    columns["a"][300:] *= 1000
    after = windows(opened(table(tmp_path, columns, "b.csv")).train).batch(np.arange(5))
    assert torch.equal(before.inputs, after.inputs) and torch.equal(before.target, after.target)


def test_missing_values_are_flagged_read_as_the_mean_and_not_scored(tmp_path: Path) -> None:
    columns = waves()
    columns["a"][5:9] = np.nan
    columns["b"][:] = np.where(np.arange(400) % 50 == 3, np.nan, columns["b"])
    task = opened(table(tmp_path, columns), length=12, patch=1)
    part = windows(task.train)
    row = int(np.flatnonzero((part.series == 0) & (part.starts == 12))[0])
    batch = part.batch(np.array([row]))
    assert batch.inputs.shape == (1, 12, 2)
    assert batch.inputs[0, :, 1].tolist() == [1] * 5 + [0] * 4 + [1] * 3 and (batch.inputs[0, 5:9, 0] == 0).all()
    assert batch.inputs[0, batch.inputs[0, :, 1] == 1, 0].mean().item() == pytest.approx(0, abs=1e-5)
    assert set(task.facts["missing_share"]) == {"a", "b"}
    assert torch.isfinite(model_of(task)(batch.inputs)[0]).all()


def test_windows_of_which_nothing_is_known_are_left_out_and_counted(tmp_path: Path) -> None:
    columns = waves()
    columns["a"][100:140] = np.nan
    task = opened(table(tmp_path, columns), length=12, patch=1, target="a")
    starts = windows(task.train).starts
    assert task.facts["windows_left_out"] == 41  # nothing to forecast from 100 to 134, nothing to read from 112 to 140
    assert not ((starts >= 100) & (starts <= 140)).any()


def test_mixed_series_are_the_values_of_a_step(tmp_path: Path) -> None:
    apart, mixed = (opened(table(tmp_path, waves()), length=20, patch=1, apart=apart) for apart in (True, False))
    assert len(apart.test) == 2 * len(mixed.test) and apart.floor == mixed.floor
    assert mixed.test.batch(np.arange(3)).inputs.shape == (3, 20, 2)
    assert mixed.test.batch(np.arange(3)).target.shape == (3, 2, 8)
    assert set(mixed.score(model_of(mixed), mixed.test).values()) == {"mse", "mae", "mase"}


def test_covariates_and_calendar_are_read_of_the_steps_ahead_and_the_values_are_not(tmp_path: Path) -> None:
    columns = waves() | {"open": (np.arange(400) // 12 % 2).astype(float)}
    task = opened(table(tmp_path, columns), target="a", covariates="open", calendar=True, length=12, patch=1)
    part = windows(task.test)
    inputs = part.batch(np.array([0])).inputs[0].numpy()
    start = int(part.starts[0])
    assert inputs.shape == (18, 2 + 1 + 6) and (inputs[12:, :2] == 0).all() and (inputs[:12, 1] == 1).all()
    known = columns["open"][start - 12 : start + 6]
    assert np.array_equal(inputs[:, 2] > 0, known > 0.5)
    hour = 2 * np.pi * (np.arange(start - 12, start + 6) % 24) / 24
    np.testing.assert_allclose(inputs[:, 3:5], np.stack([np.sin(hour), np.cos(hour)], axis=1), atol=1e-5)


@pytest.mark.parametrize("ahead", [False, True])
def test_the_length_is_rounded_up_to_whole_patches(tmp_path: Path, ahead: bool) -> None:
    task = opened(table(tmp_path, waves()), length=21, patch=8, calendar=ahead, pool="flatten")
    assert task.facts["length"] == (26 if ahead else 24) and task.train.lengths[0] == (32 if ahead else 24)
    assert model_of(task)(task.train.batch(np.arange(2)).inputs)[0].shape == (2, 1, 6, 1)


def test_season_filled_takes_the_value_of_a_season_before() -> None:
    nan = np.nan
    values = np.array([[1.0, nan, 3.0, nan, 5.0, nan, 7.0]])
    assert season_filled(values, 1).tolist() == [[1, 1, 3, 3, 5, 5, 7]]
    assert season_filled(values, 3).tolist() == [[1, 0, 3, 1, 5, 3, 7]]


def test_seasonal_forecasts_repeat_the_last_season() -> None:
    values = np.arange(10.0)[None]
    found = seasonal(values, 4, np.array([0]), np.array([8]), 6)
    assert found.tolist() == [[4, 5, 6, 7, 4, 5]]
    assert seasonal(values, 1, np.array([0]), np.array([8]), 3).tolist() == [[7, 7, 7]]
    assert seasonal_error(values, 4).tolist() == [4.0] and seasonal_error(values[:, :4], 4).tolist() == [0.0]


def test_the_ridge_regression_finds_a_linear_map_and_equals_scikit_learn() -> None:
    from sklearn.linear_model import Ridge as Reference

    generator = np.random.default_rng(0)
    x, weight = generator.normal(size=(300, 5)), generator.normal(size=(5, 2))
    y, scale = x @ weight + 3, generator.uniform(0.5, 2, size=300)
    fit = ridge([(x[:150], y[:150], scale[:150]), (x[150:], y[150:], scale[150:])], [(x, y, scale)])
    assert fit is not None
    np.testing.assert_allclose(fit(x), y, atol=1e-3)
    noisy = y + generator.normal(size=y.shape)
    fit = ridge([(x, noisy, scale)], [(x, noisy, scale)])  # on its own data the least penalty is best
    assert fit is not None
    wide = np.concatenate([x, np.ones((300, 1))], axis=1) * scale[:, None]
    penalty = 1e-6 * np.trace(wide.T @ wide) / 6
    expected = Reference(alpha=penalty, fit_intercept=False).fit(wide, noisy * scale[:, None]).coef_.T
    np.testing.assert_allclose(fit.weight, expected, rtol=1e-6)
    assert ridge([(x, np.full_like(y, np.nan), scale)], []) is None and isinstance(fit, Ridge)


def test_the_floor_is_the_best_of_the_forecasts_without_a_model(tmp_path: Path) -> None:
    path = table(tmp_path, waves())
    task = opened(path, target="a", length=48, patch=1)
    values, floors = raw(path, 1), task.facts["floors_mse"]
    starts = np.arange(320, 400 - 6 + 1)
    expected = {
        "naive": [values[s : s + 6] - values[s - 1] for s in starts],
        "seasonal naive": [values[s : s + 6] - values[s - 24 : s - 18] for s in starts],
    }
    for name, errors in expected.items():
        assert floors[name] == pytest.approx(np.square(errors).mean() / values[:280].var(), rel=1e-4)
    assert task.facts["season"] == 24 and set(floors) == {*expected, "linear"}
    assert task.floor == min(floors.values()) and task.floor_of.startswith("the linear forecast")


def test_scores_are_kept_by_stretches_of_time_and_are_those_of_the_windows(tmp_path: Path) -> None:
    task = opened(table(tmp_path, waves()), quantiles=(0.1, 0.5, 0.9))
    model = model_of(task)
    blocks, rows = task.score(model, task.test), evaluate(model, task.test)
    assert 8 <= len(blocks) < len(rows) == len(task.test)
    for metric, value in rows.values().items():
        assert blocks.value(metric) == pytest.approx(value, rel=1e-9)
    assert "crps" in rows.values()


def test_mase_of_the_seasonal_naive_forecast_on_training_data_is_one(tmp_path: Path) -> None:
    task = opened(table(tmp_path, waves()), length=24, patch=1, season=24, horizon=24, normalise="train")
    part = windows(task.train)
    batch = part.batch(np.flatnonzero(np.isin(part.starts, np.arange(24, 257, 24))))
    again = batch.inputs[:, :24, 0].reshape(-1, 1, 24, 1)
    scores = task.head.build(4).scores(again, batch.target)["mase"]
    assert float(scores[0].sum() / scores[1].sum()) == pytest.approx(1.0, rel=0.05)  # windows without an overlap


def _upto(path: str, step: int, into: Path) -> Path:
    """Write the header and 25 rows before a step."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    into.write_text("\n".join([lines[0], *lines[step - 24 : step + 1]]), encoding="utf-8")
    return into


def restored(task: Opened) -> Interface:
    data = json.loads(json.dumps(task.interface()))
    return Interface.restored(resolve(Task, json.loads(json.dumps(to_data(task.task)))), data)


@pytest.mark.parametrize("apart", [True, False])
def test_answers_are_in_the_units_of_the_data_with_their_times(tmp_path: Path, apart: bool) -> None:
    path = table(tmp_path, waves())
    task = opened(path, length=20, patch=1, apart=apart, quantiles=(0.1, 0.5, 0.9))
    model = model_of(task).eval()
    coding = restored(task).coding
    assert coding.items is not None and coding.answers is not None
    (answer,) = coding.answers(model, list(coding.items(_upto(path, 383, tmp_path / "recent.csv"))))
    assert answer["time"][:2] == ["2024-01-16 23:00:00", "2024-01-17 00:00:00"]
    (answer,) = coding.answers(model, list(coding.items(_upto(path, 394, tmp_path / "recent.csv"))))
    assert answer["time"] == [str(START + timedelta(hours=394 + i)) for i in range(6)]
    json.dumps(answer, allow_nan=False)
    part = windows(task.test)
    rows = np.flatnonzero(part.starts == 394)
    batch = part.batch(rows)
    with torch.no_grad():
        output = model(batch.inputs)[0].reshape(2, 6, 3)
    train = np.stack([raw(path, 1), raw(path, 2)])[:, :280]
    standard = np.stack([raw(path, 1), raw(path, 2)])[:, 374:394]
    standard = (standard - train.mean(1, keepdims=True)) / train.std(1, keepdims=True)
    scale, middle = np.sqrt(standard.var(axis=1) + 1e-5), standard.mean(axis=1)
    found = np.sort(output.numpy(), axis=2) * scale[:, None, None] + middle[:, None, None]
    found = found * train.std(1)[:, None, None] + train.mean(1)[:, None, None]
    for name, expected in zip("ab", found, strict=True):
        np.testing.assert_allclose(answer["forecast"][name], expected[:, 1], rtol=1e-3)
        np.testing.assert_allclose(answer["quantiles"][name]["0.9"], expected[:, 2], rtol=1e-3)


def test_a_run_forecasts_without_the_data_that_it_learnt_from(tmp_path: Path) -> None:
    path = Path(table(tmp_path, waves()))
    task = resolve(Task, {"name": "forecast", "data": str(path), "time": "date", "horizon": 6, "length": 12})
    Training(
        Experiment(task=task, model=GRUStack(width=8, layers=1), budget=Budget(steps=2)), out=tmp_path / "run"
    ).finish()
    recent = path.rename(tmp_path / "recent.csv")
    trained = load(tmp_path / "run")
    (answer,) = trained.answers(trained.items(recent))
    assert set(answer["forecast"]) == {"a", "b"} and answer["time"][0] == str(START + timedelta(hours=400))


def test_a_line_of_numbers_is_the_history_of_one_series(tmp_path: Path) -> None:
    task = opened(table(tmp_path, waves()), target="a", length=12, patch=1)
    answers = restored(task).coding.answers
    assert answers is not None
    (answer,) = answers(model_of(task), [" ".join(map(str, waves()["a"][-15:]))])
    assert answer["time"] == [1, 2, 3, 4, 5, 6] and len(answer["forecast"]["a"]) == 6
    for line, message in (("1 2 3", "the history has 3 steps up to its last value; the model reads 12"),
                          ("1 two 3", "is not a line of numbers")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            answers(model_of(task), [line])


def test_a_history_with_covariates_brings_those_of_the_future(tmp_path: Path) -> None:
    columns = waves() | {"open": np.arange(400) % 7}
    task = opened(table(tmp_path, columns), target="a", covariates="open", length=12, calendar=True)
    coding = restored(task).coding
    assert coding.items is not None and coding.answers is not None
    recent = {name: list(column[:40]) for name, column in columns.items()}
    path = Path(table(tmp_path, recent, "recent.csv"))
    with pytest.raises(
        ValueError, match="covariates of 0 steps behind its last value, and the forecast needs those of 6"
    ):
        coding.answers(model_of(task), list(coding.items(path)))
    recent["a"][34:] = [None] * 6
    (answer,) = coding.answers(model_of(task), list(coding.items(Path(table(tmp_path, recent, "recent.csv")))))
    assert answer["time"][0] == str(START + timedelta(hours=34))


def test_a_series_without_values_is_left_out_and_a_constant_one_kept(tmp_path: Path) -> None:
    columns = waves() | {"none": [None] * 399 + [1.0], "same": [7.1] * 400}
    task = opened(table(tmp_path, columns))
    assert task.facts["series"] == ["a", "b", "same"] and task.facts["series_without_values"] == ["none"]
    assert task.facts["series_constant"] == ["same"]
    assert np.isfinite(list(task.score(model_of(task), task.test).values().values())).all()
    (answer,) = task.coding.answers(model_of(task), list(task.coding.items(Path(task.task.data))))  # type: ignore
    assert answer["forecast"]["same"] == pytest.approx([7.1] * 6, abs=0.1)


@pytest.mark.parametrize(
    ("columns", "settings", "message"),
    [
        ({"a": [1.0, 2.0] * 6}, {}, "validation part has 1 of the 12 steps, fewer than the horizon of 6"),
        (waves(100), {"horizon": 15}, "validation part has 10 of the 100 steps, fewer than the horizon of 15"),
        (waves(100), {"split": (0.4, 0.5, 0.1), "horizon": 12}, "test part has 10 of the 100 steps"),
        (waves(100), {"length": 65}, "training part has 70 steps, fewer than the 66 to read and 6 to forecast"),
        (waves(100), {"split": (90, 10, 10)}, "asks for 110 steps and there are 100"),
        ({"a": [5.0] * 100}, {}, "every target is constant in training"),
        (
            {"a": [None] * 90 + [1.0] * 10},
            {"target": "a"},
            "column 'a' of '.*' has no value in the 70 steps of training",
        ),
        ({"a": [None] * 70 + [1.0] * 30}, {}, "column 'a' of '.*' has no value"),
        ({"a": [*map(float, range(80)), *[None] * 20]}, {}, "no window of the test part"),
        (waves(100), {"target": "c"}, "no column 'c'"),
        (waves(100), {"time": "a", "target": "b"}, "not regular"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(tmp_path: Path, columns: dict, settings: dict, message: str) -> None:
    path = table(tmp_path, columns)
    with pytest.raises(ValueError, match=message):
        opened(path, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": (0.5, 0.1, 0.1)}, "three shares that sum to 1"),
        ({"split": (0.9, 0.1, 0.0)}, "three shares"),
        ({"calendar": True, "time": ()}, "name its column with --time"),
        ({"quantiles": (0.1, 0.9)}, "0.5 among them"),
        ({"horizon": 0}, "greater than 0"),
    ],
)
def test_settings_that_contradict_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve(Task, {"name": "forecast", "data": "a.csv", **settings})


def test_columns_may_be_given_as_on_the_command_line() -> None:
    task = resolve(
        Task, {"name": "forecast", "data": "a.csv", "time": ["0"], "target": ["2", "load"], "split": ["8", "1", "1"]}
    )
    assert (task.time, task.target, task.split) == ((0,), (2, "load"), (8, 1, 1))  # type: ignore[attr-defined]
    assert all(field.doc for field in catalog("tasks")["forecast"].fields)


def test_the_history_is_what_the_file_says(tmp_path: Path) -> None:
    task = opened(table(tmp_path, waves()))
    assert task.coding.items is not None
    (item,) = task.coding.items(Path(task.task.data))  # type: ignore[attr-defined]
    assert isinstance(item, Series) and item.names == ("a", "b") and len(item) == 400


@needs_data
@pytest.mark.realdata
def test_etth1_has_the_windows_and_the_naive_error_of_the_literature() -> None:
    root = data_dir()
    assert root is not None
    settings = {"time": "date", "horizon": 96, "length": 336, "split": (8640, 2880, 2880)}
    task = opened(str(root / "ett" / "ETTh1.csv"), **settings)
    assert [len(part) / 7 for part in (task.train, task.validation, task.test)] == [8209, 2785, 2785]
    assert round(task.facts["floors_mse"]["naive"], 3) == pytest.approx(1.295, abs=0.001)  # arXiv 2205.13504, table 2
    assert 0.36 < task.facts["floors_mse"]["linear"] < 0.38  # theirs, with linear maps of the window: .374, .375
