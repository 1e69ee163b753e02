"""Transcribe: what is said in a recording, in characters."""

import functools
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pydantic
from torch import Tensor

from seqloom.core.types import IGNORED
from seqloom.data.audio import sound_files
from seqloom.data.batches import Batch
from seqloom.data.columns import chosen_by
from seqloom.data.connected import DIGITS, SPEAKER, joined
from seqloom.data.files import column_names, read_table
from seqloom.data.formats import Column
from seqloom.data.recordings import Recording, by_name, check_rejects, hear
from seqloom.data.sounds import Ear
from seqloom.measure.edits import edit_distance
from seqloom.model.ctc import greedy, least_steps, search
from seqloom.model.frontend import Patches
from seqloom.model.head import Transcript
from seqloom.tasks._listening import Gathered, Listening, gather, lengths, listened, path_items
from seqloom.tasks.task import Coding, Opened, Task, Watch, evaluate

_UNKNOWN = "\N{REPLACEMENT CHARACTER}"  # a character that training never shows: no answer has it
_TESTED = 10  # joined utterances of training for one of validation, and one of test


class Transcribe(Listening, Task):
    """Write down what is said, learnt from a folder of recordings and a table of their transcripts.

    One example, of rate=8000, mels=40, frames=3:

        file,text
        ann/0017.wav,three five nine

        inputs    70 steps of 3 x 40 log energies
        target    t h r e e _ f i v e _ n i n e

    The model says a character or a blank at every step; without repeats and blanks they are the transcript. Scored
    are words (WER) and characters (CER) that are wrong, missing or too many, as shares of those that were said.

    Without a table the names tell the transcripts, by a pattern such as "{text}_{speaker}_{n}". With joined=1000
    recordings of single words become 1000 utterances for training, and a tenth for validation and for test, each of 3
    to 6 words by one speaker with pauses of up to 0.2 s between them. Who speaks is the part `speaker` of the names, or
    that column of the table.
    """

    metric: ClassVar[str] = "wer"
    better: ClassVar[str] = "lower"
    models: ClassVar[tuple[str, ...]] = ("gru", "bilstm", "transformer", "cnn_lstm", "cnn_transformer")
    source: ClassVar[tuple[str, ...]] = (
        "graves2006",
        "Graves, A. and Fernandez, S. and Gomez, F. and Schmidhuber, J.",
        "Connectionist Temporal Classification: Labelling Unsegmented Sequence Data with Recurrent Neural Networks",
        "2006",
        "doi:10.1145/1143844.1143891",
    )
    audio: str  # folder of the recordings: .wav .flac .ogg .mp3, also in folders in it
    text: str | None = None  # table of the transcripts; None: the files' names tell them, by the pattern
    pattern: str | None = None  # of names that tell what is said, such as "{text}_{speaker}_{n}"; None: the table does
    file_column: str | int = "file"  # column of the files' names in the folder: name, or number from 0
    text_column: str | int = "text"  # column of the transcripts, likewise
    test_audio: str | None = None  # folder to test on; None: part of the recordings
    test_text: str | None = None  # table of its transcripts
    frames: int = pydantic.Field(default=3, gt=0)  # frames of 10 ms that make a step
    lower: bool = True  # read upper case as lower case
    digits: bool = False  # spell digits as English words: 3 is three
    joined: int = pydantic.Field(default=0, ge=0)  # utterances joined from recordings of single words; 0: none
    least: int = pydantic.Field(default=3, gt=0)  # words of a joined utterance, at least
    most: int = pydantic.Field(default=6, gt=0)  # and at most
    beams: int = pydantic.Field(default=8, gt=0)  # transcripts kept side by side in the search; 1: the likeliest path

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.text is None) == (self.pattern is None):
            raise ValueError("transcripts stand in a table or in the files' names: give either text or pattern")
        if self.test_text is not None and self.test_audio is None:
            raise ValueError(f"test_text '{self.test_text}' is of no recordings: give test_audio, or leave it out")
        if self.test_audio is not None and (self.test_text is None) != (self.text is None):
            raise ValueError("test_audio tells its transcripts as audio does: give test_text exactly if you give text")
        if self.least > self.most:
            raise ValueError(f"least {self.least} is more than most {self.most}: an utterance has at least that many")
        return self

    @chosen_by("file_column", "text_column", "apart")
    def open(self, seed: int = 0) -> Opened:
        """Hear the recordings, split them, learn the characters from the training transcripts, and encode all.

        Raises:
            ValueError: a table or folder cannot be read, too many of its rows or recordings not used, or too few to
                split.
        """
        learnt, rejects = self._recordings(self.audio, self.text)
        given, more = (None, []) if self.test_audio is None else self._recordings(self.test_audio, self.test_text)
        found = gather(self, self.audio, learnt, given, [*rejects, *more], seed, labelled=False)
        if self.joined:
            found = self._joined(found, seed)
        alphabet = "".join(sorted({letter for row in found.parts[0] for letter in found.recordings[row].said}))
        targets = [_labels(recording.said, alphabet) for recording in found.recordings]
        found = self._long_enough(found, targets)
        ear = Ear.learnt(found.mel, self.frames, self.max_seconds, [found.features[row] for row in found.parts[0]])
        examples = ear.examples(found.features, targets, self.augment, seed)
        train, validation, test = (examples.select(rows) for rows in found.parts)
        said = [[found.recordings[row].said for row in part] for part in found.parts]
        floor, floor_of = _floor(said[0], said[2])
        encoding = {"alphabet": alphabet, **ear.to_data()}
        return Opened(
            task=self,
            title=f"Transcripts of {Path(self.audio).name}",
            train=train,
            validation=validation,
            test=test,
            frontend=Patches(channels=self.mels, size=self.frames, dropout=0.1),
            head=Transcript(symbols=len(alphabet) + 1, dropout=0.1),
            causal=False,
            floor=floor,
            floor_of=floor_of,
            facts={
                **found.facts,
                **lengths(found.features),
                "test_source": self.test_audio or self.test_where or "a part of the same recordings",
                **{name: len(rows) for name, rows in zip(("train", "validation", "test"), found.parts, strict=True)},
                "characters": len(alphabet),
                "characters_only_in_test": sorted({c for text in said[2] for c in text} - set(alphabet)),
                "words_per_recording": round(sum(len(text.split()) for text in said[0]) / len(said[0]), 2),
                "transcripts_also_in_training": sum(text in set(said[0]) for text in set(said[2])),
                "beams": self.beams,
            },
            rejects=found.rejects,
            labels=(),
            defaults={"batch_size": 16, "learning_rate": 2e-3},
            architecture={"dropout": 0.1, "layers": 3},
            parameters=500_000,
            coding=self.coding(encoding),
            encoding=encoding,
            scorer=functools.partial(evaluate, judge=functools.partial(judge, alphabet=alphabet, beams=self.beams)),
            watch=Watch("cer", "lower", functools.partial(evaluate, judge=functools.partial(judge, alphabet=alphabet))),
        )

    def coding(self, encoding: Any) -> Coding:
        """Return how sound files are heard and transcripts are spelt."""
        ear, alphabet = Ear.of_data(encoding), encoding["alphabet"]

        def tell(logits: Tensor) -> list[dict[str, Any]]:
            return [{"text": text} for text in _spelt(logits, alphabet, self.beams)]

        def answers(model: Any, items: Sequence[Any]) -> list[dict[str, Any]]:
            return listened(model, ear, items, tell)

        return Coding(answers=answers, items=path_items)

    def _recordings(self, audio: str, text: str | None) -> tuple[list[Recording], list[dict[str, Any]]]:
        """Return the recordings of a folder with their transcripts, and the files and rows that are not used."""
        folder = Path(audio)
        files = sound_files(folder)
        if text is not None:
            found, rejects = self._by_table(folder, files, text)
        else:
            assert self.pattern is not None
            found, rejects = by_name(files, self.pattern, "text")
        found = [recording._replace(said=self._normal(recording.said)) for recording in found]
        reason = "its name tells a blank transcript"
        rejects += [{"file": str(r.files[0]), "line": 0, "reason": reason} for r in found if not r.said]
        return [recording for recording in found if recording.said], rejects

    def _by_table(self, folder: Path, files: Sequence[Path], text: str) -> tuple[list[Recording], list[dict[str, Any]]]:
        chosen = (self.test_where, self.validation_where, f"{self.apart}=" if self.apart else None)
        about = list(dict.fromkeys(where.partition("=")[0].strip() for where in chosen if where is not None))
        own: list[Column] = [self.file_column, self.text_column]
        spoken_by = [SPEAKER] if self.joined and SPEAKER not in about and _has_speakers(text, own) else []
        about += spoken_by  # so that no utterance is of two voices
        table = read_table(
            text, list(dict.fromkeys([*own, *about])), optional=spoken_by, allow_rejects=self.allow_rejects
        )
        known = {file.resolve() for file in files}
        endings = sorted({file.suffix for file in files})
        found: list[Recording] = []
        rejects = [{"file": text, "line": line, "reason": reason} for line, reason in table.rejects]
        for row, line in enumerate(table.line):
            name = table.rows[self.file_column][row].strip()
            tries = [folder / name, *(folder / f"{name}{ending}" for ending in endings)]
            file = next((path for path in tries if path.resolve() in known), None)
            if file is None:
                rejects.append({"file": text, "line": int(line), "reason": f"no recording '{name}' in '{folder}'"})
                continue
            parts = {column: table.rows[column][row].strip() for column in about}
            found.append(Recording((file,), table.rows[self.text_column][row], parts))
        return found, rejects

    def _normal(self, text: str) -> str:
        """Return a transcript as it is learnt: one blank between words, composed characters, perhaps lower case."""
        text = " ".join(unicodedata.normalize("NFC", text.lower() if self.lower else text).split())
        if self.digits:
            text = " ".join("".join(f" {DIGITS[int(c)]} " if c in "0123456789" else c for c in text).split())
        return text

    def _joined(self, found: Gathered, seed: int) -> Gathered:
        """Return utterances of several words in the place of recordings of one, none in two splits."""
        counts = (self.joined, *[max(self.joined // _TESTED, 1)] * 2)
        utterances: list[Recording] = []
        for number, (part, count) in enumerate(zip(found.parts, counts, strict=True)):
            words = [found.recordings[row] for row in part]
            utterances += joined(words, count, (self.least, self.most), 3 * seed + number)
        heard = hear(utterances, found.mel, self.max_seconds)
        check_rejects(self.audio, heard.rejects, len(utterances), allowed=False)
        ends = np.cumsum((0, *counts))
        rows = np.array(heard.rows)
        parts = [np.flatnonzero((rows >= low) & (rows < high)) for low, high in zip(ends, ends[1:], strict=False)]
        facts = {
            **found.facts,
            "joined_from": len(found.recordings),
            "words": f"{self.least} to {self.most}",
            "joined_speakers": _speakers(found.recordings),
        }
        kept = [utterances[row] for row in heard.rows]
        return found._replace(recordings=kept, features=heard.features, parts=parts, facts=facts)

    def _long_enough(self, found: Gathered, targets: Sequence[np.ndarray]) -> Gathered:
        """Leave out recordings with fewer steps than their transcript needs; for these no model has a chance."""
        steps = [-(-len(x) // self.frames) for x in found.features]
        short = [row for row, labels in enumerate(targets) if steps[row] < least_steps(labels)]
        rejects = [
            {
                "file": str(found.recordings[row].files[0]),
                "line": 0,
                "reason": f"{steps[row]} steps cannot say {least_steps(targets[row])} characters: take fewer frames",
            }
            for row in short
        ]
        check_rejects(self.audio, rejects, len(targets), self.allow_rejects)
        parts = [part[~np.isin(part, short)] for part in found.parts]
        if not all(map(len, parts)):
            raise ValueError(f"'{self.audio}': a split is left without recordings long enough; take fewer frames")
        used = found.facts["rows_used"] - (0 if self.joined else len(short))
        facts = {**found.facts, "rows_used": used, "rows_rejected": found.facts["rows_in"] - used}
        return found._replace(parts=parts, rejects=[*found.rejects, *rejects], facts=facts)


def judge(model: Any, batch: Batch, output: Tensor, alphabet: str, beams: int = 1) -> dict[str, np.ndarray | Tensor]:
    """Return edits and length of each row, in words ("wer") and characters ("cer"), and its loss."""
    loss, count = model.head.scores(output, batch.target)["loss"]
    asked = [_text(row[row != IGNORED].tolist(), alphabet) for row in batch.target.cpu().numpy()]
    found = _spelt(output, alphabet, beams)
    pairs = list(zip(found, asked, strict=True))
    words = [(edit_distance(a.split(), b.split()), len(b.split())) for a, b in pairs]
    letters = [(edit_distance(a, b), len(b)) for a, b in pairs]
    return {
        "wer": np.array(words, dtype=np.float64),
        "cer": np.array(letters, dtype=np.float64),
        "loss": np.stack([loss.cpu().numpy(), count.cpu().numpy()], axis=1),
    }


def _labels(text: str, alphabet: str) -> np.ndarray:
    """Return the labels of a transcript: 1 for the first character of the alphabet, the last for one not in it."""
    places = {letter: place for place, letter in enumerate(alphabet, 1)}
    return np.array([places.get(letter, len(alphabet) + 1) for letter in text], dtype=np.int64)


def _text(labels: Sequence[int], alphabet: str) -> str:
    return "".join(f"{alphabet}{_UNKNOWN}"[label - 1] for label in labels)


def _spelt(logits: Tensor, alphabet: str, beams: int) -> list[str]:
    """Return the transcripts of (B, T, V), with one blank between words; what is not in the alphabet is never said."""
    logits = logits[..., : len(alphabet) + 1]
    found = greedy(logits) if beams == 1 else [search(row, beams) for row in logits]
    return [" ".join(_text(labels, alphabet).split()) for labels in found]


def _has_speakers(table: str, columns: Sequence[Column]) -> bool:
    """Return whether a table has a column that tells who speaks; one of which columns are numbered has no names."""
    return all(isinstance(column, str) for column in columns) and SPEAKER in column_names(table)


def _speakers(recordings: Sequence[Recording]) -> int | str:
    """Return how many speak, or that it is not known."""
    found = [recording.parts.get(SPEAKER, "") for recording in recordings]
    unknown = sum(not speaker for speaker in found)
    if not unknown:
        return len(set(found))
    of = "" if unknown == len(found) else f" of {unknown} of {len(found)} recordings"
    return f"unknown{of}, whose utterances may mix voices: no '{SPEAKER}' in names or table"


def _floor(known: Sequence[str], asked: Sequence[str]) -> tuple[float, str]:
    """Return the word error rate of the better of two trivial answers: nothing, or training's most frequent one."""
    words = sum(len(text.split()) for text in asked)
    usual = Counter(known).most_common(1)[0][0]
    rate = sum(edit_distance(usual.split(), text.split()) for text in asked) / words
    if rate < 1:
        return rate, f"always answering '{usual}', the most frequent transcript in training"
    return 1.0, "always answering nothing"
