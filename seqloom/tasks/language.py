"""Language: the next byte of text, the Python standard library's own source or the user's file."""

import math
import platform
from typing import Any, ClassVar

import numpy as np
import pydantic

from seqloom.data.batches import Windows
from seqloom.data.source import Source, share, standard_library
from seqloom.data.text import read_text
from seqloom.model.frontend import Tokens
from seqloom.model.head import NextToken
from seqloom.tasks.task import Decode, Encode, Opened, Task

_SHARES = (0.90, 0.05, 0.05)
_CAPS = (4_000_000, 2**15, 2**16)  # bytes of the standard library used: enough to learn from, quick to score on
_SEPARATOR = b"\0"  # between files; no text holds it


class Language(Task):
    """Predict each next byte of text: the Python standard library's source, split by file, or a text file of yours.

    A file of yours is split by position: 90 % training, 5 % validation, 5 % test. One example of length=8, as
    characters:

        inputs    d e f _ o p e n
        target    e f _ o p e n (
    """

    metric: ClassVar[str] = "bits_per_byte"
    better: ClassVar[str] = "lower"
    data: str | None = None  # a text file, also .gz; None: the Python standard library
    encoding: str = "utf-8"  # of the text file; the model reads it as UTF-8
    length: int = pydantic.Field(default=256, gt=0)  # bytes of a window

    def open(self, seed: int = 0) -> Opened:
        """Read the text; the split does not depend on the seed.

        Raises:
            ValueError: the file is missing, empty, not in that encoding, or too short to be split.
        """
        streams, title, facts = _own_text(self.data, self.encoding) if self.data is not None else _library()
        train, validation, test = (Windows(stream, self.length) for stream in streams)
        names = ("train_bytes", "validation_bytes", "test_bytes")
        return Opened(
            task=self,
            title=title,
            train=train,
            validation=validation,
            test=test,
            frontend=Tokens(vocabulary=256),
            head=NextToken(vocabulary=256, unit="byte"),
            causal=True,
            floor=unigram_bits(streams[0], streams[2][1:]),
            floor_of="the frequency of each byte in training",
            facts={
                **facts,
                **{name: len(stream) for name, stream in zip(names, streams, strict=True)},
                "train": len(train),
                "validation": len(validation),
                "test": len(test),
                "length": self.length,
            },
            defaults={"batch_size": 8, "learning_rate": 4e-3},
            encode=_encode,
            decode=_decode,
            encoding="utf-8",
        )

    def coding(self, encoding: Any) -> tuple[Encode, Decode]:
        """Return bytes of text and back."""
        return _encode, _decode


def _encode(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), dtype=np.uint8)


def _decode(tokens: list[int]) -> str:
    return bytes(tokens).decode("utf-8", errors="replace")


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
    return streams, "Python source, next byte", facts


def _own_text(path: str, encoding: str) -> tuple[list[np.ndarray], str, dict[str, Any]]:
    content = np.frombuffer(read_text(path, encoding).encode(), dtype=np.uint8)
    cuts = [round(len(content) * _SHARES[0]), round(len(content) * (_SHARES[0] + _SHARES[1]))]
    streams = np.split(content, cuts)
    if min(map(len, streams)) < 2:
        raise ValueError(f"'{path}' has {len(content)} bytes, too few to split 90/5/5; give at least 40")
    facts = {"source": path, "bytes": len(content), "split": "by position"}
    return streams, f"Next byte of {path.rpartition('/')[2]}", facts
