"""Classify opens a table honestly: every row accounted for, classes in every split, tokens from training alone."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from seqloom.core.registry import catalog
from seqloom.core.runtime import data_dir
from seqloom.core.spec import resolve
from seqloom.tasks.classify import Classify
from seqloom.tasks.task import Opened, Task

needs_data = pytest.mark.skipif(data_dir() is None, reason="no real data sets: set SEQLOOM_DATA")


def rows(n: int, classes: tuple[str, ...] = ("no", "yes"), start: int = 0) -> list[tuple[str, str]]:
    return [(f"text number {i} is {classes[i % len(classes)]}", classes[i % len(classes)]) for i in range(start, n)]


def csv_file(path: Path, table: list[tuple[str, str]], header: str = "text,label\n") -> str:
    path.write_text(header + "".join(f"{text},{label}\n" for text, label in table), encoding="utf-8")
    return str(path)


def spelt(opened: Opened, name: str) -> set[bytes]:
    examples = getattr(opened, name)
    return {examples.batch(np.array([i])).inputs.numpy().astype(np.uint8).tobytes() for i in range(len(examples))}


def test_every_row_is_in_one_split_and_every_class_in_all(tmp_path: Path) -> None:
    table = rows(200, ("a", "b", "a", "c"))
    opened = Classify(data=csv_file(tmp_path / "a.csv", table), tokens="bytes", lower=False).open(seed=3)
    parts = [spelt(opened, name) for name in ("train", "validation", "test")]
    assert set.union(*parts) == {text.encode() for text, _ in table} and sum(map(len, parts)) == 200
    for examples in (opened.train, opened.validation, opened.test):
        assert set(examples.batch(np.arange(len(examples))).target.tolist()) == {0, 1, 2}
    assert opened.labels == ("a", "b", "c") and opened.floor == 0.5 and "'a'" in opened.floor_of
    assert (len(opened.train), len(opened.validation), len(opened.test)) == (160, 20, 20)


def test_the_targets_are_the_labels_of_the_texts(tmp_path: Path) -> None:
    table = rows(60, ("10", "9", "a"))
    opened = Classify(data=csv_file(tmp_path / "a.csv", table), tokens="bytes").open()
    known = dict(table)
    for examples in (opened.train, opened.validation, opened.test):
        for i in range(len(examples)):
            batch = examples.batch(np.array([i]))
            text = bytes(batch.inputs[0].tolist()).decode()
            assert opened.labels[int(batch.target[0])] == known[text]


def test_the_seed_alone_decides_the_split(tmp_path: Path) -> None:
    task = Classify(data=csv_file(tmp_path / "a.csv", rows(100)), tokens="bytes")
    assert spelt(task.open(1), "test") == spelt(task.open(1), "test") != spelt(task.open(2), "test")


def test_a_test_file_is_the_test_split_whole_and_its_rows_are_not_learnt(tmp_path: Path) -> None:
    data, test = csv_file(tmp_path / "a.csv", rows(40)), csv_file(tmp_path / "b.csv", rows(50, start=39))
    opened = Classify(data=data, test=test, tokens="bytes").open(seed=1)
    assert spelt(opened, "test") == {text.encode() for text, _ in rows(50, start=39)}
    assert (len(opened.train), len(opened.validation), len(opened.test)) == (35, 4, 11)
    assert (opened.facts["rows_in"], opened.facts["rows_used"], opened.facts["duplicates_dropped"]) == (51, 51, 1)
    with pytest.raises(ValueError, match=r"2 of 2 classes .* 2 different texts that do not stand in .*a.csv"):
        Classify(data=data, test=data, tokens="bytes").open()


def test_a_validation_file_is_the_validation_split_and_test_wins_over_it(tmp_path: Path) -> None:
    data = csv_file(tmp_path / "a.csv", rows(40))
    validation = csv_file(tmp_path / "v.csv", rows(60, start=38))
    test = csv_file(tmp_path / "b.csv", rows(70, start=58))
    opened = Classify(data=data, validation_data=validation, test=test, tokens="bytes").open()
    assert (len(opened.train), len(opened.validation), len(opened.test)) == (38, 20, 12)
    assert spelt(opened, "validation") == {text.encode() for text, _ in rows(58, start=38)}
    assert opened.facts["duplicates_dropped"] == 4
    alone = Classify(data=data, validation_data=validation, tokens="bytes").open()
    assert (len(alone.train), len(alone.validation), len(alone.test)) == (34, 22, 4)
    with pytest.raises(ValueError, match="validation = 0.2 has no effect beside validation_data"):
        Classify(data=data, validation_data=validation, validation=0.2)


def test_equal_texts_are_in_one_split_and_counted(tmp_path: Path) -> None:
    table = [(text, label) for text, label in rows(40) for _ in range(3)]
    table += [("Text  number 1 is YES", "no")]  # reads as row 1 does, which is "yes"
    opened = Classify(data=csv_file(tmp_path / "a.csv", table), tokens="bytes").open(seed=2)
    train, validation, test = (
        {key.replace(b"  ", b" ") for key in spelt(opened, name)} for name in ("train", "validation", "test")
    )
    assert not train & validation and not train & test and not validation & test
    facts = opened.facts
    assert (facts["duplicates"], facts["duplicates_dropped"], facts["conflicting_labels"]) == (81, 0, 1)
    assert len(opened.train) + len(opened.validation) + len(opened.test) == 121


def test_tokens_are_learnt_from_the_training_rows_alone(tmp_path: Path) -> None:
    data = csv_file(tmp_path / "a.csv", rows(40))
    strange = [(f"zyzzyva zyzzyva zyzzyva {label}", label) for label in ("no", "yes") * 20]
    with_strange = Classify(data=data, test=csv_file(tmp_path / "b.csv", strange)).open()
    without = Classify(data=data, test=csv_file(tmp_path / "c.csv", rows(80, start=40))).open()
    assert with_strange.facts["vocabulary"] == without.facts["vocabulary"]
    assert with_strange.coding.encode is not None and without.coding.encode is not None
    assert np.array_equal(with_strange.coding.encode("zyzzyva is yes"), without.coding.encode("zyzzyva is yes"))
    assert len(without.coding.encode("zyzzyva")) == len(" zyzzyva")  # no merge of it was learnt: bytes


def test_long_texts_are_cut_and_it_is_said(tmp_path: Path) -> None:
    table = [("a" * (10 * i) + "b" * 10, "ny"[i % 2]) for i in range(20)]
    data = csv_file(tmp_path / "a.csv", table)
    opened = Classify(data=data, tokens="bytes", max_length=50).open()
    facts = opened.facts
    assert (facts["length_median"], facts["length_max"], facts["truncated_share"]) == (105.0, 200, 0.75)
    assert facts["truncated_tokens_share"] == pytest.approx(1 - (10 + 20 + 30 + 40 + 16 * 50) / 2100)
    assert max(opened.train.lengths) == 50 and opened.coding.encode is not None
    assert bytes(opened.coding.encode("a" * 50 + "b").tolist()) == b"a" * 50
    both = Classify(data=data, tokens="bytes", max_length=50, cut="middle").open()
    assert both.coding.encode is not None and both.facts["cut"] == "middle"
    assert bytes(both.coding.encode("a" * 99 + "b" * 30).tolist()) == b"a" * 25 + b"b" * 25
    assert all(text.endswith(b"b" * 10) for text in spelt(both, "train"))
    whole = Classify(data=data, tokens="bytes", max_length=1000, cut="middle").open()
    assert whole.facts["truncated_tokens_share"] == 0 and max(whole.train.lengths) > 100


def test_texts_of_one_token_are_learnt_and_answered(tmp_path: Path) -> None:
    table = [(letter, "early" if letter < "n" else "late") for letter in "abcdefghijklmnopqrstuvwxyz"]
    opened = Classify(data=csv_file(tmp_path / "a.csv", table), tokens="bytes").open()
    assert set(opened.train.lengths) == {1} and opened.train.batch(np.arange(3)).inputs.shape == (3, 1)


def test_inputs_to_answer_are_a_tables_texts_or_a_files_lines_and_what_is_none_has_its_place(tmp_path: Path) -> None:
    opened = Classify(data=csv_file(tmp_path / "a.csv", rows(40)), tokens="bytes").open()
    items = opened.coding.items
    assert items is not None
    asked = tmp_path / "asked.csv"
    asked.write_text('id,text\n1,"one, two"\n2,three\n')
    assert list(items(asked)) == ["one, two", "three"]
    (tmp_path / "asked.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    assert list(items(tmp_path / "asked.jsonl")) == ["one", "two"]
    (tmp_path / "asked.txt").write_text("one\n\n  two, three\n")
    assert list(items(tmp_path / "asked.txt")) == ["one", (2, "the line is blank"), "  two, three"]
    asked.write_text("id,text\n1,one\n2,\n3,two\n")
    assert list(items(asked)) == ["one", (3, "column 'text' is empty"), "two"]
    asked.write_text("id,txt\n1,one\n")
    with pytest.raises(ValueError, match="no column 'text'"):
        list(items(asked))


def test_rejects_are_listed_with_their_file_and_counted(tmp_path: Path) -> None:
    data = csv_file(tmp_path / "a.csv", [*rows(30), ("", "yes"), ("text", "NaN")])
    test = csv_file(tmp_path / "b.csv", [*rows(10), ("a", "b,c")])
    opened = Classify(data=data, test=test, allow_rejects=True).open()
    assert [(reject["file"], reject["line"]) for reject in opened.rejects] == [(data, 32), (data, 33), (test, 12)]
    facts = opened.facts
    assert (facts["rows_in"], facts["rows_used"], facts["rows_rejected"]) == (43, 40, 3)
    json.dumps([opened.rejects, facts])
    with pytest.raises(ValueError, match="2 of 32 rows .*allow-rejects"):
        Classify(data=data).open()


def test_one_table_opens_alike_in_every_format(tmp_path: Path) -> None:
    table = rows(30)
    lines = "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in table)
    tabs = "".join(f"{text}\t{label}\n" for text, label in table)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "a.tsv").write_text(tabs)
    named = Classify(data=csv_file(tmp_path / "a.csv", table)).open()
    packed = Classify(data=str(tmp_path / "a.jsonl.gz")).open()
    numbered = resolve(Task, {"name": "classify", "data": str(tmp_path / "a.tsv"), "text": 0, "label": 1}).open()
    for other in (packed, numbered):
        for name in ("train", "validation", "test"):
            one, two = (getattr(opened, name) for opened in (named, other))
            everything = np.arange(len(one))
            assert (one.batch(everything).inputs == two.batch(everything).inputs).all()


def test_labels_of_digits_sort_as_numbers_and_blanks_around_labels_do_not_count(tmp_path: Path) -> None:
    data = csv_file(tmp_path / "a.csv", [(f"t{i}", label) for i in range(5) for label in ("10", " 9", "9 ", "1")])
    assert Classify(data=data).open().labels == ("1", "9", "10")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (rows(20, ("same",)), "all 20 rows of .* have the label 'same'.*two classes or more"),
        (rows(1), "has one row that can be used"),
        (
            [*rows(20), ("a", "rare"), ("b", "rare")],
            "1 of 3 classes have fewer than 3 different texts.*'rare' \\(2, line 22\\)",
        ),
        ([(f"t{i}", f"l{i}") for i in range(9)], "9 of 9 classes .* and 4 more.*is column 'label' the label"),
        ([], "a header and no rows"),
    ],
)
def test_what_cannot_be_learnt_is_refused(tmp_path: Path, table: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Classify(data=csv_file(tmp_path / "a.csv", table)).open()


def test_a_label_that_training_never_shows_is_refused(tmp_path: Path) -> None:
    test = csv_file(tmp_path / "b.csv", [*rows(10), ("a", "maybe"), ("b", "maybe")])
    with pytest.raises(ValueError, match=r"never shows: 'maybe' \(line 12\), in 2 of 12 rows"):
        Classify(data=csv_file(tmp_path / "a.csv", rows(20)), test=test).open()


def test_a_header_taken_for_a_row_is_pointed_out(tmp_path: Path) -> None:
    data = csv_file(tmp_path / "a.csv", rows(20))
    with pytest.raises(ValueError, match="'label' \\(1, line 1\\).*if line 1 is a header, add --header"):
        Classify(data=data, text=0, label=1).open()
    assert Classify(data=data, text=0, label=1, header=True).open().facts["rows_in"] == 20


def test_settings_outside_their_rule_are_refused() -> None:
    for settings, message in [
        ({"text": "a", "label": "a"}, "both column 'a'"),
        ({"validation": 0.5}, "validation"),
        ({"vocabulary": 255}, "vocabulary"),
        ({"max_length": 0}, "max_length"),
        ({"tokens": "words"}, "tokens"),
        ({"lable": "a"}, "unknown key 'lable'.*Did you mean 'label'"),
    ]:
        with pytest.raises(ValueError, match=message):
            resolve(Task, {"name": "classify", "data": "a.csv", **settings})


def test_every_option_says_what_it_is() -> None:
    assert all(field.doc for field in catalog("tasks")["classify"].fields)


@needs_data
@pytest.mark.realdata
@pytest.mark.parametrize(
    ("folder", "settings", "expected"),
    [
        ("sst2", {"data": "train.tsv", "test": "test.tsv", "text": 0, "label": 1}, (6920 + 1821, 2, 1821)),
        ("banking77", {"data": "train.csv", "test": "test.csv", "label": "category"}, (10003 + 3080, 77, 3080)),
        (
            "financial_phrasebank",
            {"data": "Sentences_AllAgree.txt", "text": 0, "label": 1, "delimiter": "@", "encoding": "latin-1"},
            (2264, 3, 226),
        ),
    ],
)
def test_real_tables_lose_no_row(folder: str, settings: dict, expected: tuple[int, int, int]) -> None:
    root = data_dir()
    assert root is not None
    files = {key: str(root / folder / settings[key]) for key in ("data", "test") if key in settings}
    opened = resolve(Task, {"name": "classify", **settings, **files}).open()
    facts = opened.facts
    assert (facts["rows_in"], facts["classes"], facts["test"]) == expected
    used = facts["train"] + facts["validation"] + facts["test"]
    assert facts["rows_rejected"] == 0 and used + facts["duplicates_dropped"] == expected[0]


@needs_data
@pytest.mark.realdata
@pytest.mark.slow
def test_imdb_opens_without_its_known_overlap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = data_dir()
    assert root is not None
    monkeypatch.setenv("SEQLOOM_CACHE", str(tmp_path))
    opened = Classify(data=str(root / "imdb/train.jsonl.gz"), test=str(root / "imdb/test.jsonl.gz")).open()
    assert (opened.facts["rows_used"], len(opened.test), opened.floor) == (50_000, 25_000, 0.5)
    assert 123 <= opened.facts["duplicates_dropped"] <= 130  # 123 texts stand in both files
