"""A run directory is refused unless asked for, never loses what is not the run's, and holds one run alone."""

import json
import threading

import pytest

from seqloom.train.directory import RunDirectory, differences, read_record

RECORD = {"verb": "train", "experiment": {"a": 1, "b": {"c": [1, 2]}}, "machine": "x"}


def claim(path, record=None, **how):
    directory = RunDirectory(path, record or RECORD, ("experiment",), **how)
    directory.close()
    return directory


def test_a_new_or_an_empty_directory_is_taken_and_says_what_it_is(tmp_path):
    claim(tmp_path / "deep" / "new")
    assert read_record(tmp_path / "deep" / "new") == RECORD
    (tmp_path / "empty").mkdir()
    claim(tmp_path / "empty")


def test_a_directory_with_a_run_is_refused_unless_asked(tmp_path):
    claim(tmp_path)
    with pytest.raises(ValueError, match="holds a run already.*--resume.*--overwrite.*--out"):
        claim(tmp_path)
    assert claim(tmp_path, resume=True).record == RECORD


def test_resume_keeps_the_first_record_and_compares_what_must_be_the_same(tmp_path):
    claim(tmp_path)
    kept = claim(tmp_path, {**RECORD, "machine": "y"}, resume=True)
    assert kept.record["machine"] == "x" and read_record(tmp_path)["machine"] == "x"
    other = {**RECORD, "experiment": {"a": 2, "b": {"c": [1, 3], "d": 0}}}
    with pytest.raises(ValueError) as caught:
        claim(tmp_path, other, resume=True)
    for part in ("experiment.a is 1 there and 2 now", "experiment.b.c is [1, 2] there", "experiment.b.d is null there"):
        assert part in str(caught.value)


def test_values_are_compared_as_json_has_them():
    assert differences({"a": [1, 2], "b": {"c": None}}, {"a": [1, 2], "b": {}}) == []
    assert differences({"a": {"b": 1}}, {"a": 3}) == ['a is {"b": 1} there and 3 now']


def test_tuples_and_lists_are_the_same_after_json(tmp_path):
    claim(tmp_path, {"experiment": {"betas": (0.9, 0.98)}})
    claim(tmp_path, {"experiment": {"betas": (0.9, 0.98)}}, resume=True)


def test_resume_where_there_is_nothing_begins_and_says_so(tmp_path):
    assert "beginning one" in claim(tmp_path / "new", resume=True).notices[0]


def test_overwrite_removes_the_run_and_nothing_else(tmp_path):
    claim(tmp_path)
    for name in ("checkpoints", "digits", "mine"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    for name in ("ledger.jsonl", "report.html", "notes.txt"):
        (tmp_path / name).write_text("x")
    claim(tmp_path, {"experiment": 2}, overwrite=True, owns=("digits",))
    assert sorted(item.name for item in tmp_path.iterdir()) == [".lock", "mine", "notes.txt", "run.json"]
    assert read_record(tmp_path) == {"experiment": 2}


def test_a_directory_of_other_things_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    for how in ({}, {"resume": True}):
        with pytest.raises(ValueError, match=r"holds no run but other things \(thesis.tex"):
            claim(tmp_path, **how)
    assert [item.name for item in tmp_path.iterdir()] == ["thesis.tex"]
    claim(tmp_path, overwrite=True)  # asked for: the run is put beside them
    assert (tmp_path / "thesis.tex").read_text() == "x"


def test_overwrite_never_removes_what_no_run_made(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(ValueError, match="other things"):
        claim(tmp_path, overwrite=True)
    assert (tmp_path / "checkpoints").exists()


def test_resume_and_overwrite_exclude_each_other(tmp_path):
    with pytest.raises(ValueError, match="exclude each other"):
        claim(tmp_path, resume=True, overwrite=True)


def test_a_run_killed_before_its_first_file_is_begun_anew(tmp_path):
    (tmp_path / ".run.json.77.tmp").write_text("{")
    (tmp_path / ".lock").touch()
    claim(tmp_path)
    assert sorted(item.name for item in tmp_path.iterdir()) == [".lock", "run.json"]


@pytest.mark.parametrize("content", ["", "{", "[1]", "\x00"])
def test_a_damaged_record_is_an_error_and_not_another_run(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(ValueError, match="run.json"):
        claim(tmp_path, resume=True)


def test_reading_where_there_is_no_run_says_so(tmp_path):
    with pytest.raises(ValueError, match="holds no run"):
        read_record(tmp_path / "absent")


def test_one_writer_at_a_time(tmp_path):
    first = RunDirectory(tmp_path, RECORD, ("experiment",))
    with pytest.raises(ValueError, match="another process is writing"):
        claim(tmp_path, resume=True)
    first.close()
    first.close()  # twice does no harm
    claim(tmp_path, resume=True)
    second = RunDirectory(tmp_path, RECORD, ("experiment",), resume=True)
    del second  # nobody holds it any more
    claim(tmp_path, resume=True)


def test_of_many_that_begin_at_once_one_gets_the_directory(tmp_path):
    kept, refused = [], []

    def begin():
        try:
            kept.append(RunDirectory(tmp_path / "new", RECORD, ("experiment",)))
        except ValueError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(kept) == 1 and len(refused) == 7
    assert json.loads((tmp_path / "new" / "run.json").read_text()) == RECORD
    kept[0].close()
