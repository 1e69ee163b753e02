"""Columns that a table lacks: the message names the option that chooses the column."""

from pathlib import Path
from typing import Any

import pytest

from seqloom.core.spec import resolve
from seqloom.data.columns import NoColumn, chosen_by
from seqloom.tasks.classify import Classify
from seqloom.tasks.task import Task


@pytest.mark.parametrize(
    ("task", "settings", "column", "option"),
    [
        ("classify", {"label": "stars"}, "'stars'", "--label"),
        ("translate", {"source": "0", "target": "7"}, "7", "--target"),
        ("answer", {"question": "text", "candidate": "reply"}, "'reply'", "--candidate"),
        ("converse", {"intent": "category"}, "'category'", "--intent"),
        ("recommend", {"user": "text", "item": "song", "time": ""}, "'song'", "--item"),
        ("forecast", {"time": "date"}, "'date'", "--time"),
        ("forecast", {"covariates": ("holiday",)}, "'holiday'", "--covariates"),
    ],
    ids=["label", "target", "candidate", "intent", "item", "time", "covariates"],
)
def test_a_missing_column_is_told_with_its_option(
    tmp_path: Path, task: str, settings: dict[str, Any], column: str, option: str
) -> None:
    (tmp_path / "a.csv").write_text("text,n\na,1\nb,2\n")
    with pytest.raises(ValueError, match=rf"no column {column} \({option}\) in '.*a.csv'"):
        resolve(Task, {"name": task, "data": str(tmp_path / "a.csv"), **settings}).open()


def test_a_missing_column_of_json_lines_is_told_with_its_option(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n')
    with pytest.raises(ValueError, match=r"no column 'label' \(--label\) in"):
        Classify(data=str(tmp_path / "a.jsonl")).open()


def test_a_table_of_series_is_told_from_one_of_texts(tmp_path: Path) -> None:
    (tmp_path / "X_TRAIN.tsv").write_text("1\t0.5\t1.5\t2.5\n2\t0.1\t0.2\tNaN\n")
    with pytest.raises(ValueError, match=r"no column 'text' \(--text\) in .*the label first, as .tsv files of the UCR"):
        Classify(data=str(tmp_path / "X_TRAIN.tsv")).open()


def test_a_column_that_no_setting_chooses_is_told_without_an_option() -> None:
    class Reader:
        text_column = "text"

        @chosen_by("text_column")
        def open(self, column: str) -> None:
            raise NoColumn(column, Path("a.csv"), ". Its columns: 'x'.")

    with pytest.raises(NoColumn, match=r"^no column 'text' \(--text-column\) in 'a.csv'. Its columns: 'x'.$"):
        Reader().open("text")
    with pytest.raises(NoColumn, match=r"^no column 'file' in 'a.csv'. Its columns: 'x'.$"):
        Reader().open("file")


def test_a_setting_that_is_missing_is_told_with_its_option() -> None:
    with pytest.raises(ValueError, match=r"Forecast.data: missing; give it, on the command line as --data"):
        resolve(Task, {"name": "forecast", "time": "date"})
