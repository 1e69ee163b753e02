"""Labelled texts of a table, spooled: read once as a stream, and then at hand by row, from memory or a mapped file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from seqloom.data.cache import Workplace
from seqloom.data.files import Rows
from seqloom.data.growing import Growing
from seqloom.data.records import Reject
from seqloom.data.splits import keys
from seqloom.data.telling import tell
from seqloom.data.tokens import Tokenizer, truncated

CHUNK = 1000  # texts at a time, to bound memory


@dataclass(frozen=True)
class TextTable:
    """The texts of a table and their labels."""

    path: Path
    content: Growing  # (N,) uint8, UTF-8 of all texts, one behind the other
    offsets: np.ndarray  # (n + 1,) int64; text i is bytes offsets[i] ... offsets[i + 1] of it
    keys: np.ndarray  # (n,) uint64, the same for texts that read the same; see `splits.keys`
    label: np.ndarray  # (n,) int32, places in `names`
    names: dict[str, int]  # label -> the line where it first stands, in the order of these
    rows_in: int
    rows_rejected: int
    rejects: list[Reject]  # the first of them
    quoted: bool  # whether quotes enclose cells
    digest: str  # of the file's content, unpacked

    def __len__(self) -> int:
        return len(self.label)

    def some(self, rows: np.ndarray | range) -> list[str]:
        """Return the texts of rows."""
        return [self.content.read(self.offsets[i], self.offsets[i + 1]).tobytes().decode() for i in rows]

    def chunks(self) -> Iterator[list[str]]:
        """Give all texts in order, CHUNK at a time."""
        for start in range(0, len(self), CHUNK):
            at = self.offsets[start : start + CHUNK + 1]
            content = self.content.read(at[0], at[-1]).tobytes()
            begins = (at - at[0]).tolist()
            yield [content[i:j].decode() for i, j in pairwise(begins)]


def read_texts(rows: Rows, place: Workplace, lower: bool) -> TextTable:
    """Read the texts and labels of a table.

    Texts that differ in blanks alone, or with `lower` in case, have the same key. Memory: a chunk of texts, and 20
    bytes a row.

    Args:
        rows: of two columns, text and label. Blanks around a label do not count.
        place: for the texts.
        lower: whether the model reads upper case as lower case.

    Raises:
        ValueError: as `Rows`.
    """
    content, lengths = place.scratch(np.uint8), place.scratch(np.int64)
    hashes, labels = place.scratch(np.uint64), place.scratch(np.int32)
    names: dict[str, int] = {}
    numbers: dict[str, int] = {}
    for chunk in _chunked(rows):
        tell(f"reading {rows.path.name}", rows.share_read)
        texts = [cells[0] for _, cells in chunk]
        pieces = [text.encode() for text in texts]
        content.add(np.frombuffer(b"".join(pieces), dtype=np.uint8))
        lengths.add(np.fromiter(map(len, pieces), dtype=np.int64))
        hashes.add(keys(normal(text, lower) for text in texts))
        for line, (_, label) in chunk:
            names.setdefault(label.strip(), line)
            numbers.setdefault(label.strip(), len(numbers))
        labels.add(np.array([numbers[cells[1].strip()] for _, cells in chunk], dtype=np.int32))
    return TextTable(
        path=rows.path,
        content=content,
        offsets=np.concatenate([[0], np.cumsum(lengths.array())]),
        keys=hashes.array(),
        label=labels.array(),
        names=names,
        rows_in=rows.rows_in,
        rows_rejected=rows.rows_rejected,
        rejects=rows.rejects,
        quoted=rows.quoted,
        digest=rows.digest,
    )


def normal(text: str, lower: bool) -> str:
    """Return a text as it is compared with others: blanks are one space, and with `lower` case does not count."""
    return " ".join((text.lower() if lower else text).split())


def evenly(texts: TextTable, rows: np.ndarray, most_bytes: int) -> list[str]:
    """Return the texts of rows, of evenly spread ones if they have more than so many bytes."""
    size = int(np.sum(texts.offsets[rows + 1] - texts.offsets[rows]))
    return texts.some(rows[:: -(-size // most_bytes) or 1])


def encode_texts(
    tables: Sequence[TextTable], tokenizer: Tokenizer, place: Workplace, max_length: int, middle: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (tokens, offsets, lengths before anything was cut) of the texts of all tables, chunk by chunk.

    Args:
        tables: whose texts follow each other.
        tokenizer: what encodes them.
        place: for the three arrays, as "tokens", "offsets" and "lengths".
        max_length: tokens kept of a text.
        middle: whether what a longer text loses is its middle; else its end.
    """
    tokens, lengths = place.grow("tokens"), place.grow("lengths", np.int64)
    done, total = 0, sum(map(len, tables))
    for table in tables:
        for chunk in table.chunks():
            tell("encoding texts", done / total)
            found, offsets = tokenizer.encode_batch(chunk)
            lengths.add(np.diff(offsets))
            tokens.add(truncated(found, offsets, max_length, middle)[0])
            done += len(chunk)
    whole = lengths.array()
    offsets = place.grow("offsets", np.int64)
    offsets.add(np.concatenate([[0], np.cumsum(np.minimum(whole, max_length))]))
    return tokens.array(), offsets.array(), whole


def _chunked(rows: Rows) -> Iterator[list[tuple[int, list[str]]]]:
    chunk: list[tuple[int, list[str]]] = []
    size = 0
    for row in rows:
        chunk.append(row)
        size += len(row[1][0])
        if len(chunk) == CHUNK or size > 2**24:  # a few texts may be huge
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
