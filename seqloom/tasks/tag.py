"""Tag: the entities of each sentence, such as names or slots, from a file of tagged tokens of the user's."""

import functools
from collections import Counter
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any, ClassVar, Literal

import numpy as np
import pydantic

from seqloom.data.conll import Tagged, read_tagged, read_tokens
from seqloom.data.records import Reject
from seqloom.data.schemes import OUTSIDE, Span, spans_of, tags_of
from seqloom.data.sentences import Sentence, cut
from seqloom.data.splits import grouped, keys, repeated, without
from seqloom.data.words import KINDS, Lexicon, TokenExamples
from seqloom.measure.formulas import share
from seqloom.model.frontend import Words
from seqloom.model.head import Tags
from seqloom.tasks._entities import entities
from seqloom.tasks.task import Coding, Opened, Task, evaluate

Keys = Callable[[list[Sentence]], np.ndarray]

_LETTERS = 20  # of a token that are read
_SHARES = ("f1", "precision", "recall", "token_f1")  # 0 where nothing is found, as seqeval has it
_SHOWN = 5  # labels that a message names


class Tag(Task):
    """Find the entities of sentences, learnt from CoNLL columns (IOB1, IOB2, BMES, BIOES) or JSON lines with spans.

    One sentence of four columns in IOB1, the tokens first and the tags last; empty lines stand between sentences:

        EU NNP I-NP I-ORG
        rejects VBZ I-VP O
        German JJ I-NP I-MISC
        call NN I-NP O

        inputs    EU     rejects  German  call      each a word, a kind of spelling and characters
        target    S-ORG  O        S-MISC  O

    As JSON lines: {"tokens": ["EU", "rejects"], "spans": [{"start": 0, "end": 1, "label": "ORG"}]}, or a "text" whose
    spans count characters. Without a test file sentences are shared out by seed, equal ones together.
    """

    metric: ClassVar[str] = "f1"
    better: ClassVar[str] = "higher"
    models: ClassVar[tuple[str, ...]] = ("lstm", "gru", "transformer", "lstm_transformer")
    source: ClassVar[tuple[str, ...]] = (
        "lample2016",
        "Lample, G. and Ballesteros, M. and Subramanian, S. and Kawakami, K. and Dyer, C.",
        "Neural Architectures for Named Entity Recognition",
        "2016",
        "arXiv:1603.01360",
    )
    data: str  # file to learn from: columns by any name, or .jsonl; also .gz
    test: str | None = None  # file to test on; None: part of the sentences
    validation_data: str | None = None  # file to validate on; None: part of the sentences
    validation: float = pydantic.Field(default=0.1, gt=0, lt=0.5)  # that part; as much for test
    token: int = 0  # column of the tokens, from 0; negative ones from the last
    tag: int = -1  # column of the tags, likewise
    scheme: Literal["iob1", "iob2", "bioes", "bmes", "bilou"] | None = None  # of the tags; None: told by them
    crf: bool = True  # learn which tags follow which (a conditional random field); else each tag for itself
    characters: int | None = pydantic.Field(default=None, ge=0)  # read of a token; None: 20, or 0 if all have 1
    lower: bool = True  # look words up in lower case and with digits as 0; characters and spelling are as they are
    min_count: int = pydantic.Field(default=1, gt=0)  # of a word in training; rarer ones are unknown
    word_dropout: float = pydantic.Field(default=0.5, ge=0)  # rate a: a word seen n times is hidden with a / (a + n)
    max_length: int = pydantic.Field(default=150, gt=0)  # tokens of a training sentence; longer ones are cut
    encoding: str = "utf-8"  # of the files
    allow_rejects: bool = False  # go on with more than 0.1 % of the sentences unusable

    def open(self, seed: int = 0) -> Opened:
        """Read the files, split the sentences, learn the words from the training ones, and encode all.

        Raises:
            ValueError: a file cannot be read or too many of its sentences not used; there is no entity, or a label that
                training never shows; too few sentences to split.
        """
        files = {name: self._read(path) for name, path in self._paths().items()}
        labels = _labels(files)
        single = all(len(token) == 1 for sentence in files["train"].sentences for token in sentence.tokens)
        letters = (0 if single else _LETTERS) if self.characters is None else self.characters
        # what the model cannot tell apart is one example
        told_apart = functools.partial(_keys, spelling=None if letters else Lexicon([], [], 0, self.lower))
        parts, dropped = self._split(files, told_apart, seed)
        shown = (token for sentence in parts["train"] for token in sentence.tokens)
        lexicon = Lexicon.learn(shown, letters, self.lower, self.min_count)
        tags = (OUTSIDE, *(f"{part}-{label}" for label in labels for part in "BIES"))
        encoding = {"lexicon": lexicon.to_data(), "tags": list(tags), "characters": single}
        pieces = [piece for sentence in parts["train"] for piece in _cut_to(sentence, self.max_length)]
        splits = {
            "train": _examples(pieces, tags, lexicon, self.word_dropout, seed),
            "validation": _examples(parts["validation"], tags, lexicon),
            "test": _examples(parts["test"], tags, lexicon),
        }
        return Opened(
            task=self,
            title=f"Entities of {PurePath(self.data).name}",
            train=splits["train"],
            validation=splits["validation"],
            test=splits["test"],
            frontend=_frontend(lexicon),
            head=Tags(tags=tags, crf=self.crf, dropout=0.3),
            causal=False,
            floor=_floor(parts["train"], parts["test"]),
            floor_of="the most frequent label of each known word",
            facts={
                **_account(self, files),
                "duplicates_dropped": dropped,
                "duplicates_within": sum(repeated(told_apart(part)) for part in parts.values()),
                **{name: len(split) for name, split in splits.items()},
                "train_cut": len(pieces) - len(parts["train"]),
                "labels": list(labels),
                **_counts(parts, lexicon),
            },
            labels=tags,
            rejects=_rejects(files),
            defaults={"batch_size": 32, "learning_rate": 3e-3},
            architecture={"dropout": 0.3},
            parameters=400_000,
            scorer=functools.partial(evaluate, formulas=dict.fromkeys(_SHARES, share)),
            coding=self.coding(encoding),
            encoding=encoding,
        )

    def coding(self, encoding: Any) -> Coding:
        """Return how sentences become numbers and tags entities, from the words and tags of a run."""
        try:
            lexicon = Lexicon.from_data(encoding["lexicon"])
            tags, characters = list(encoding["tags"]), bool(encoding["characters"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"no encoding of tag: {error!r}") from None

        def items(path: Path) -> list[Sentence | Reject]:
            return read_tokens(path, token=self.token, encoding=self.encoding, characters=characters)

        def answers(model: Any, given: Any) -> list[dict[str, Any]]:
            read = [cut(item, characters) if isinstance(item, str) else item for item in given]
            return entities(model, read, lexicon, tags)

        return Coding(encode=lambda text: lexicon.encode(cut(text, characters).tokens), answers=answers, items=items)

    def _paths(self) -> dict[str, str]:
        given = {"train": self.data, "validation": self.validation_data, "test": self.test}
        return {name: path for name, path in given.items() if path is not None}

    def _read(self, path: str) -> Tagged:
        return read_tagged(
            path,
            token=self.token,
            tag=self.tag,
            scheme=self.scheme,
            encoding=self.encoding,
            allow_rejects=self.allow_rejects,
        )

    def _split(self, files: dict[str, Tagged], told_apart: Keys, seed: int) -> tuple[dict[str, list[Sentence]], int]:
        """Return the sentences of each part, and how many were dropped since a part that is scored has them."""
        parts = {name: file.sentences for name, file in files.items()}
        dropped = 0
        scored = [name for name in ("test", "validation") if name in parts]
        for at, name in enumerate(scored):
            for other in [*scored[at + 1 :], "train"]:
                kept = without(told_apart(parts[other]), told_apart(parts[name]))
                dropped += len(parts[other]) - len(kept)
                parts[other] = [parts[other][row] for row in kept]
                if not len(kept):
                    raise ValueError(f"every sentence of '{files[other].path}' is also in '{files[name].path}'")
        missing = [name for name in ("validation", "test") if name not in parts]
        if missing:
            known = told_apart(parts["train"])
            if len(set(known.tolist())) <= len(missing):
                raise ValueError(
                    f"'{self.data}' has {len(set(known.tolist()))} different sentences, too few for training, "
                    f"{' and '.join(missing)}; give more, or files of their own"
                )
            shares = (1 - self.validation * len(missing), *[self.validation] * len(missing))
            sentences = parts["train"]
            for name, rows in zip(["train", *missing], grouped(known, None, shares, seed), strict=True):
                parts[name] = [sentences[row] for row in rows]
        return {name: parts[name] for name in ("train", "validation", "test")}, dropped


def _keys(sentences: list[Sentence], spelling: Lexicon | None) -> np.ndarray:
    """Return a number of each sentence, by its tokens, or by their spelling as a lexicon sees it."""
    if spelling is None:
        return keys("\n".join(sentence.tokens) for sentence in sentences)
    return keys("\n".join(map(spelling.seen, sentence.tokens)) for sentence in sentences)


def _labels(files: dict[str, Tagged]) -> tuple[str, ...]:
    """Return the labels that training shows; refuse none, and others in what is scored."""
    known = sorted({span.label for sentence in files["train"].sentences for span in sentence.spans})
    if not known:
        raise ValueError(f"'{files['train'].path}' has no entity: every tag is O, or no row has spans; mark some")
    for name in ("validation", "test"):
        strange: dict[str, list[int]] = {}
        for sentence in files[name].sentences if name in files else []:
            for span in sentence.spans:
                if span.label not in known:
                    strange.setdefault(span.label, []).append(sentence.line)
        if strange:
            shown = ", ".join(f"'{label[:40]}' (line {at[0]})" for label, at in list(strange.items())[:_SHOWN])
            more = f" and {len(strange) - _SHOWN} more" if len(strange) > _SHOWN else ""
            raise ValueError(
                f"'{files[name].path}' has labels that '{files['train'].path}' never shows: {shown}{more}, in "
                f"{sum(map(len, strange.values()))} entities; correct them, or add such entities for training"
            )
    return tuple(known)


def _cut_to(sentence: Sentence, longest: int) -> list[Sentence]:
    """Return a sentence in pieces of so many tokens at most, or more where an entity has more; no entity is cut."""
    pieces: list[Sentence] = []
    start, size = 0, len(sentence.tokens)
    while start < size:
        end = min(start + longest, size)
        crossing = next((span for span in sentence.spans if span.start < end < span.end), None)
        if crossing is not None:
            end = crossing.start if crossing.start > start else crossing.end
        inside = [Span(s.start - start, s.end - start, s.label) for s in sentence.spans if start <= s.start < end]
        pieces.append(Sentence(sentence.tokens[start:end], inside, sentence.line))
        start = end
    return pieces


def _examples(
    sentences: list[Sentence], tags: tuple[str, ...], lexicon: Lexicon, rate: float = 0.0, seed: int = 0
) -> TokenExamples:
    numbers = {tag: number for number, tag in enumerate(tags)}
    classes = [np.array([numbers[tag] for tag in tags_of(s.spans, len(s.tokens))], dtype=np.int16) for s in sentences]
    return TokenExamples([sentence.tokens for sentence in sentences], classes, lexicon, rate, seed)


def _frontend(lexicon: Lexicon) -> Words:
    return Words(
        vocabulary=lexicon.vocabulary,
        features=(len(KINDS),),
        characters=len(lexicon.characters) + 2 if lexicon.letters else 0,
        letters=max(lexicon.letters, 1),
        dropout=0.5,
    )


def _floor(train: list[Sentence], test: list[Sentence]) -> float:
    """Return the F1 of giving each word its most frequent label in training; neighbours of one label are one entity."""
    counts: dict[str, Counter[str]] = {}
    for sentence in train:
        for token, tag in zip(sentence.tokens, tags_of(sentence.spans, len(sentence.tokens), "iob1"), strict=True):
            counts.setdefault(token, Counter())[tag if tag == OUTSIDE else f"I-{tag[2:]}"] += 1
    usual = {token: min(found, key=lambda tag: (-found[tag], tag)) for token, found in counts.items()}
    hits = made = wanted = 0
    for sentence in test:
        answer = set(spans_of([usual.get(token, OUTSIDE) for token in sentence.tokens]))
        hits += len(answer & set(sentence.spans))
        made += len(answer)
        wanted += len(sentence.spans)
    return 2 * hits / max(made + wanted, 1)


def _account(task: Tag, files: dict[str, Tagged]) -> dict[str, Any]:
    """Return what became of the sentences of all files."""
    return {
        "source": task.data,
        "validation_source": task.validation_data or "a part of the same sentences",
        "test_source": task.test or "a part of the same sentences",
        "rows_in": sum(file.rows_in for file in files.values()),
        "rows_used": sum(len(file.sentences) for file in files.values()),
        "rows_rejected": sum(len(file.rejects) for file in files.values()),
        "schemes": {name: file.scheme for name, file in files.items()},
        "straying_from_scheme": sum(file.odd for file in files.values()),
        "documents": sum(file.documents for file in files.values()),
        "digests": [file.digest for file in files.values()],
    }


def _rejects(files: dict[str, Tagged]) -> list[dict[str, Any]]:
    return [
        {"file": str(file.path), "line": line, "reason": reason}
        for file in files.values()
        for line, reason in file.rejects
    ]


def _counts(parts: dict[str, list[Sentence]], lexicon: Lexicon) -> dict[str, Any]:
    """Return what the sentences hold, and how much of the test part is unknown to a lexicon."""
    lengths = np.array([len(sentence.tokens) for part in parts.values() for sentence in part])
    asked = [token for sentence in parts["test"] for token in sentence.tokens]
    return {
        "entities": {name: sum(len(sentence.spans) for sentence in part) for name, part in parts.items()},
        "words": lexicon.vocabulary - 1,
        "unknown_share": float(np.mean(lexicon.encode(asked)[:, 0] == 0)),
        "characters": lexicon.letters,
        "length_median": float(np.median(lengths)),
        "length_max": int(lengths.max()),
    }
