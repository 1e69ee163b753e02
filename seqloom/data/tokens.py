"""Tokenizers: text to numbers and back. Bytes, or byte-level BPE learnt from the training split; neither knows an
unknown word, since both fall back to bytes. A vocabulary of words or characters does: the literature's figures per word
are of such.

Bytes of "Fee, fee!" are 70 101 101 44 ...; BPE with lower=True may give " fee" "," " fee" "!".
"""

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
from tokenizers import Tokenizer as Engine
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from seqloom.data.telling import tell

_BYTES = 256
_CHUNK = 1000  # texts encoded at a time, to bound memory
LEARN_CHARACTERS = 20_000_000  # BPE is learnt from no more: frequencies change little beyond


class Tokenizer(ABC):
    """A map of text to numbers below `vocabulary`, the same wherever its JSON is loaded."""

    vocabulary: int

    @abstractmethod
    def encode_batch(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the tokens of all texts in a row (N,) and offsets (n + 1,): text i is tokens[offsets[i]:offsets[i+1]].

        The tokens are of the smallest unsigned type that holds the vocabulary.
        """

    @abstractmethod
    def decode(self, tokens: Iterable[int]) -> str:
        """Return the text of tokens; bytes that are no UTF-8, as when cut inside a character, show as U+FFFD."""

    @abstractmethod
    def to_json(self) -> str:
        """Return everything as JSON text, for `tokenizer_from_json`."""

    def encode(self, text: str) -> np.ndarray:
        """Return the tokens (T,) of one text."""
        return self.encode_batch([text])[0]


class Bytes(Tokenizer):
    """The bytes of UTF-8: 256 tokens, nothing to learn."""

    vocabulary = _BYTES

    def __init__(self, lower: bool = False) -> None:
        self.lower = lower

    def encode_batch(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return bytes and offsets. Work O(N)."""
        pieces = [(text.lower() if self.lower else text).encode() for text in texts]
        return np.frombuffer(b"".join(pieces), dtype=np.uint8), _offsets(map(len, pieces))

    def decode(self, tokens: Iterable[int]) -> str:
        """Return the text of bytes."""
        return bytes(tokens).decode("utf-8", errors="replace")

    def to_json(self) -> str:
        """Return the kind and its setting."""
        return json.dumps({"kind": "bytes", "lower": self.lower})


class BPE(Tokenizer):
    """Byte-pair encoding over bytes: frequent strings within words become tokens.

    Source: Sennrich et al. 2016, arXiv 1508.07909; on bytes: Radford et al. 2019. Learnt and run by HF tokenizers.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._prefix = bool(json.loads(engine.to_str())["pre_tokenizer"].get("add_prefix_space"))
        self.vocabulary = engine.get_vocab_size()

    @classmethod
    def learn(cls, texts: Sequence[str], vocabulary: int = 8000, lower: bool = False, prefix: bool = True) -> "BPE":
        """Learn from texts, the training split's alone; from evenly spread ones if there are more than 20 million
        characters.

        Args:
            texts: any.
            vocabulary: tokens at most, the 256 bytes among them; little text gives fewer.
            lower: whether upper case is read as lower case.
            prefix: whether a text's first word is read as if a space stood before it, like those inside.

        Raises:
            ValueError: a vocabulary without room for the bytes.
        """
        if vocabulary < _BYTES:
            raise ValueError(f"vocabulary = {vocabulary} has no room for the {_BYTES} bytes; take more")
        engine = Engine(models.BPE())
        if lower:
            engine.normalizer = normalizers.Lowercase()
        engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
        engine.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary,
            min_frequency=2,
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        )
        step = -(-sum(map(len, texts)) // LEARN_CHARACTERS) or 1
        engine.train_from_iterator(_told(texts[::step]), trainer=trainer)
        return cls(engine)

    def encode_batch(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return tokens and offsets. Work O(N)."""
        kind = np.min_scalar_type(self.vocabulary - 1)
        parts = [np.zeros(0, kind)]
        lengths: list[int] = []
        for start in range(0, len(texts), _CHUNK):
            encodings = self._engine.encode_batch_fast(list(texts[start : start + _CHUNK]))
            parts.extend(np.array(encoding.ids, dtype=kind) for encoding in encodings)
            lengths.extend(len(encoding) for encoding in encodings)
        return np.concatenate(parts), _offsets(lengths)

    def decode(self, tokens: Iterable[int]) -> str:
        """Return the text of tokens, without the space put before the first word."""
        text = self._engine.decode(list(map(int, tokens)))
        return text.removeprefix(" ") if self._prefix else text

    def spelt(self) -> np.ndarray:
        """Return how many bytes each token spells, (vocabulary,) int64."""
        lengths = np.zeros(self.vocabulary, dtype=np.int64)
        for token, number in self._engine.get_vocab().items():
            lengths[number] = len(token)  # a byte is one character of this alphabet
        return lengths

    def to_json(self) -> str:
        """Return the vocabulary and the merges, in the format of HF tokenizers."""
        return json.dumps({"kind": "bpe", "tokenizer": json.loads(self._engine.to_str())}, ensure_ascii=False)


class Vocabulary(Tokenizer):
    """Whole words or single characters of a list; 0 stands for all others.

    Words are what blanks separate, and each line's end is a word of its own, END, as in the Penn Treebank's customs.
    """

    END = "<eos>"
    UNKNOWN = "<unk>"

    def __init__(self, unit: str, entries: Sequence[str]) -> None:
        self.unit = unit  # "words" or "characters"
        self.entries = tuple(entries)
        self.vocabulary = len(self.entries)
        self._numbers = {entry: number for number, entry in enumerate(self.entries)}

    @classmethod
    def learn(cls, texts: Iterable[str], unit: str, vocabulary: int = 10_000) -> "Vocabulary":
        """Learn the most frequent units of texts, `vocabulary` of them at most, the unknown one included."""
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(cls._split(text, unit))
        del counts[cls.UNKNOWN]  # some corpora spell it out
        ranked = sorted(counts, key=lambda entry: (-counts[entry], entry))
        return cls(unit, [cls.UNKNOWN, *ranked[: vocabulary - 1]])

    def encode_batch(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return numbers and offsets. Work O(N)."""
        kind = np.min_scalar_type(self.vocabulary - 1)
        parts = [
            np.fromiter((self._numbers.get(entry, 0) for entry in self._split(text, self.unit)), dtype=kind)
            for text in texts
        ]
        return np.concatenate([np.zeros(0, kind), *parts]), _offsets(map(len, parts))

    def decode(self, tokens: Iterable[int]) -> str:
        """Return the text of numbers: words with blanks between them, END as a line's end."""
        entries = [self.entries[token] for token in tokens]
        if self.unit == "characters":
            return "".join(entries)
        return " ".join(entries).replace(f" {self.END} ", "\n").replace(f" {self.END}", "\n").replace(self.END, "\n")

    def to_json(self) -> str:
        """Return the unit and the list."""
        return json.dumps({"kind": "vocabulary", "unit": self.unit, "entries": self.entries}, ensure_ascii=False)

    @classmethod
    def _split(cls, text: str, unit: str) -> Iterable[str]:
        if unit == "characters":
            return text
        lines = text.split("\n")
        words = (word for line in lines[:-1] for word in (*line.split(), cls.END))
        return chain(words, lines[-1].split())


def _told(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(texts), _CHUNK):
        tell("learning tokens", start / len(texts))
        yield texts[start : start + _CHUNK]


def tokenizer_from_json(text: str) -> Tokenizer:
    """Return the tokenizer that `to_json` wrote.

    Raises:
        ValueError: the text is no such JSON.
    """
    try:
        data: dict[str, Any] = json.loads(text)
        if data["kind"] == "bytes":
            return Bytes(lower=data["lower"])
        if data["kind"] == "vocabulary":
            return Vocabulary(data["unit"], data["entries"])
        if data["kind"] == "bpe":
            return BPE(_engine(json.dumps(data["tokenizer"])))
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"no tokenizer in this JSON: {error!r}; give what to_json wrote") from None
    raise ValueError(f"tokenizer kind '{data['kind']}' is unknown; it must be 'bytes', 'bpe' or 'vocabulary'")


def _engine(text: str) -> Engine:
    try:
        return Engine.from_str(text)
    except Exception as error:  # noqa: BLE001 -- tokenizers raises nothing narrower
        raise ValueError(f"no tokenizer in this JSON: {error}; give what to_json wrote") from None


def hub_tokenizer(content: bytes) -> Engine:
    """Return the tokenizer of a tokenizer.json, as the `tokenizers` library runs it.

    Raises:
        ValueError: the file is not one.
    """
    try:
        return _engine(content.decode())
    except UnicodeDecodeError as error:
        raise ValueError(f"tokenizer.json is not UTF-8 (byte {error.start})") from None


def truncated(
    tokens: np.ndarray, offsets: np.ndarray, length: int, middle: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return tokens and offsets with at most `length` tokens of each text. Work O(N).

    Args:
        tokens, offsets: as `encode_batch` gives them.
        length: tokens to keep; the first ones.
        middle: keep the first half of them and the last half of the text's, leaving out the middle (head and tail: Sun
            et al. 2019, arXiv 1905.05583).
    """
    lengths = np.diff(offsets)
    within = np.arange(len(tokens)) - np.repeat(offsets[:-1], lengths)
    tail = length // 2 if middle else 0
    kept = (within < length - tail) | (within >= np.repeat(lengths, lengths) - tail)
    return tokens[kept], _offsets(np.minimum(lengths, length))


def _offsets(lengths: Iterable[int] | np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.fromiter(lengths, dtype=np.int64))])
