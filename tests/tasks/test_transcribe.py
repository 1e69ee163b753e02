"""Transcribe opens recordings honestly: files accounted for, speakers apart, words counted, a run that answers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tones import RATE, TONES, tone, utterances_folder, words_folder, write_wav

from seqloom.core.runtime import data_dir
from seqloom.core.types import IGNORED
from seqloom.data.recordings import Recording, hear
from seqloom.tasks.task import Interface, Opened
from seqloom.tasks.transcribe import Transcribe, judge
from seqloom.zoo.gru import GRUStack

needs_data = pytest.mark.skipif(data_dir() is None, reason="no real data sets: set SEQLOOM_DATA")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return utterances_folder(tmp_path_factory.mktemp("audio"), count=60)


def task(made: tuple[Path, Path], **settings: object) -> Transcribe:
    return Transcribe(audio=str(made[0]), text=str(made[1]), mels=16, **settings)  # type: ignore[arg-type]


def texts(opened: Opened, name: str) -> list[str]:
    examples, alphabet = getattr(opened, name), opened.encoding["alphabet"]
    rows = examples.batch(np.arange(len(examples))).target
    return ["".join(f"{alphabet}?"[int(i) - 1] for i in row[row != IGNORED]) for row in rows]


def test_the_targets_are_the_transcripts_and_every_recording_is_in_one_split(made: tuple[Path, Path]) -> None:
    opened = task(made).open()
    table = [line.split(",")[1].lower() for line in made[1].read_text().splitlines()[1:]]
    assert sorted(t for name in ("train", "validation", "test") for t in texts(opened, name)) == sorted(table)
    assert (len(opened.train), len(opened.validation), len(opened.test)) == (48, 6, 6)
    assert opened.facts["rows_in"] == opened.facts["rows_used"] == 60 and opened.facts["rate"] == RATE
    assert opened.encoding["alphabet"] == "".join(sorted(set("".join(TONES)) | {" "}))
    assert opened.head.kind == "transcript" and opened.head.symbols == len(opened.encoding["alphabet"]) + 1
    assert 0.5 < opened.floor <= 1


def test_names_without_an_ending_and_case_are_read(made: tuple[Path, Path], tmp_path: Path) -> None:
    rows = [line.split(",") for line in made[1].read_text().splitlines()[1:]]
    table = tmp_path / "b.tsv"
    table.write_text("".join(f"{file.removesuffix('.wav')}\t{text}\n" for file, text, _ in rows))
    opened = Transcribe(audio=str(made[0]), text=str(table), file_column=0, text_column=1, lower=False, mels=16).open()
    assert any(text[0].isupper() for text in texts(opened, "train"))


def test_speakers_stay_apart(made: tuple[Path, Path]) -> None:
    rows = [line.split(",") for line in made[1].read_text().splitlines()[1:]]
    opened = task(made, test_where="speaker=s1", validation_where="speaker=s3,s4").open()
    assert sorted(texts(opened, "test")) == sorted(t.lower() for _, t, s in rows if s == "s1")
    assert sorted(texts(opened, "validation")) == sorted(t.lower() for _, t, s in rows if s in ("s3", "s4"))
    drawn = task(made, apart="speaker").open(seed=2)
    assert (len(drawn.train), len(drawn.validation), len(drawn.test)) == (36, 12, 12)
    by_speaker = [sorted(t.lower() for _, t, s in rows if s == f"s{n}") for n in range(5)]
    assert sorted(texts(drawn, "validation")) in by_speaker and sorted(texts(drawn, "test")) in by_speaker
    for wrong, match in (
        ({"test_where": "speaker=zoe"}, "no recording for test has speaker=zoe"),
        ({"test_where": "speaker=s0,s1,s2,s3,s4"}, "no recording is left for training"),
        ({"apart": "colour"}, "colour"),
        ({"apart": "speaker", "test_where": "file=0.wav,1.wav"}, "apart = 'speaker'.* would stand in two"),
    ):
        with pytest.raises(ValueError, match=match):
            task(made, **wrong).open()


def test_copies_are_dropped_and_those_of_test_stay(made: tuple[Path, Path], tmp_path: Path) -> None:
    rows = [line.split(",") for line in made[1].read_text().splitlines()[1:]]
    for n, (file, _, _) in enumerate(rows):
        (tmp_path / f"{n}.wav").write_bytes((made[0] / file).read_bytes())
    (tmp_path / "again.wav").write_bytes((made[0] / rows[7][0]).read_bytes())
    lines = [f"{n}.wav,{text},a" for n, (_, text, _) in enumerate(rows)] + [f"again.wav,{rows[7][1]},b"]
    (tmp_path / "t.csv").write_text("\n".join(["file,text,part", *lines]))
    opened = task((tmp_path, tmp_path / "t.csv"), test_where="part=b").open()
    assert opened.facts["duplicates_dropped"] == 1 and len(opened.test) == 1
    assert len(opened.train) + len(opened.validation) == 59
    own = task((tmp_path, tmp_path / "t.csv"), test_audio=str(made[0]), test_text=str(made[1]))
    with pytest.raises(ValueError, match="no recording is left for training"):
        own.open()  # all of them stand in the test set


def test_what_cannot_be_used_is_told_with_its_name(made: tuple[Path, Path], tmp_path: Path) -> None:
    for file in made[0].glob("*.wav"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "0.wav").write_bytes(b"")
    write_wav(tmp_path / "1.wav", tone("do", 0.03))  # 1 step for more than 4 characters
    table = tmp_path / "t.csv"
    table.write_text(made[1].read_text() + "ghost.wav,boo,s1\n5.wav,,s1\n")
    with pytest.raises(ValueError, match="1 of 61 rows cannot be used.*text' is empty|1 of 62 rows"):
        task((tmp_path, table)).open()
    opened = task((tmp_path, table), allow_rejects=True).open()
    told = {Path(r["file"]).name if r["line"] == 0 else r["line"]: r["reason"] for r in opened.rejects}
    assert told["0.wav"] == "the file is empty" and "no recording 'ghost.wav'" in told[62] and "is empty" in told[63]
    assert "1 steps cannot say" in told["1.wav"]
    account = opened.account()
    assert (account["rows_in"], account["rows_used"], account["rows_rejected"]) == (62, 58, 4)
    assert len(opened.train) + len(opened.validation) + len(opened.test) == 58
    (tmp_path / "2.wav").write_bytes(b"no sound")
    table.write_text(made[1].read_text())
    with pytest.raises(ValueError, match=r"2 of 60 recordings cannot be used.*'0.wav': the file is empty.*'2.wav'"):
        task((tmp_path, table)).open()


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({}, "either text or pattern"),
        ({"text": "a.csv", "pattern": "{text}"}, "either text or pattern"),
        ({"pattern": "{text}", "test_text": "b.csv"}, "give test_audio"),
        ({"text": "a.csv", "test_audio": "b"}, "give test_text exactly"),
        ({"pattern": "{text}", "least": 4, "most": 3}, "least 4 is more than most 3"),
    ],
)
def test_settings_that_contradict_are_refused(settings: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Transcribe(audio="x", **settings)  # type: ignore[arg-type]


def test_words_are_joined_to_utterances_of_other_recordings_in_each_split(tmp_path: Path) -> None:
    folder = words_folder(tmp_path, each=4)
    opened = Transcribe(
        audio=str(folder), pattern="{text}_{speaker}_{n}", test_where="speaker=cy", joined=50, mels=16, least=2, most=3
    ).open()
    assert (len(opened.train), len(opened.validation), len(opened.test)) == (50, 5, 5)
    assert {len(text.split()) for text in texts(opened, "train")} == {2, 3}
    assert opened.facts["joined_from"] == 48 and opened.facts["rows_in"] == 48
    assert set(" ".join(texts(opened, "test")).split()) <= set(TONES)


@pytest.mark.parametrize("named", [True, False], ids=["speaker", "no_speaker"])
def test_words_of_a_table_are_joined_by_speaker_or_it_is_told_that_voices_may_mix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    files = sorted(words_folder(tmp_path, each=4).glob("*.wav"))
    rows = [(file.name, *file.stem.split("_")[:2]) for file in files]
    table = tmp_path / "t.csv"
    table.write_text("".join(",".join(row[: 2 + named]) + "\n" for row in (("file", "text", "speaker"), *rows)))
    task = Transcribe(audio=str(files[0].parent), text=str(table), joined=30, mels=16)
    speaker = {name: who for name, _, who in rows}
    utterances: list[Recording] = []
    monkeypatch.setattr(
        "seqloom.tasks.transcribe.hear", lambda wanted, *rest: utterances.extend(wanted) or hear(wanted, *rest)
    )
    told = task.open().facts["joined_speakers"]
    voices = {len({speaker[file.name] for file in utterance.files}) for utterance in utterances}
    assert len(utterances) == 36 and (voices == {1}) == named
    assert told == len(set(speaker.values())) if named else told.startswith("unknown")


def test_digits_are_spelt(tmp_path: Path) -> None:
    for number, name in enumerate(["1_a", "20_a", "3_a", "7_a"]):
        write_wav(tmp_path / f"{name}.wav", tone("do", 0.3 + number / 10))
    opened = Transcribe(audio=str(tmp_path), pattern="{text}_{speaker}", digits=True, mels=16).open()
    found = {text for name in ("train", "validation", "test") for text in texts(opened, name)}
    assert len(found & {"one", "two zero", "three", "seven"}) >= 2  # characters unknown to training show as ?


def test_wrong_words_are_counted_and_unknown_characters_never_right(made: tuple[Path, Path]) -> None:
    opened = task(made).open()
    alphabet = opened.encoding["alphabet"]
    model = GRUStack(width=16, layers=1).model(opened.frontend, opened.head, False).build()
    batch = opened.test.batch(np.arange(2))
    asked = ["do re", "mi"]
    unknown = len(alphabet) + 1
    target = torch.full((2, 5), IGNORED)
    for row, text in enumerate(asked):
        target[row, : len(text)] = torch.tensor([alphabet.index(c) + 1 for c in text])
    target[1, 1] = unknown
    output = torch.zeros(2, 12, unknown + 1)
    for row, text in enumerate(["do fa mi", "mi"]):
        for step, letter in enumerate(text):
            output[row, step, alphabet.index(letter) + 1] = 9.0
        output[row, len(text) :, 0] = 9.0
    output[1, 1, unknown] = 20.0  # what training never shows is never answered
    for beams in (1, 4):
        found = judge(model, batch._replace(target=target), output, alphabet, beams)
        assert found["wer"].tolist() == [[2, 2], [1, 1]] and found["cer"].tolist() == [[5, 5], [1, 2]]


def test_a_trained_model_answers_files_without_the_data(made: tuple[Path, Path], tmp_path: Path) -> None:
    opened = task(made, beams=4).open()
    model = GRUStack(width=48, layers=1).model(opened.frontend, opened.head, False).build()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    every = np.arange(len(opened.train))
    for _ in range(70):
        batch = opened.train.batch(every)
        loss = model.head.loss(model(batch.inputs, segment=batch.segment)[0], batch.target)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.eval()
    assert opened.score(model, opened.test).value("wer") < 0.3
    assert opened.watching.metric == "cer"
    assert opened.watching.scorer(model, opened.validation, limit=4).value("cer") < 0.3
    restored = Interface.restored(opened.task, json.loads(json.dumps(opened.interface())))
    assert restored.coding.answers is not None and restored.coding.items is not None
    for name in ("3.wav", "8.wav"):
        (tmp_path / name).write_bytes((made[0] / name).read_bytes())
    (tmp_path / "bad.wav").write_bytes(b"")
    items = list(restored.coding.items(tmp_path))
    answers = restored.coding.answers(model, items)
    said = dict(line.split(",")[:2] for line in made[1].read_text().splitlines()[1:])
    wanted = [{"text": said[n].lower()} for n in ("3.wav", "8.wav")] + [{"error": "the file is empty"}]
    assert sum(a == b for a, b in zip(answers, wanted, strict=True)) >= 2 and answers[2] == wanted[2]
    assert restored.coding.answers(model, [str(items[0])]) == answers[:1]  # alone as among others
    with pytest.raises(ValueError, match="no file or folder"):
        restored.coding.items(tmp_path / "none")


@pytest.mark.realdata
@needs_data
def test_connected_digits_open() -> None:
    folder = data_dir()
    assert folder is not None
    opened = Transcribe(
        audio=str(folder / "fsdd" / "recordings"),
        pattern="{text}_{speaker}_{n}",
        digits=True,
        joined=20,
        test_where="speaker=theo",
    ).open()
    assert opened.facts["rows_in"] == 3000 and opened.facts["rows_rejected"] == 0
    assert opened.facts["duplicates_dropped"] == 0 and opened.facts["rate"] == 8000
    assert all(3 <= len(text.split()) <= 6 for text in texts(opened, "train"))
