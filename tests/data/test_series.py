"""Series of users stand on a regular grid: sorted, doubled times refused or averaged, gaps and missing cells NaN."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pytest

from seqloom.core.runtime import data_dir
from seqloom.data.series import Series, read_series
from seqloom.data.times import Grid, calendar, find_grid, parse_parts, parse_times, shown

needs_data = pytest.mark.skipif(data_dir() is None, reason="the data sets under SEQLOOM_DATA are not here")
HOURS = [datetime(2024, 2, 28, 20) + timedelta(hours=i) for i in range(12)]


def series(folder: Path, text: str, name: str = "a.csv", time: tuple = ("t",), **options) -> Series:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return read_series(path, time, options.pop("target", ()), **options)


def rows(times: list, values: list) -> str:
    return "t,x\n" + "".join(f"{time},{value}\n" for time, value in zip(times, values, strict=True))


@pytest.mark.parametrize(
    "form",
    ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S+00:00", "%Y/%m/%d %H:%M", "%d.%m.%Y %H:%M",
     "%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M:%S", "%m/%d/%Y %I:%M %p"],
)  # fmt: skip
def test_common_formats_are_told_by_what_reads_every_cell(form: str) -> None:
    times, none = parse_times([time.strftime(form) for time in HOURS])
    assert not none.any() and times.tolist() == HOURS


@pytest.mark.parametrize("unit", [1, 1_000, 1_000_000, 1_000_000_000])
def test_counts_since_1970_are_told_by_their_size(unit: int) -> None:
    seconds = [1_709_150_400 + 3600 * i for i in range(12)]
    times, _ = parse_times([str(second * unit) for second in seconds])
    assert times.tolist() == HOURS


def test_digits_may_be_dates_years_or_plain_numbers() -> None:
    assert parse_times(["20240228", "20240229"])[0].tolist() == [datetime(2024, 2, 28), datetime(2024, 2, 29)]
    assert parse_times(["1949", "1950"])[0].tolist() == [datetime(1949, 1, 1), datetime(1950, 1, 1)]
    assert parse_times(["0", "0.5"])[0].tolist() == [0.0, 0.5]
    assert parse_times(["1949-01", "1949-02"])[0].tolist() == [datetime(1949, 1, 1), datetime(1949, 2, 1)]


def test_times_of_a_zone_become_utc() -> None:
    times, _ = parse_times(["2024-03-31 01:00+01:00", "2024-03-31 03:00+02:00"])
    assert times.tolist() == [datetime(2024, 3, 31), datetime(2024, 3, 31, 1)]


def test_day_and_month_that_cannot_be_told_apart_are_refused_unless_the_format_is_given() -> None:
    cells = ["01/02/2024", "02/02/2024"]
    with pytest.raises(ValueError, match=r"'01/02/2024' may be 2024-01-02 or 2024-02-01; say which with --time-format"):
        parse_times(cells)
    assert parse_times(cells, "%d/%m/%Y")[0].tolist() == [datetime(2024, 2, 1), datetime(2024, 2, 2)]


def test_a_cell_that_is_no_time_is_told_and_a_column_of_them_refused() -> None:
    assert parse_times(["2024-01-01", "soon", "2024-01-03"])[1].tolist() == [False, True, False]
    with pytest.raises(ValueError, match="'soon' is no time in a known format"):
        parse_times(["soon", "later"])


def test_several_columns_are_year_month_day_and_so_on() -> None:
    times, none = parse_parts([["2024", "2024"], ["2", "13"], ["29", "1"], ["5", "0"]])
    assert times[0].tolist() == datetime(2024, 2, 29, 5) and none.tolist() == [False, True]
    with pytest.raises(ValueError, match="at most six"):
        parse_parts([["1"]] * 7)


def stamps(*texts: str) -> np.ndarray:
    return np.array(texts, dtype="datetime64[us]")


@pytest.mark.parametrize(
    ("times", "words", "season", "following"),
    [
        (("2024-01-01T00", "2024-01-01T01", "2024-01-01T03"), "1.5 hours", 16, None),
        (("2024-01-01T00", "2024-01-01T01", "2024-01-01T02"), "1 hours", 24, "2024-01-01 03:00:00"),
        (("2024-01-01", "2024-01-02", "2024-01-03"), "1 days", 7, "2024-01-04"),
        (("2024-01-01", "2024-01-08", "2024-01-15"), "7 days", 52, "2024-01-22"),
        (("2024-01-15", "2024-02-15", "2024-03-15"), "1 months", 12, "2024-04-15"),
        (("2024-01-31", "2024-02-29", "2024-03-31"), "1 months", 12, "2024-04-30"),
        (("2023-01-01", "2023-04-01", "2023-07-01"), "3 months", 4, "2023-10-01"),
        (("2021-01-01", "2022-01-01", "2023-01-01"), "12 months", 1, "2024-01-01"),
    ],
)
def test_the_step_and_its_season(times: tuple, words: str, season: int, following: str | None) -> None:
    if following is None:
        with pytest.raises(ValueError, match="not regular"):
            find_grid(stamps(*times))
        return
    grid, slots = find_grid(stamps(*times))
    assert (grid.words(), grid.season(), slots.tolist()) == (words, season, [0, 1, 2])
    assert shown(grid.after(stamps(times[-1])[0], np.array([1]))[0]) == following
    assert Grid(**json.loads(json.dumps(grid.to_data()))) == grid


def test_a_clock_may_drift() -> None:
    times = np.cumsum(np.full(500, 60.2)) + np.random.default_rng(0).uniform(-3, 3, 500)
    assert find_grid(np.sort(times))[1].tolist() == list(range(500))


def test_other_steps_than_were_learnt_from_are_refused() -> None:
    grid, _ = find_grid(stamps("2024-01-01T00", "2024-01-01T01", "2024-01-01T02"))
    with pytest.raises(ValueError, match="a step of 1 days, where one of 1 hours was learnt from"):
        find_grid(stamps("2024-01-01", "2024-01-02", "2024-01-03"), grid)


def test_the_calendar_shows_what_the_step_can_show() -> None:
    hours = stamps("2024-01-01T06", "2024-01-01T07", "2024-01-01T08")  # a Monday
    waves = calendar(hours, Grid("microseconds", 3.6e9))
    assert waves.shape == (3, 6) and np.allclose(waves[0], [1, 0, 0, 1, 0, 1], atol=1e-6)
    months = stamps("2024-01-01", "2024-02-01", "2024-03-01")
    assert calendar(months, Grid("months", 1)).shape == (3, 2)
    with pytest.raises(ValueError, match="no hour or weekday"):
        calendar(np.arange(3.0), Grid("numbers", 1.0))


def test_rows_out_of_order_are_sorted_and_said(tmp_path: Path) -> None:
    order = [0, 2, 1, 3, 4, 5]
    read = series(tmp_path, rows([HOURS[i] for i in order], order))
    assert read.values[:, 0].tolist() == [0, 1, 2, 3, 4, 5] and read.facts["rows_out_of_order"] == 1


def test_equal_times_are_refused_or_averaged(tmp_path: Path) -> None:
    text = rows([*HOURS[:4], HOURS[1]], [1, 2, 3, 4, 6])
    with pytest.raises(
        ValueError, match=r"1 rows have the time of another, such as lines 3 and 6, .*--duplicates mean"
    ):
        series(tmp_path, text)
    read = series(tmp_path, text, duplicates="mean")
    assert read.values[:, 0].tolist() == [1, 4, 3, 4] and read.facts["rows_of_equal_time"] == 1
    read = series(tmp_path, text.replace("21:00:00,2", "21:00:00,NA"), duplicates="mean")
    assert read.values[:, 0].tolist() == [1, 6, 3, 4]


def test_gaps_are_steps_without_a_value(tmp_path: Path) -> None:
    read = series(tmp_path, rows([HOURS[i] for i in (0, 1, 2, 5, 6)], [0, 1, 2, 5, 6]))
    assert np.isnan(read.values[:, 0]).tolist() == [False] * 3 + [True] * 2 + [False] * 2
    assert read.times.tolist() == HOURS[:7] and read.facts["steps_filled"] == 2


def test_gaps_longer_than_the_data_are_refused(tmp_path: Path) -> None:
    times = [*HOURS[:3], HOURS[0] + timedelta(days=30), HOURS[1] + timedelta(days=30)]
    with pytest.raises(ValueError, match="leave too many gaps"):
        series(tmp_path, rows(times, [1, 2, 3, 4, 5]))


@pytest.mark.parametrize("cell", ["", "NA", "NaN", "nan", "null", "  "])
def test_missing_cells_are_nan(tmp_path: Path, cell: str) -> None:
    read = series(tmp_path, rows(HOURS[:4], [1, cell, 3, 4]))
    assert np.isnan(read.values[:, 0]).tolist() == [False, True, False, False]
    assert read.facts["missing_share"] == {"x": 0.25} and read.facts["rows_rejected"] == 0


@pytest.mark.parametrize("cell", ["high", "inf", "1_000", "1.2.3"])
def test_cells_that_are_no_numbers_are_rejects(tmp_path: Path, cell: str) -> None:
    with pytest.raises(ValueError, match=f"1 of 12 rows cannot be used.*Line 3: column 'x' is '{cell}'"):
        series(tmp_path, rows(HOURS, [1, cell, *range(10)]), target=("x",))
    read = series(tmp_path, rows(HOURS, [1, cell, *range(10)]), target=("x",), allow_rejects=True)
    assert (read.facts["rows_in"], read.facts["rows_used"], read.facts["rows_rejected"]) == (12, 11, 1)
    assert len(read) == 12 and np.isnan(read.values[1, 0])  # the reject leaves a gap


def test_without_a_target_all_columns_of_numbers_are_taken(tmp_path: Path) -> None:
    text = "t,x,wind,y\n" + "".join(f"{time},{i},NW,{-i}\n" for i, time in enumerate(HOURS))
    read = series(tmp_path, text)
    assert read.names == ("x", "y") and read.facts["columns_left_out"] == ["wind"]
    with pytest.raises(ValueError, match="no column of numbers"):
        series(tmp_path, "t,wind\n" + "".join(f"{time},NW\n" for time in HOURS))
    with pytest.raises(ValueError, match="column 't' is named twice"):
        series(tmp_path, text, target=("t",))


def test_formats_hold_the_same_series(tmp_path: Path) -> None:
    expected = series(tmp_path, rows(HOURS, [1, "NA", *range(10)]))
    values = [1, None, *range(10)]
    objects = [{"t": str(time), "x": value} for time, value in zip(HOURS, values, strict=True)]
    duckdb.sql(f"COPY (FROM read_csv('{tmp_path / 'a.csv'}', nullstr='NA')) TO '{tmp_path / 'a.parquet'}'")
    found = [
        series(tmp_path, rows(HOURS, [1, "", *range(10)]).replace(",", "\t"), "a.tsv"),
        series(tmp_path, "\n".join(map(json.dumps, objects)), "a.jsonl"),
        series(tmp_path, rows(HOURS, [1, "", *range(10)]).partition("\n")[2], "b.csv", time=(0,), target=(1,)),
        read_series(tmp_path / "a.parquet", ("t",), ()),
    ]
    for read in found:
        assert np.array_equal(read.values, expected.values, equal_nan=True) and (read.times == expected.times).all()


def test_without_a_time_column_rows_are_steps(tmp_path: Path) -> None:
    read = series(tmp_path, "x\n3\n1\n2\n", time=())
    assert read.values[:, 0].tolist() == [3, 1, 2] and read.facts["step"] == "a row"


@needs_data
@pytest.mark.realdata
@pytest.mark.parametrize(
    ("file", "time", "steps", "step", "filled"),
    [
        ("ett/ETTh1.csv", ("date",), 17420, "1 hours", 0),
        ("series/airline-passengers.csv", ("Month",), 144, "1 months", 0),
        ("series/daily-min-temperatures.csv", ("Date",), 3652, "1 days", 2),  # leap days are not in the file
        ("series/pollution.csv", ("year", "month", "day", "hour"), 43824, "1 hours", 0),
    ],
)
def test_real_series_lose_no_row(file: str, time: tuple, steps: int, step: str, filled: int) -> None:
    root = data_dir()
    assert root is not None
    read = read_series(root / file, time, ())
    assert (len(read), read.facts["step"], read.facts["steps_filled"]) == (steps, step, filled)
    assert read.facts["rows_rejected"] == 0
