"""Files of tagged tokens: CoNLL columns in any tag scheme, and JSON lines of tokens or text with spans.

Rows are sentences. Rows in = rows used + rows rejected, and each reject is listed with its line and a reason.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seqloom.data.files import check_rejects
from seqloom.data.inputs import BLANK, read_lines
from seqloom.data.records import Reject
from seqloom.data.schemes import SCHEMES, Span, fault_of, is_tag, scheme_of, spans_of
from seqloom.data.sentences import Sentence, cut
from seqloom.data.text import digest, read_text, split_lines

DOCUMENT = "-DOCSTART-"  # the token of a line that begins a document and is no sentence
JSON_LINES = (".jsonl", ".ndjson", ".json")

_BLANKS = re.compile("[ \t]+")  # not str.split, which also splits at characters that are tokens of Chinese text


@dataclass(frozen=True)
class Tagged:
    """The sentences of a file that are used, and what became of the others."""

    path: Path
    sentences: list[Sentence]
    rejects: list[Reject]
    rows_in: int
    scheme: str  # of the tags; "spans" where there are none
    odd: int  # sentences used although their tags are not quite of that scheme
    documents: int  # lines that begin one
    digest: str  # of the file's text


def read_tagged(
    path: str | Path,
    *,
    token: int = 0,
    tag: int = -1,
    scheme: str | None = None,
    encoding: str = "utf-8",
    characters: bool = False,
    allow_rejects: bool = False,
) -> Tagged:
    """Read sentences and their entities.

    The file's name tells its format: .jsonl, .ndjson or .json, also .gz, is one JSON object a line with `tokens` or
    `text`, and `spans`, a list of {"start", "end", "label"} that count tokens or characters, `end` not included. Else
    a line is a token with its columns, between tabs if all lines have one and else between blanks, and an empty line
    ends a sentence.

    Args:
        path: the file.
        token, tag: columns, from 0; negative ones from the last.
        scheme: of the tags; None: as `scheme_of` tells. Then, and with "iob1", sentences of B- and I- alone are read in
            any mixture of iob1 and iob2, as conlleval reads them: both begin an entity where none goes on.
        encoding: of the file.
        characters: cut a `text` into characters, not into words.
        allow_rejects: whether to go on with many sentences rejected.

    Raises:
        ValueError: the file cannot be read, is in another format, or has too many sentences that break a rule.
    """
    path = Path(path)
    if scheme is not None and scheme not in SCHEMES:
        raise ValueError(f"scheme '{scheme}' is unknown; take one of {', '.join(SCHEMES)}")
    text = read_text(path, encoding)
    if is_json(path):
        lines = enumerate(split_lines(text), 1)
        rows = [_json_row(line, number, characters) for number, line in lines if line.strip()]
        found, odd, documents = "spans", 0, 0
    else:
        blocks = _blocks(split_lines(text))
        documents = sum(block.documents for block in blocks)
        rows, found, odd = _column_rows(path, [block for block in blocks if block.rows], token, tag, scheme)
    if not rows:
        raise ValueError(f"'{path}' has no sentence; give a file with some")
    rejects = sorted(row for row in rows if isinstance(row, Reject))
    check_rejects(path, rejects, len(rows), allow_rejects)
    sentences = [row for row in rows if isinstance(row, Sentence)]
    return Tagged(path, sentences, rejects, len(rows), found, odd, documents, digest(text.encode()))


def read_tokens(
    path: str | Path, *, token: int = 0, encoding: str = "utf-8", characters: bool = False
) -> list[Sentence | Reject]:
    """Read sentences without their tags: a file as `read_tagged` reads, or .txt with a text a line.

    A .txt file whose lines end in tags is one of columns. Of JSON and of texts every line has its place: a blank text
    is a sentence without tokens, what cannot be read a Reject; so is a sentence of columns with a line without token.

    Raises:
        ValueError: the file cannot be read, or is of columns and holds no sentence.
    """
    path = Path(path)
    lines = list(read_lines(path, encoding))
    if is_json(path):
        return [row if isinstance(row, Reject) else _json_row(row, row.line, characters) for row in lines]
    broken = {row.line: row for row in lines if isinstance(row, Reject)}
    # of two cells, so that it neither ends a sentence nor tells what stands between the others' columns
    read = ["?\t?" if isinstance(row, Reject) else row for row in lines]
    blocks = [block for block in _blocks(read) if block.rows]
    tagged = all(len(cells) > 1 and is_tag(cells[-1]) for block in blocks for _, cells in block.rows)
    if _suffix(path) == ".txt" and not (blocks and tagged):
        return [row if isinstance(row, Reject) else cut(row, characters, row.line) for row in lines]
    if not blocks:
        raise ValueError(f"'{path}' has no sentence; give a file with some")
    return [_tokens(block, token, broken) for block in blocks]


def is_json(path: Path) -> bool:
    """Tell whether a file's name says that it holds JSON lines."""
    return _suffix(path) in JSON_LINES


