"""Parallel text of users: two files of which line i translates line i, or one table of two columns.

Rows in = rows used + rows rejected, as in `seqloom.data.files`. Lines end with a line feed, a carriage return before it
belonging to the end, and nowhere else: other separators of Unicode may stand inside a sentence, and a line too many
would shift all that follow.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seqloom.data.files import REJECTED_SHARE, read_table
from seqloom.data.formats import Column
from seqloom.data.records import Reject
from seqloom.data.text import digest, read_bytes, read_text

_SHOWN = 5  # rejects that a message tells of


@dataclass(frozen=True)
class Parallel:
    """Pairs of texts, stripped of blanks around them, and what became of the other lines."""

    name: str  # of the files, for messages
    source: list[str]
    target: list[str]
    rejects: list[Reject]
    rows_in: int  # pairs + rejects
    digests: tuple[str, ...]  # of the files' contents

    def __len__(self) -> int:
        return len(self.source)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Return (source, target) of each row."""
        return list(zip(self.source, self.target, strict=True))


def read_parallel(source: str, target: str, encoding: str = "utf-8", allow_rejects: bool = False) -> Parallel:
    """Read two files whose lines are translations of each other; a pair with an empty side is rejected.

    Args:
        source: file of what is translated, also .gz.
        target: file of its translations.
        encoding: of both.
        allow_rejects: whether to go on with more than REJECTED_SHARE of the pairs rejected.

    Raises:
        ValueError: a file cannot be read or is not in that encoding, the files have different numbers of lines, or too
            many pairs are rejected.
    """
    if source == target:
        raise ValueError(f"source and target are both '{source}'; give the file of each language")
    sides = [_lines(read_text(path, encoding)) for path in (source, target)]
    if len(sides[0]) != len(sides[1]):
        raise ValueError(
            f"'{source}' has {len(sides[0])} lines and '{target}' has {len(sides[1])}: line i of one must translate "
            "line i of the other; give files of equal length, an untranslated line left empty"
        )
    kept: tuple[list[str], list[str]] = ([], [])
    rejects: list[Reject] = []
    for line, pair in enumerate(zip(*sides, strict=True), start=1):
        empty = [side for side, text in zip(("source", "target"), pair, strict=True) if not text]
        if empty:
            rejects.append(Reject(line, f"the {' and the '.join(empty)} {'are' if empty[1:] else 'is'} empty"))
            continue
        for side, text in zip(kept, pair, strict=True):
            side.append(text)
    _check(f"'{source}' and '{target}'", rejects, len(sides[0]), allow_rejects)
    digests = tuple(digest(read_bytes(path)) for path in (source, target))
    return Parallel(f"{source} {target}", *kept, rejects, len(sides[0]), digests)


def read_pairs(
    path: str,
    columns: Sequence[Column],
    encoding: str = "utf-8",
    header: bool | None = None,
    allow_rejects: bool = False,
) -> Parallel:
    """Read a table of two columns, as `read_table` does.

    Raises:
        ValueError: as `read_table`.
    """
    table = read_table(path, columns, encoding=encoding, header=header, allow_rejects=allow_rejects)
    source, target = ([text.strip() for text in table.rows[column]] for column in columns)
    return Parallel(path, source, target, table.rejects, table.rows_in, (table.digest,))


def without(parts: Sequence[Parallel | None]) -> tuple[list[np.ndarray], int, list[int]]:
    """Return the rows of each part to keep, so that no pair stands in two parts: (rows, repeated, shared).

    A pair stays in the last part that holds it, so give training first and test last. A part that is None has no rows.
    Inside the first part a pair stays once. Both comparisons are of exact texts.

    Returns:
        rows: ascending, of each part.
        repeated: pairs of the first part left out because it holds them already.
        shared: of each part, the pairs left out because a later one holds them.
    """
    rows: list[np.ndarray] = []
    shared: list[int] = []
    later: set[tuple[str, str]] = set()
    repeated = 0
    for place, part in reversed(list(enumerate(parts))):
        pairs = part.pairs if part is not None else []
        kept = [row for row, pair in enumerate(pairs) if pair not in later]
        shared.append(len(pairs) - len(kept))
        if place == 0:
            first = {pairs[row]: row for row in reversed(kept)}
            repeated, kept = len(kept) - len(first), sorted(first.values())
        rows.append(np.array(kept, dtype=np.int64))
        later.update(pairs)
    return rows[::-1], repeated, shared[::-1]


def _lines(text: str) -> list[str]:
    lines = text.split("\n")
    return [line.strip() for line in (lines[:-1] if not lines[-1] else lines)]


def _check(names: str, rejects: list[Reject], rows_in: int, allow_rejects: bool) -> None:
    few = len(rejects) <= REJECTED_SHARE * rows_in or allow_rejects
    if len(rejects) < rows_in and few:
        return
    shown = "; ".join(f"line {line}: {reason}" for line, reason in rejects[:_SHOWN])
    more = f"; and {len(rejects) - _SHOWN} more" if len(rejects) > _SHOWN else ""
    some = f"more than {REJECTED_SHARE:.1%} of them; correct them, or add --allow-rejects"
    rule = some if len(rejects) < rows_in else "all of them"
    raise ValueError(f"{names}: {len(rejects)} of {rows_in} pairs cannot be used, {rule}. {shown}{more}")
