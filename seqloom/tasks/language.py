"""Language: the next token of text, or masked ones; the Python standard library's own source or the user's files."""

import json
import math
import platform
from functools import partial
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pydantic
import torch
import torch.nn.functional as F
from torch import Tensor

from seqloom.core.types import IGNORED
from seqloom.data.batches import Batch, Examples, Windows
from seqloom.data.masking import Masked
from seqloom.data.source import Source, share, standard_library
from seqloom.data.text import read_text
from seqloom.data.tokens import BPE, Bytes, Tokenizer, Vocabulary, tokenizer_from_json
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
    context: int = pydantic.Field(default=0, ge=0)  # tokens read in front of each window that is scored
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
        texts, source, facts = _own_text(self) if self.data is not None else _library()
        tokenizer = self._tokenizer(texts[0])
        streams = [_stream(tokenizer, text) for text in texts]
        if min(map(len, streams)) < 2:
            raise ValueError(
                f"'{source}' has parts of {', '.join(str(len(s)) for s in streams)} tokens; need 2 or more"
            )
        masked = self.objective == "masked"
        vocabulary = tokenizer.vocabulary + masked  # the mask token is the last
        train = self._train(streams[0], seed, tokenizer)
        validation, test = (self._scored(each, seed, tokenizer) for each in streams[1:])
        unit, named = _UNITS[self.tokens], "bytes" if self.tokens == "bytes" else "tokens"
        counts = unigram(streams[0], tokenizer.vocabulary)
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
            floor=scoring.of_frequencies(counts, _targets(test)),
            floor_of=f"the frequency of each {unit} in training",
            facts={
                **facts,
                **{f"{part}_{named}": len(each) for part, each in zip(_PARTS, streams, strict=True)},
                **{name: len(each) for name, each in zip(_PARTS, (train, validation, test), strict=True)},
                "tokens": self.tokens,
                "vocabulary": vocabulary,
                "length": self.length,
                "objective": self.objective,
                **({"masked_share": self.masked_share or _MASKED_SHARE} if masked else {}),
                **({"unknown_share": float(np.mean(streams[2] == 0))} if isinstance(tokenizer, Vocabulary) else {}),
            },
            defaults={"batch_size": 8, "learning_rate": 4e-3},
            coding=_coding(tokenizer),
            encoding=json.loads(tokenizer.to_json()),
            decides=scoring.metric,
            scorer=scoring.scorer,
        )

    def coding(self, encoding: Any) -> Coding:
        """Return tokens of text and back.

        Raises:
            ValueError: the encoding is no tokenizer's.
        """
        return _coding(tokenizer_from_json(json.dumps(encoding)))

    def _tokenizer(self, text: bytes) -> Tokenizer:
        if self.tokens == "bytes":
            return Bytes()
        most = self.vocabulary or _VOCABULARY
        if self.tokens == "bpe":
            return BPE.learn(_lines(text), most, prefix=False)
        return Vocabulary.learn(_lines(text), self.tokens, most)

    def _train(self, tokens: np.ndarray, seed: int, tokenizer: Tokenizer) -> Examples:
        if self.objective == "masked":
            return self._masked(tokens, seed, tokenizer)
        return Windows(tokens, self.length, shifts=seed if self.shift else None)

    def _scored(self, tokens: np.ndarray, seed: int, tokenizer: Tokenizer) -> Examples:
        if self.objective == "masked":
            return self._masked(tokens, seed, tokenizer)
        return Windows(tokens, self.length, self.context)

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
        """Return the score of answering each token with the same chances."""
        bits = math.fsum(np.bincount(asked, minlength=len(chances)) * -np.log2(chances))
        if self.metric == "perplexity":
            return 2 ** (bits / len(asked))
        return bits / (len(asked) if self._bytes is None else int(self._bytes[asked].sum()))

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


def _coding(tokenizer: Tokenizer) -> Coding:
    return Coding(encode=tokenizer.encode, decode=tokenizer.decode)


def _stream(tokenizer: Tokenizer, text: bytes) -> np.ndarray:
    """Return the tokens of a text, encoded by its lines."""
    if isinstance(tokenizer, Bytes):
        return np.frombuffer(text, dtype=np.uint8)
    return tokenizer.encode_batch(_lines(text))[0]


def _lines(text: bytes) -> list[str]:
    # the library's text is cut at any byte
    return text.decode(errors="replace").splitlines(keepends=True)


def _targets(examples: Examples) -> np.ndarray:
    chunks = np.array_split(np.arange(len(examples)), -(-len(examples) // _COLLATED))
    targets = (examples.batch(rows).target.numpy() for rows in chunks)
    return np.concatenate([target[target != IGNORED] for target in targets])


def unigram(known: np.ndarray, vocabulary: int) -> np.ndarray:
    """Return the chance of each token by its frequency, with one added to each count."""
    counts = np.bincount(known, minlength=vocabulary) + 1.0
    return counts / counts.sum()


def _library() -> tuple[list[bytes], str, dict[str, Any]]:
    files = standard_library()
    bounds = np.cumsum(_SHARES)
    parts: list[list[Source]] = [[], [], []]
    for file in files:
        parts[min(int(np.searchsorted(bounds, share(file.name), side="right")), 2)].append(file)
    texts: list[bytes] = []
    used = 0
    for part, cap in zip(parts, _CAPS, strict=True):
        content = _SEPARATOR.join(file.content for file in part)[:cap]
        used += content.count(_SEPARATOR) + 1
        texts.append(content)
    facts = {
        "source": f"source of the standard library of Python {platform.python_version()}",
        "python": platform.python_version(),
        "files": len(files),
        "files_used": used,
        "bytes": sum(len(file.content) for file in files),
        "split": "by file",
    }
    return texts, "Python source", facts


def _own_text(task: Language) -> tuple[list[bytes], str, dict[str, Any]]:
    """Return the texts of training, validation and test."""
    assert task.data is not None
    read = [
        None if path is None else read_text(path, task.encoding).encode()
        for path in (task.data, task.validation_data, task.test)
    ]
    content = read[0] or b""
    shares = [
        own if text is None else 0.0 for own, text in zip((task.validation, task.test_share), read[1:], strict=True)
    ]
    first, second = (_whole(content, round(len(content) * (1 - share))) for share in (sum(shares), shares[1]))
    pieces = [content[:first], content[first:second], content[second:]]
    texts = [pieces[0], *(piece if own is None else own for piece, own in zip(pieces[1:], read[1:], strict=True))]
    if min(map(len, texts)) < 2:
        raise ValueError(f"'{task.data}' has {len(content)} bytes, too few to split; give at least 40")
    split = "by files" if all(read) else "by position"
    return texts, task.data.rpartition("/")[2], {"source": task.data, "bytes": len(content), "split": split}


def _whole(content: bytes, cut: int) -> int:
    """Return a cut moved to the begin of the character that it falls into."""
    while 0 < cut < len(content) and content[cut] & 0xC0 == 0x80:
        cut -= 1
    return cut
