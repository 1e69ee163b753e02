"""Language: the next token of text, or masked ones; the Python standard library's own source or the user's files."""

import json
import math
import platform
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pydantic
import torch
import torch.nn.functional as F
from torch import Tensor

from seqloom.core.types import IGNORED
from seqloom.data.batches import Batch, Examples, Windows
from seqloom.data.cache import Workplace, prepared
from seqloom.data.inputs import read_lines
from seqloom.data.masking import Masked
from seqloom.data.prose import Prose, counted, encode_prose, given_prose, learnt_tokenizer, read_prose
from seqloom.data.source import Source, share, standard_library
from seqloom.data.tokens import BPE, Tokenizer, Vocabulary, tokenizer_from_json
from seqloom.measure.formulas import perplexity
from seqloom.model.frontend import Tokens
from seqloom.model.head import NextToken
from seqloom.tasks.task import Coding, Opened, Scorer, Task, evaluate

_SHARES = (0.90, 0.05, 0.05)
_CAPS = (4_000_000, 2**15, 2**16)  # bytes of the standard library used: enough to learn from, quick to score on
_MASKED_SHARE = 0.15
_VOCABULARY = 10_000
_COLLATED = 256  # windows at a time, to bound memory
_SEPARATOR = b"\0"  # between files; no text holds it
_PARTS = ("train", "validation", "test")
_UNITS = {"bytes": "byte", "characters": "character", "words": "word", "bpe": "token"}


