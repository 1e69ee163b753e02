"""Sentences: tokens and the entities among them; how text is cut into tokens, and put together again."""

import functools
import re
from dataclasses import dataclass, field
from unicodedata import category

from seqloom.data.schemes import Span

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"


@dataclass(frozen=True)
class Sentence:
    """Tokens, and the entities among them."""

    tokens: list[str]
    spans: list[Span] = field(default_factory=list)
    line: int = 0  # where it begins, from 1
    text: str | None = None  # that the tokens were cut from, if they were
    places: list[tuple[int, int]] = field(default_factory=list)  # of the tokens in that text


def cut(text: str, characters: bool = False, line: int = 0) -> Sentence:
    """Cut a text into tokens: words, marks, and each Chinese or Japanese character; or into characters, but blanks."""
    found = re.finditer(r"\S", text) if characters else _token().finditer(text)
    places = [match.span() for match in found]
    return Sentence([text[start:end] for start, end in places], [], line, text, places)


@functools.cache
def _token() -> re.Pattern[str]:
    """Return what a token is: a Chinese or Japanese character, letters with points as U.N., a word, or a mark.

    Words are letters and digits of any script with the signs that are written on them, and few marks inside.
    """
    signs = "".join(map(chr, filter(lambda code: category(chr(code))[0] == "M", range(0x300, 0x10000))))
    word = rf"(?:[^\W_{_CJK}]|[{signs}\u200c\u200d])+"
    return re.compile(rf"[{_CJK}]|(?:[A-Za-z]\.){{2,}}|{word}(?:[-.,'’/&:@_]{word})*|[^\w\s]|_")


def joined(tokens: list[str]) -> str:
    """Return tokens as text: a blank between two unless one of them is Chinese or Japanese."""
    text = ""
    for token in tokens:
        apart = text and not re.match(f"[{_CJK}]", token) and not re.search(f"[{_CJK}]$", text)
        text += f" {token}" if apart else token
    return text