def _suffix(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).suffix


@dataclass
class _Block:
    """The lines between two empty ones."""

    line: int
    rows: list[tuple[int, list[str]]] = field(default_factory=list)  # line, cells
    documents: int = 0


def _blocks(lines: Sequence[str]) -> list[_Block]:
    full = [line for line in lines if line.strip(" \t")]
    tabbed = all("\t" in line for line in full)
    blocks = [_Block(1)]
    for number, line in enumerate(lines, 1):
        if not line.strip(" \t"):
            blocks.append(_Block(number + 1))
            continue
        cells = line.split("\t") if tabbed else _BLANKS.split(line.strip(" \t"))
        comment = not blocks[-1].rows and line.startswith("#") and not is_tag(cells[-1])
        if cells[0] == DOCUMENT:
            blocks[-1].documents += 1
        elif not comment:
            if not blocks[-1].rows:
                blocks[-1].line = number
            blocks[-1].rows.append((number, cells))
    return blocks


def _column_rows(
    path: Path, blocks: list[_Block], token: int, tag: int, scheme: str | None
) -> tuple[list[Sentence | Reject], str, int]:
    """Return the sentences and rejects of blocks of lines, the scheme, and how many sentences stray from it."""
    widths = Counter(len(cells) for block in blocks for _, cells in block.rows)
    width = widths.most_common(1)[0][0] if widths else 0
    if blocks:
        _check_columns(path, width, token, tag)
    kept: list[tuple[_Block, list[str]]] = []
    rows: list[Sentence | Reject] = []
    for block in blocks:
        reject = _unlike(block, width, token, tag)
        if reject is None:
            kept.append((block, [cells[tag] for _, cells in block.rows]))
        else:
            rows.append(reject)
    found = scheme or scheme_of([tags for _, tags in kept])
    odd = 0
    for block, tags in kept:
        fault = fault_of(tags, found)
        # of B- and I- alone any order reads in one way, and CoNLL-2003 itself has a B- where iob1 has I-
        readable = (
            scheme in (None, "iob1") and found in ("iob1", "iob2") and not {tag[0] for tag in tags} & set("ESMLU")
        )
        if fault is None or readable:
            odd += fault is not None
            rows.append(Sentence([cells[token] for _, cells in block.rows], spans_of(tags), block.line))
        else:
            line = block.rows[min(fault[0], len(tags) - 1)][0]
            rows.append(Reject(line, f"{fault[1]}, by the rules of {found}"))
    return rows, found, odd


def _check_columns(path: Path, width: int, token: int, tag: int) -> None:
    for name, column in (("token", token), ("tag", tag)):
        if not -width <= column < width:
            raise ValueError(f"no {name} column {column} in '{path}': most lines have {width}, from 0 to {width - 1}")
    if token % width == tag % width:
        only = "; the lines have one column: are there tags?" if width == 1 else "; they must be two"
        raise ValueError(f"'{path}': tokens and tags are both column {token % width}{only}")