class Language(Task):
    """Predict each next token of text, or masked ones: the Python standard library's source, or text files of yours.

    The standard library is split by file, a file of yours by position, from its begin: training, validation, test; or
    there are files of their own for these. Tokens are bytes, characters, words or BPE's strings. One example of
    length=8, as characters:

        inputs    d e f _ o p e n
        target    e f _ o p e n (

    With objective="masked" the model sees the future, and is asked for the tokens that are hidden from it, other ones
    in each epoch of training; of these most are a mask token (#), some another token, some as they were:

        inputs    d e f _ # p e n
        target    - - - - o - - -

    Bytes and BPE are scored in bits per byte, characters in bits per character, words by perplexity: exp of the mean
    surprise in nats, each line's end being a word.
    """

    metric: ClassVar[str] = "bits_per_byte"
    better: ClassVar[str] = "lower"
    data: str | None = None  # a text file, also .gz; None: the Python standard library
    test: str | None = None  # a text file to test on; None: the end of the text
    validation_data: str | None = None  # a text file to validate on; None: what stands before the test's part
    validation: float = pydantic.Field(default=0.05, gt=0, lt=0.5)  # share of the text to validate on
    test_share: float = pydantic.Field(default=0.05, gt=0, lt=0.5)  # share of the text to test on
    encoding: str = "utf-8"  # of the text files; the model reads them as UTF-8
    tokens: Literal["bytes", "characters", "words", "bpe"] = "bytes"  # steps
    vocabulary: int | None = pydantic.Field(default=None, gt=1)  # words, characters or BPE tokens at most; None: 10,000
    length: int = pydantic.Field(default=256, gt=0)  # tokens of a window
    context: int = pydantic.Field(default=0, ge=0)  # of a window that is scored, tokens in front that are only read
    shift: bool = False  # windows begin at other places in each epoch of training
    token_dropout: float = pydantic.Field(default=0.0, ge=0, lt=1)  # on the tokens' vectors and in front of the head
    objective: Literal["next", "masked"] = "next"  # predict each next token, or tokens that are masked, as BERT does
    masked_share: float | None = pydantic.Field(default=None, gt=0, lt=1)  # of the tokens; None: 0.15 if masked

    @pydantic.model_validator(mode="after")
    def _nothing_without_effect(self) -> Self:
        if self.objective == "next" and self.masked_share is not None:
            raise ValueError(f"masked_share {self.masked_share} has no effect with objective=next; take masked")
        if self.tokens == "bytes" and self.vocabulary is not None:
            raise ValueError(f"vocabulary {self.vocabulary} has no effect with tokens=bytes, of which there are 256")
        if self.context >= self.length:
            raise ValueError(f"context {self.context} leaves nothing to score in windows of length {self.length}")
        if self.objective == "masked" and (self.context or self.shift):
            raise ValueError("context and shift are of objective=next: masked windows are read whole; leave them out")
        if self.data is None and (self.test is not None or self.validation_data is not None):
            raise ValueError("test and validation_data need data: a text file to learn from")
        return self

    def open(self, seed: int = 0) -> Opened:
        """Read the text and learn the tokens; the split does not depend on the seed, masks and shifts do.

        Raises:
            ValueError: a file is missing, empty, not in that encoding, or too short to be split.
        """
        files = {} if self.data is None else _files(self)
        settings = [self.encoding, self.tokens, self.vocabulary, self.validation, self.test_share]
        found = prepared(list(files.values()), ["language", sorted(files), settings], partial(self._prepare, files))
        source = "Python source" if self.data is None else self.data.rpartition("/")[2]
        tokenizer = tokenizer_from_json(json.dumps(found.values["tokenizer"]))
        streams = [found.arrays[part] for part in _PARTS]
        if min(map(len, streams)) < 2:
            raise ValueError(
                f"'{source}' has parts of {', '.join(str(len(s)) for s in streams)} tokens; need 2 or more"
            )
        masked = self.objective == "masked"
        vocabulary = tokenizer.vocabulary + masked  # the mask token is the last
        train = self._train(streams[0], seed, tokenizer)
        validation, test = (self._scored(each, seed, tokenizer) for each in streams[1:])
        unit, named = _UNITS[self.tokens], "bytes" if self.tokens == "bytes" else "tokens"
        chances = unigram(streams[0], tokenizer.vocabulary)
        scoring = Scoring(tokenizer, self.tokens)
        return Opened(
            task=self,
            title=f"{'Masked' if masked else 'Next'} {unit}{'s' * masked} of {source}",
            train=train,
            validation=validation,
            test=test,
            frontend=Tokens(vocabulary=vocabulary, dropout=self.token_dropout),
            head=NextToken(
                vocabulary=vocabulary, unit=unit, tied=self.tokens in ("words", "bpe"), dropout=self.token_dropout
            ),
            causal=not masked,
            floor=scoring.of_frequencies(chances, _targets(test, tokenizer.vocabulary)),
            floor_of=f"the frequency of each {unit} in training",
            facts={
                **found.values["facts"],
                **({} if self.data is None else {"source": self.data}),
                **{f"{part}_{named}": len(each) for part, each in zip(_PARTS, streams, strict=True)},
                **{name: len(each) for name, each in zip(_PARTS, (train, validation, test), strict=True)},
                "tokens": self.tokens,
                "vocabulary": vocabulary,
                "length": self.length,
                "objective": self.objective,
                **({"masked_share": self.masked_share or _MASKED_SHARE} if masked else {}),
                **(
                    {"unknown_share": int(counted(streams[2], vocabulary)[0]) / len(streams[2])}
                    if isinstance(tokenizer, Vocabulary)
                    else {}
                ),
            },
            defaults={"batch_size": 8, "learning_rate": 4e-3},
            coding=self._coding(tokenizer),
            encoding=found.values["tokenizer"],
            decides=scoring.metric,
            scorer=scoring.scorer,
        )

    def coding(self, encoding: Any) -> Coding:
        """Return tokens of text and back.

        Raises:
            ValueError: the encoding is no tokenizer's.
        """
        return self._coding(tokenizer_from_json(json.dumps(encoding)))

    def _coding(self, tokenizer: Tokenizer) -> Coding:
        return Coding(tokenizer.encode, tokenizer.decode, items=partial(read_lines, encoding=self.encoding))

    def _prepare(self, files: dict[str, Path], place: Workplace) -> dict[str, Any]:
        """Grow the tokens of each part, and return the tokenizer and the facts."""
        parts, facts = _own_text(self, files, place) if files else _library(place)
        tokenizer = learnt_tokenizer(parts[0], self.tokens, self.vocabulary or _VOCABULARY)
        for name, part in zip(_PARTS, parts, strict=True):
            encode_prose(part, tokenizer, place.grow(name, np.min_scalar_type(tokenizer.vocabulary - 1)))
        return {"tokenizer": json.loads(tokenizer.to_json()), "facts": facts}

    def _train(self, tokens: np.ndarray, seed: int, tokenizer: Tokenizer) -> Examples:
        if self.objective == "masked":
            return self._masked(tokens, seed, tokenizer)
        return Windows(tokens, self.length, shifts=seed if self.shift else None)

    def _scored(self, tokens: np.ndarray, seed: int, tokenizer: Tokenizer) -> Examples:
        if self.objective == "masked":
            return self._masked(tokens, seed, tokenizer)
        # no longer than in training: attention is not asked about distances that it has never seen
        return Windows(tokens, self.length - self.context, self.context)

    def _masked(self, tokens: np.ndarray, seed: int, tokenizer: Tokenizer) -> Examples:
        return Masked(Windows(tokens, self.length), tokenizer.vocabulary, self.masked_share or _MASKED_SHARE, seed)


