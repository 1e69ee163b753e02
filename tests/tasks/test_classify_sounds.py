"""Classify hears: labels by name, folder or table, splits by speaker or number, a run that answers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tones import TONES, words_folder, write_wav

from seqloom.core.runtime import data_dir
from seqloom.tasks.classify import Classify
from seqloom.tasks.task import Interface, Opened
from seqloom.zoo.gru import GRUStack

needs_data = pytest.mark.skipif(data_dir() is None, reason="no real data sets: set SEQLOOM_DATA")
PATTERN = "{label}_{speaker}_{n}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return words_folder(tmp_path_factory.mktemp("words"), each=6)


def targets(opened: Opened, name: str) -> list[int]:
    examples = getattr(opened, name)
    return examples.batch(np.arange(len(examples))).target.tolist()


def test_names_tell_labels_and_splits(folder: Path) -> None:
    opened = Classify(data=str(folder), pattern=PATTERN, test_where="n=0-1", mels=16).open()
    assert opened.labels == tuple(sorted(TONES)) and opened.floor == 0.25
    assert (len(opened.train), len(opened.validation), len(opened.test)) == (44, 4, 24)
    assert np.bincount(targets(opened, "test")).tolist() == [6] * 4
    left_out = Classify(data=str(folder), pattern=PATTERN, test_where="speaker=bob", mels=16).open()
    assert len(left_out.test) == 24 and len(left_out.train) + len(left_out.validation) == 48
    drawn = Classify(data=str(folder), pattern=PATTERN, mels=16).open()
    assert set(targets(drawn, "test")) == set(targets(drawn, "validation")) == {0, 1, 2, 3}


def test_subfolders_and_tables_tell_labels_too(folder: Path, tmp_path: Path) -> None:
    lines = ["file,label"]
    for file in folder.glob("*.wav"):
        word = file.stem.partition("_")[0]
        (tmp_path / "by folder" / word).mkdir(parents=True, exist_ok=True)
        (tmp_path / "by folder" / word / file.name).write_bytes(file.read_bytes())
        lines.append(f"{file.name},{word}")
    table = tmp_path / "t.csv"
    table.write_text("\n".join(lines))
    first = Classify(data=str(tmp_path / "by folder"), mels=16).open()
    second = Classify(data=str(folder), labels=str(table), mels=16).open()
    assert first.labels == second.labels == tuple(sorted(TONES))
    assert sum(map(len, (first.train, first.validation, first.test))) == 72
    test = Classify(data=str(tmp_path / "by folder"), test=str(folder), test_labels=str(table), mels=16)
    with pytest.raises(ValueError, match="no recording is left for training"):
        test.open()  # all of them stand in the test set


def test_wrong_input_is_refused_by_name(folder: Path, tmp_path: Path) -> None:
    for wrong, match in (
        ({"pattern": "{word}_{n}"}, "must name {label}"),
        ({"pattern": PATTERN, "labels": "x.csv"}, "both tell the labels"),
        ({"pattern": "{label}_{speaker}-{n}"}, "cannot be used, all of them"),
        ({}, "stands in no subfolder"),
        ({"pattern": PATTERN, "vocabulary": 300}, "vocabulary = 300 has no effect on sounds"),
        ({"pattern": PATTERN, "test_where": "label=do"}, "parts: n, speaker"),
    ):
        with pytest.raises(ValueError, match=match):
            Classify(data=str(folder), mels=16, **wrong).open()
    for n in range(3):
        write_wav(tmp_path / f"do_{n}.wav", np.random.default_rng(n).normal(size=800) / 9)
    with pytest.raises(ValueError, match="two labels or more"):
        Classify(data=str(tmp_path), pattern="{label}_{n}").open()
    for name in ("re_0", "mi_5", "mi_6"):
        write_wav(tmp_path / f"{name}.wav", np.random.default_rng(len(name) + ord(name[-1])).normal(size=800) / 9)
    with pytest.raises(ValueError, match="fewer than 3 different recordings.*'mi', 're'"):
        Classify(data=str(tmp_path), pattern="{label}_{n}").open()
    with pytest.raises(ValueError, match="labels that training never shows: 're'"):
        Classify(data=str(tmp_path), pattern="{label}_{n}", test_where="n=0", validation_where="n=1").open()


def test_a_trained_model_answers_files_without_the_data(folder: Path) -> None:
    opened = Classify(data=str(folder), pattern=PATTERN, test_where="n=0-1", mels=16).open()
    model = GRUStack(width=24, layers=1).model(opened.frontend, opened.head, False).build()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for epoch in range(25):
        batch = opened.train.of_epoch(epoch).batch(np.arange(len(opened.train)))
        loss = model.head.loss(model(batch.inputs, segment=batch.segment)[0], batch.target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    accuracy = opened.score(model, opened.test).value("accuracy")
    assert accuracy > 0.6  # of tones that speakers shift, heard in noise
    restored = Interface.restored(opened.task, json.loads(json.dumps(opened.interface())))
    assert restored.coding.answers is not None and restored.coding.items is not None
    items = [file for file in restored.coding.items(folder) if file.stem.endswith(("_0", "_1"))]
    answers = restored.coding.answers(model, items)
    right = [answer["label"] == file.stem.partition("_")[0] for answer, file in zip(answers, items, strict=True)]
    assert sum(right) / len(right) == pytest.approx(accuracy)
    assert all(sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5) for answer in answers)


@pytest.mark.realdata
@needs_data
def test_the_official_split_of_fsdd() -> None:
    folder = data_dir()
    assert folder is not None
    opened = Classify(data=str(folder / "fsdd" / "recordings"), pattern=PATTERN, test_where="n=0-4").open()
    assert (len(opened.train), len(opened.validation), len(opened.test)) == (2430, 270, 300)
    assert np.bincount(targets(opened, "test")).tolist() == [30] * 10 and opened.facts["rows_rejected"] == 0