def _unlike(block: _Block, width: int, token: int, tag: int) -> Reject | None:
    """Return why a sentence's lines cannot be used; None: they can."""
    for line, cells in block.rows:
        if len(cells) != width:
            return Reject(line, f"{len(cells)} column{'s' * (len(cells) > 1)} where most lines have {width}")
        if not cells[token].strip(" \t"):
            return Reject(line, "an empty token")
        if not is_tag(cells[tag]):
            return Reject(line, f"'{cells[tag][:40]}' is no tag: O, or B-, I-, E-, S-, M-, L- or U- and a label")
    return None


def _tokens(block: _Block, token: int, broken: Mapping[int, Reject]) -> Sentence | Reject:
    for line, cells in block.rows:
        if line in broken:
            return broken[line]
        if not -len(cells) <= token < len(cells) or not cells[token].strip(" \t"):
            return Reject(line, f"no token in column {token} of {len(cells)}")
    return Sentence([cells[token] for _, cells in block.rows], [], block.line)


def _json_row(line: str, number: int, characters: bool) -> Sentence | Reject:
    if not line.strip():
        return Reject(number, BLANK)
    try:
        return _sentence(json.loads(line), number, characters)
    except json.JSONDecodeError as error:
        return Reject(number, f"not JSON: {error.msg} at column {error.colno}")
    except RecursionError:
        return Reject(number, "not readable: nested too deeply")
    except ValueError as error:
        return Reject(number, str(error))


def _sentence(item: Any, line: int, characters: bool) -> Sentence:
    """Return the sentence of a JSON object.

    Raises:
        ValueError: it is not one.
    """
    if not isinstance(item, dict) or ("tokens" in item) == ("text" in item):
        raise ValueError("no object with either 'tokens' or 'text'")
    if "tokens" in item:
        tokens = item["tokens"]
        if not isinstance(tokens, list) or not all(isinstance(token, str) and token.strip() for token in tokens):
            raise ValueError("'tokens' is not a list of texts that are not empty")
        sentence = Sentence(tokens, [], line)
        starts, ends = {at: at for at in range(len(tokens))}, {at: at for at in range(1, len(tokens) + 1)}
    else:
        if not isinstance(item["text"], str):
            raise ValueError("'text' is not a text")
        sentence = cut(item["text"], characters, line)
        starts = {start: at for at, (start, _) in enumerate(sentence.places)}
        ends = {end: at + 1 for at, (_, end) in enumerate(sentence.places)}
    if not sentence.tokens:
        raise ValueError("no token in it")
    sentence.spans.extend(_spans(item.get("spans", []), starts, ends, "token" if "tokens" in item else "character"))
    return sentence


def _spans(given: Any, starts: dict[int, int], ends: dict[int, int], unit: str) -> list[Span]:
    """Return the spans, by token.

    Raises:
        ValueError: one is malformed, cuts a token, or overlaps another.
    """
    if not isinstance(given, list):
        raise ValueError("'spans' is not a list")
    spans: list[Span] = []
    for item in given:
        start, end, label = (item.get(key) if isinstance(item, dict) else None for key in ("start", "end", "label"))
        if type(start) is not int or type(end) is not int or not isinstance(label, str) or not label.strip():
            raise ValueError(f"span {json.dumps(item)[:80]} is not {{start: number, end: number, label: text}}")
        if start not in starts or end not in ends or ends[end] <= starts[start]:
            raise ValueError(f"the span {start}-{end} ('{label[:40]}') does not begin and end with tokens, by {unit}")
        spans.append(Span(starts[start], ends[end], label))
    spans.sort()
    for one, other in zip(spans, spans[1:], strict=False):
        if other.start < one.end:
            raise ValueError(f"the spans of tokens {one.start}-{one.end} and {other.start}-{other.end} overlap")
    return spans