class Scoring:
    """How tokens of a kind are scored: by the head itself, per byte that they spell, or by perplexity."""

    def __init__(self, tokenizer: Tokenizer, tokens: str) -> None:
        self.metric = {"words": "perplexity", "characters": "bits_per_character"}.get(tokens, "bits_per_byte")
        self.scorer: Scorer | None = None
        self._bytes: np.ndarray | None = None
        if tokens == "words":
            self.scorer = partial(evaluate, judge=self._judge, formulas={"perplexity": perplexity})
        elif tokens == "bpe":
            assert isinstance(tokenizer, BPE)
            self._bytes = tokenizer.spelt()
            self.scorer = partial(evaluate, judge=self._judge)

    def of_frequencies(self, chances: np.ndarray, asked: np.ndarray) -> float:
        """Return the score of answering each token with the same chances, of how often each is asked for."""
        bits, total = math.fsum(asked * -np.log2(chances)), int(asked.sum())
        if self.metric == "perplexity":
            return 2 ** (bits / total)
        return bits / (total if self._bytes is None else int((asked * self._bytes).sum()))

    def _judge(self, model: Any, batch: Batch, output: Tensor) -> dict[str, Tensor]:
        wanted = batch.target != IGNORED
        nats = F.cross_entropy(output.float().transpose(1, 2), batch.target, ignore_index=IGNORED, reduction="none")
        bits, count = nats.double().sum(dim=1) / math.log(2), wanted.sum(dim=1).double()
        right = ((output.argmax(dim=-1) == batch.target) & wanted).sum(dim=1).double()
        found = {"accuracy": torch.stack((right, count), dim=1)}
        if self._bytes is None:
            return {"perplexity": torch.stack((bits, count), dim=1), **found}
        spelt = torch.from_numpy(self._bytes).to(batch.target.device)[batch.target.clamp(min=0)]
        length = torch.where(wanted, spelt, 0).sum(dim=1).double()
        return {self.metric: torch.stack((bits, length), dim=1), **found}


def _targets(examples: Examples, vocabulary: int) -> np.ndarray:
    """Return how often each token is a target, (vocabulary,)."""
    counts = np.zeros(vocabulary, dtype=np.int64)
    for start in range(0, len(examples), _COLLATED):
        target = examples.batch(np.arange(start, min(start + _COLLATED, len(examples)))).target.numpy()
        counts += np.bincount(target[target != IGNORED], minlength=vocabulary)
    return counts


def unigram(known: np.ndarray, vocabulary: int) -> np.ndarray:
    """Return the chance of each token by its frequency, with one added to each count."""
    counts = counted(known, vocabulary) + 1.0
    return counts / counts.sum()


def _library(place: Workplace) -> tuple[list[Prose], dict[str, Any]]:
    files = standard_library()
    bounds = np.cumsum(_SHARES)
    parts: list[list[Source]] = [[], [], []]
    for file in files:
        parts[min(int(np.searchsorted(bounds, share(file.name), side="right")), 2)].append(file)
    texts: list[Prose] = []
    used = 0
    for part, cap in zip(parts, _CAPS, strict=True):
        content = _SEPARATOR.join(file.content for file in part)[:cap]
        used += content.count(_SEPARATOR) + 1
        texts.append(given_prose(content, place))
    facts = {
        "source": f"source of the standard library of Python {platform.python_version()}",
        "python": platform.python_version(),
        "files": len(files),
        "files_used": used,
        "bytes": sum(len(file.content) for file in files),
        "split": "by file",
    }
    return texts, facts


def _files(task: Language) -> dict[str, Path]:
    named = {"data": task.data, "validation": task.validation_data, "test": task.test}
    return {name: Path(path) for name, path in named.items() if path is not None}


def _own_text(task: Language, files: dict[str, Path], place: Workplace) -> tuple[list[Prose], dict[str, Any]]:
    """Return the texts of training, validation and test."""
    read = {name: read_prose(path, task.encoding, place) for name, path in files.items()}
    whole = read["data"]
    test = 0.0 if "test" in read else task.test_share
    validation = 0.0 if "validation" in read else task.validation
    first, second, third = whole.cut(1 - (validation + test), 1 - test)
    texts = [first, read.get("validation", second), read.get("test", third)]
    if min(text.size for text in texts) < 2:
        raise ValueError(f"'{task.data}' has {whole.size} bytes, too few to split; give at least 40")
    return texts, {"bytes": whole.size, "split": "by files" if len(read) == 3 else "by position"}
