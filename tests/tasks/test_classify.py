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


def test_a_test_file_is_the_test_split_whole(tmp_path: Path) -> None:
    data, test = csv_file(tmp_path / "a.csv", rows(40)), csv_file(tmp_path / "b.csv", rows(50, start=39))
    opened = Classify(data=data, test=test, tokens="bytes").open(seed=1)
    assert spelt(opened, "test") == {text.encode() for text, _ in rows(50, start=39)}
    assert (len(opened.train), len(opened.validation), len(opened.test)) == (36, 4, 11)
    assert (opened.facts["rows_in"], opened.facts["rows_used"]) == (51, 51)
    everything = Classify(data=data, test=data, tokens="bytes").open()
    assert everything.facts["test_also_in_training"] == 36


def test_tokens_are_learnt_from_the_training_rows_alone(tmp_path: Path) -> None:
    data = csv_file(tmp_path / "a.csv", rows(40))
    strange = [(f"zyzzyva zyzzyva zyzzyva {label}", label) for label in ("no", "yes") * 20]
    with_strange = Classify(data=data, test=csv_file(tmp_path / "b.csv", strange)).open()
    without = Classify(data=data, test=csv_file(tmp_path / "c.csv", rows(40))).open()
    assert with_strange.facts["vocabulary"] == without.facts["vocabulary"]
    assert with_strange.coding.encode is not None and without.coding.encode is not None
    assert np.array_equal(with_strange.coding.encode("zyzzyva is yes"), without.coding.encode("zyzzyva is yes"))
    assert len(without.coding.encode("zyzzyva")) == len(" zyzzyva")  # no merge of it was learnt: bytes


def test_long_texts_are_cut_and_it_is_said(tmp_path: Path) -> None:
    table = [("a" * (10 * (i + 1)), "ny"[i % 2]) for i in range(20)]
    opened = Classify(data=csv_file(tmp_path / "a.csv", table), tokens="bytes", max_length=50).open()
    facts = opened.facts
    assert (facts["length_median"], facts["length_max"], facts["truncated_share"]) == (105.0, 200, 0.75)
    assert (
        max(opened.train.lengths) == 50
        and opened.coding.encode is not None
        and len(opened.coding.encode("a" * 99)) == 50
    )


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
        ([*rows(20), ("a", "rare"), ("b", "rare")], "1 of 3 classes have fewer than 3 rows.*'rare' \\(2, line 22\\)"),
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
    assert facts["rows_rejected"] == 0 and facts["train"] + facts["validation"] + facts["test"] == expected[0]


@needs_data
@pytest.mark.realdata
@pytest.mark.slow
def test_imdb_opens_with_its_known_overlap() -> None:
    root = data_dir()
    assert root is not None
    opened = Classify(data=str(root / "imdb/train.jsonl.gz"), test=str(root / "imdb/test.jsonl.gz")).open()
    assert (opened.facts["rows_used"], len(opened.test), opened.floor) == (50_000, 25_000, 0.5)
    assert 0 < opened.facts["test_also_in_training"] <= 123  # texts that stand in both files; a tenth is validation
