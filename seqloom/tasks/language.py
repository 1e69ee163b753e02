"""Language: the next byte of text, or masked ones; the Python standard library's own source or the user's file."""

import json
import math
import platform
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pydantic

from seqloom.core.types import IGNORED
from seqloom.data.batches import Examples, Windows
from seqloom.data.masking import Masked
from seqloom.data.source import Source, share, standard_library
from seqloom.data.text import read_text
from seqloom.data.tokens import Bytes
from seqloom.model.frontend import Tokens
from seqloom.model.head import NextToken
from seqloom.tasks.task import Coding, Opened, Task

_SHARES = (0.90, 0.05, 0.05)
_CAPS = (4_000_000, 2**15, 2**16)  # bytes of the standard library used: enough to learn from, quick to score on
_MASKED_SHARE = 0.15
_COLLATED = 256  # windows at a time, to bound memory
_SEPARATOR = b"\0"  # between files; no text holds it


class Language(Task):
    """Predict each next byte of text, or masked ones: the Python standard library's source, or a text file of yours.

    The standard library is split by file, a file of yours by position: 90 % training, 5 % validation, 5 % test. One
    example of length=8, as characters:

        inputs    d e f _ o p e n
        target    e f _ o p e n (

    With objective="masked" the model sees the future, and is asked for the bytes that are hidden from it, other ones in
    each epoch of training; of these most are a mask token (#), some another byte, some as they were:

        inputs    d e f _ # p e n
        target    - - - - o - - -
    """

    metric: ClassVar[str] = "bits_per_byte"
    better: ClassVar[str] = "lower"
    data: str | None = None  # a text file, also .gz; None: the Python standard library
    encoding: str = "utf-8"  # of the text file; the model reads it as UTF-8
    length: int = pydantic.Field(default=256, gt=0)  # bytes of a window
    objective: Literal["next", "masked"] = "next"  # predict each next byte, or bytes that are masked, as BERT does
    masked_share: float | None = pydantic.Field(default=None, gt=0, lt=1)  # of the bytes; None: 0.15 if masked

    @pydantic.model_validator(mode="after")
    def _nothing_without_effect(self) -> Self:
        if self.objective == "next" and self.masked_share is not None:
            raise ValueError(f"masked_share {self.masked_share} has no effect with objective=next; take masked")
        return self

    def open(self, seed: int = 0) -> Opened:
        """Read the text; the split does not depend on the seed, the masks do.

        Raises:
            ValueError: the file is missing, empty, not in that encoding, or too short to be split.
        """
        streams, source, facts = _own_text(self.data, self.encoding) if self.data is not None else _library()
        train, validation, test = (self._examples(stream, seed) for stream in streams)
        masked = self.objective == "masked"
        vocabulary = Bytes.vocabulary + masked  # the mask token is the last
        names = ("train_bytes", "validation_bytes", "test_bytes")
        return Opened(
            task=self,
            title=f"{'Masked bytes' if masked else 'Next byte'} of {source}",
            train=train,
            validation=validation,
            test=test,
            frontend=Tokens(vocabulary=vocabulary),
            head=NextToken(vocabulary=vocabulary, unit="byte"),
            causal=not masked,
            floor=unigram_bits(streams[0], _targets(test)),
            floor_of="the frequency of each byte in training",
            facts={
                **facts,
                **{name: len(stream) for name, stream in zip(names, streams, strict=True)},
                "train": len(train),
                "validation": len(validation),
                "test": len(test),
                "length": self.length,
                "objective": self.objective,
                **({"masked_share": self.masked_share or _MASKED_SHARE} if masked else {}),
            },
            defaults={"batch_size": 8, "learning_rate": 4e-3},
            coding=self.coding(None),
            encoding=json.loads(Bytes().to_json()),
        )

    def coding(self, encoding: Any) -> Coding:
        """Return bytes of text and back."""
        return Coding(encode=Bytes().encode, decode=Bytes().decode)

    def _examples(self, stream: np.ndarray, seed: int) -> Examples:
        windows = Windows(stream, self.length)
        if self.objective == "next":
            return windows
        return Masked(windows, Bytes.vocabulary, self.masked_share or _MASKED_SHARE, seed)


def _targets(examples: Examples) -> np.ndarray:
    chunks = np.array_split(np.arange(len(examples)), -(-len(examples) // _COLLATED))
    targets = (examples.batch(rows).target.numpy() for rows in chunks)
    return np.concatenate([target[target != IGNORED].astype(np.uint8) for target in targets])


def unigram_bits(known: np.ndarray, asked: np.ndarray) -> float:
    """Return the cross-entropy, in bits, of bytes under the frequencies of others, with one added to each count."""
    counts = np.bincount(known, minlength=256) + 1.0
    surprise = -np.log2(counts / counts.sum())
    return math.fsum(np.bincount(asked, minlength=256) * surprise) / len(asked)


def _library() -> tuple[list[np.ndarray], str, dict[str, Any]]:
    files = standard_library()
    bounds = np.cumsum(_SHARES)
    parts: list[list[Source]] = [[], [], []]
    for file in files:
        parts[min(int(np.searchsorted(bounds, share(file.name), side="right")), 2)].append(file)
    streams: list[np.ndarray] = []
    used = 0
    for part, cap in zip(parts, _CAPS, strict=True):
        content = _SEPARATOR.join(file.content for file in part)[:cap]
        used += content.count(_SEPARATOR) + 1
        streams.append(np.frombuffer(content, dtype=np.uint8))
    facts = {
        "source": f"source of the standard library of Python {platform.python_version()}",
        "python": platform.python_version(),
        "files": len(files),
        "files_used": used,
        "bytes": sum(len(file.content) for file in files),
        "split": "by file",
    }
    return streams, "Python source", facts


def _own_text(path: str, encoding: str) -> tuple[list[np.ndarray], str, dict[str, Any]]:
    content = np.frombuffer(read_text(path, encoding).encode(), dtype=np.uint8)
    cuts = [round(len(content) * _SHARES[0]), round(len(content) * (_SHARES[0] + _SHARES[1]))]
    streams = np.split(content, cuts)
    if min(map(len, streams)) < 2:
        raise ValueError(f"'{path}' has {len(content)} bytes, too few to split 90/5/5; give at least 40")
    facts = {"source": path, "bytes": len(content), "split": "by position"}
    return streams, path.rpartition("/")[2], facts
