"""Columns that a table lacks: the message names the option that chooses the column."""

from pathlib import Path
from typing import Any

import pytest

from seqloom.core.spec import resolve
from seqloom.data.columns import NoColumn, chosen_by
from seqloom.tasks.answer import Answer
from seqloom.tasks.classify import Classify
from seqloom.tasks.converse import Converse
from seqloom.tasks.forecast import Forecast
from seqloom.tasks.recommend import Recommend
from seqloom.tasks.task import Task
from seqloom.tasks.translate import Translate


@pytest.mark.parametrize(
    ("task", "settings", "column", "option"),
    [
        (Classify, {"label": "stars"}, "'stars'", "--label"),
        (Translate, {"source": "0", "target": "7"}, "7", "--target"),
        (Answer, {"question": "text", "candidate": "reply"}, "'reply'", "--candidate"),
        (Converse, {"intent": "category"}, "'category'", "--intent"),
        (Recommend, {"user": "text", "item": "song", "time": ""}, "'song'", "--item"),
        (Forecast, {"time": "date"}, "'date'", "--time"),
        (Forecast, {"covariates": ("holiday",)}, "'holiday'", "--covariates"),
    ],
    ids=["label", "target", "candidate", "intent", "item", "time", "covariates"],
)
def test_a_missing_column_is_told_with_its_option(
    tmp_path: Path, task: type[Task], settings: dict[str, Any], column: str, option: str
) -> None:
    (tmp_path / "a.csv").write_text("text,n\na,1\nb,2\n")
    with pytest.raises(ValueError, match=rf"no column {column} \({option}\) in '.*a.csv'"):
        task(data=str(tmp_path / "a.csv"), **settings).open()


def test_a_missing_column_of_json_lines_is_told_with_its_option(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n')
    with pytest.raises(ValueError, match=r"no column 'label' \(--label\) in"):
        Classify(data=str(tmp_path / "a.jsonl")).open()


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
