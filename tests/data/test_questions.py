"""Files of questions: answers are where they are said to be, what is broken is told, groups stay whole."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqloom.core.runtime import data_dir
from seqloom.data.batches import Arrays
from seqloom.data.questions import Grouped, read_candidates, read_passages

needs_data = pytest.mark.skipif(data_dir() is None, reason="no real data sets: set SEQLOOM_DATA")
CONTEXT = "Paris is in France. Paris is large."


def squad(path: Path, asked: list[Any], context: str = CONTEXT, encoding: str = "utf-8") -> Path:
    data = {"version": "2.0", "data": [{"title": "t", "paragraphs": [{"context": context, "qas": asked}]}]}
    content = json.dumps(data, ensure_ascii=False).encode(encoding)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def asked(text: str, *answers: tuple[str, int], **more: Any) -> dict[str, Any]:
    return {"question": text, "id": "1", "answers": [{"text": a, "answer_start": at} for a, at in answers], **more}


def test_answers_stand_where_they_are_said_to_or_at_the_nearest_place(tmp_path: Path) -> None:
    items = [
        asked("Where?", ("France", 12), ("Paris", 18)),
        asked("What?", ("Rome", 0)),
        asked("Which?", ("Paris", -1)),
    ]
    found = read_passages(squad(tmp_path / "a.json", items))
    assert found.questions[0].spans == ((12, 18), (20, 25)) and found.questions[0].answers == ("France", "Paris")
    assert found.questions[1].spans == () and found.questions[1].answers == ("Rome",)
    assert found.questions[2].spans == ((0, 5),)
    assert found.passages == [CONTEXT] and found.rows_in == 3 and not found.rejects


def test_questions_without_an_answer_are_kept_as_such(tmp_path: Path) -> None:
    items = [asked("Who?", is_impossible=True), asked("Why?", ("Paris", 0), is_impossible=True), asked("How?")]
    found = read_passages(squad(tmp_path / "a.json.gz", items))
    assert [(question.answers, question.spans) for question in found.questions] == [((), ())] * 3


def test_broken_questions_are_rejected_with_their_number(tmp_path: Path) -> None:
    items: list[Any] = [asked("Where?", ("Paris", 0)), asked(" "), {"question": "x"}, "text", asked("y", (" ", 0))]
    path = squad(tmp_path / "a.json", items)
    with pytest.raises(ValueError, match=r"4 of 5 rows.*allow-rejects.*question is empty"):
        read_passages(path)
    found = read_passages(path, allow_rejects=True)
    assert [line for line, _ in found.rejects] == [2, 3, 4, 5] and found.rows_in == 5
    assert [question.text for question in read_passages(path, allow_rejects=True, answered=False).questions] == [
        "Where?", "x", "y",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "not JSON: .* in line 1"),
        ("[]", "no list under 'data'.*jsonl"),
        ('{"data": [3]}', "item 1 of 'data' has no list under 'paragraphs'"),
        ('{"data": [{"paragraphs": [{"context": "x"}]}]}', "no 'context' or no 'qas'"),
        ('{"data": []}', "holds no question"),
    ],
)
def test_other_json_is_refused_and_the_shape_told(tmp_path: Path, content: str, told: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=told) as error:
        read_passages(path)
    assert '"qas"' in str(error.value)


def test_chinese_in_its_own_encodings(tmp_path: Path) -> None:
    path = squad(tmp_path / "a.json", [asked("哪里？", ("巴黎", 0))], context="巴黎在法国。", encoding="gb18030")
    assert read_passages(path, encoding="gb18030").passages == ["巴黎在法国。"]
    with pytest.raises(ValueError, match="gb18030"):
        read_passages(path)


def test_labels_of_candidates_are_1_or_0(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("q,a,y\nwho,me,1\nwho,you,False\n")
    found = read_candidates(path, "q", "a", "y")
    assert found.right.tolist() == [1, 0] and found.candidate == ["me", "you"]
    assert read_candidates(path, "q", "a", None).right.tolist() == [0, 0]
    path.write_text("q,a,y\nwho,me,1\nwho,you,2\n")
    with pytest.raises(ValueError, match="line 3: label '2'"):
        read_candidates(path, "q", "a", "y")


def test_groups_stay_whole_under_a_limit_and_keep_their_numbers() -> None:
    group = np.repeat([5, 3, 9, 7], [3, 1, 4, 2])
    examples = Grouped(Arrays(np.arange(20).reshape(10, 2), np.zeros(10, np.int64)), group)
    for limit in (1, 4, 6, 9):
        some = examples.spread(limit)
        assert all((some.group == one).sum() == (group == one).sum() for one in np.unique(some.group))
        assert (group[some.number] == some.group).all()
        assert some.batch(np.arange(len(some))).inputs[:, 0].tolist() == (some.number * 2).tolist()
    assert len(examples.spread(10)) == len(examples.spread(None)) == 10
    twice = examples.select(np.array([9, 2, 4])).select(np.array([2, 0]))
    assert twice.number.tolist() == [4, 9] and twice.group.tolist() == [9, 7]
    with pytest.raises(ValueError, match="limit is 0"):
        examples.spread(0)


@needs_data
@pytest.mark.realdata
def test_cmrc_is_read_whole() -> None:
    folder = (data_dir() or Path()) / "cmrc2018"
    found = read_passages(folder / "squad-style-data_cmrc2018_dev.json")
    assert found.rows_in == 3219 and len(found.passages) == 848 and len(found.rejects) <= 2
    assert all(found.passages[q.passage][a:b] in q.answers for q in found.questions for a, b in q.spans)
