"""Plain text of any size: spooled as UTF-8, cut into parts by position, learnt from and encoded a piece at a time."""

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from seqloom.data.cache import Workplace
from seqloom.data.growing import Growing
from seqloom.data.lines import LONGEST, TextFile
from seqloom.data.telling import tell
from seqloom.data.tokens import BPE, LEARN_CHARACTERS, Bytes, Tokenizer, Vocabulary

_BLOCK = 2**20  # bytes at a time


class Prose(NamedTuple):
    """A part of a text: bytes `start` ... `stop` - 1 of its UTF-8."""

    content: Growing
    start: int
    stop: int

    @property
    def size(self) -> int:
        """Return how many bytes it has."""
        return self.stop - self.start

    def blocks(self) -> Iterator[np.ndarray]:
        """Give its bytes, some at a time."""
        for start in range(self.start, self.stop, _BLOCK):
            yield self.content.read(start, min(start + _BLOCK, self.stop))

    def lines(self) -> Iterator[list[str]]:
        """Give its lines with their ends, some at a time; a line longer than memory should hold is several."""
        rest = b""
        for block in self.blocks():
            whole, end, rest = (rest + block.tobytes()).rpartition(b"\n")
            if end:
                yield _lines(whole + end)
            elif len(rest) > LONGEST:
                cut = whole_until(rest, len(rest) - 4)
                yield _lines(rest[:cut])
                rest = rest[cut:]
        if rest:
            yield _lines(rest)

    def cut(self, *shares: float) -> "list[Prose]":
        """Return the parts that end at shares of it, and the rest; no character is cut."""
        ends = [self.start + round(self.size * share) for share in shares]
        found: list[Prose] = []
        start = self.start
        for end in ends:
            around = self.content.read(max(end - 4, 0), min(end + 1, self.stop)).tobytes()
            end += whole_until(around, end - max(end - 4, 0)) - (end - max(end - 4, 0))
            found.append(Prose(self.content, start, max(start, end)))
            start = found[-1].stop
        return [*found, Prose(self.content, start, self.stop)]


def whole_until(content: bytes, cut: int) -> int:
    """Return a cut moved to the begin of the character that it falls into."""
    while 0 < cut < len(content) and content[cut] & 0xC0 == 0x80:
        cut -= 1
    return cut


def read_prose(path: Path, encoding: str, place: Workplace) -> Prose:
    """Read a text file.

    Raises:
        ValueError: it is missing, empty, blank, not in that encoding, or has a NUL byte.
    """
    content = place.scratch(np.uint8)
    file = TextFile(path, encoding, newline="")
    line, blank = 1, True
    for text in file.pieces():
        tell(f"reading {path.name}", file.share_read)
        if "\0" in text:
            line += text.count("\n", 0, text.index("\0"))
            raise ValueError(f"'{path}' has a NUL byte in line {line}: it is no text, or damaged; remove the NUL bytes")
        line += text.count("\n")
        blank = blank and not text.strip()
        content.add(np.frombuffer(text.encode(), dtype=np.uint8))
    if blank:
        raise ValueError(f"'{path}' holds only blanks; give a file with text in it")
    return Prose(content, 0, content.length)


def given_prose(text: bytes, place: Workplace) -> Prose:
    """Return a text that is at hand."""
    content = place.scratch(np.uint8)
    content.add(np.frombuffer(text, dtype=np.uint8))
    return Prose(content, 0, len(text))


def learnt_tokenizer(prose: Prose, tokens: str, vocabulary: int) -> Tokenizer:
    """Learn the tokens of a text: "bytes" (nothing to learn), "bpe", "words" or "characters".

    BPE is learnt from evenly spread lines where the text has more than LEARN_CHARACTERS bytes.
    """
    if tokens == "bytes":
        return Bytes()
    lines = chain.from_iterable(prose.lines())
    if tokens == "bpe":
        step = -(-prose.size // LEARN_CHARACTERS) or 1
        return BPE.learn(list(islice(lines, 0, None, step)), vocabulary, prefix=False)
    return Vocabulary.learn(lines, tokens, vocabulary)


def encode_prose(prose: Prose, tokenizer: Tokenizer, tokens: Growing) -> None:
    """Add a text's tokens to an array, encoded by its lines."""
    if isinstance(tokenizer, Bytes):
        for block in prose.blocks():
            tokens.add(block)
        return
    done = 0
    for lines in prose.lines():
        tokens.add(tokenizer.encode_batch(lines)[0])
        done += sum(map(len, lines))
        tell("encoding text", min(done / max(prose.size, 1), 1.0))


def counted(tokens: np.ndarray, vocabulary: int) -> np.ndarray:
    """Return how often each token stands in a stream, (vocabulary,); in bounded memory."""
    counts = np.zeros(vocabulary, dtype=np.int64)
    for start in range(0, len(tokens), _BLOCK):
        counts += np.bincount(tokens[start : start + _BLOCK], minlength=vocabulary)
    return counts


def _lines(content: bytes) -> list[str]:
    # a text that is at hand may be cut at any byte
    return content.decode(errors="replace").splitlines(keepends=True)
