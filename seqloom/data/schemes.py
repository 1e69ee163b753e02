"""Tag schemes: entities as tags of their tokens, read and written in any of the usual ways.

One sentence in five schemes; U.N. and Iraq are entities of their own, Saddam Hussein is one of two tokens:

            U.N.   Iraq   Saddam Hussein said
    iob1    I-ORG  I-LOC  I-PER  I-PER   O      B- only just behind an entity, of the same label
    iob2    B-ORG  B-LOC  B-PER  I-PER   O      B- at each entity's first token
    bioes   S-ORG  S-LOC  B-PER  E-PER   O      E- at its last token, S- if it has but one
    bmes    S-ORG  S-LOC  B-PER  E-PER   O      as bioes, with M- for I-
    bilou   U-ORG  U-LOC  B-PER  L-PER   O      as bioes, with L- for E- and U- for S-

Sources: Ramshaw and Marcus 1995; Tjong Kim Sang and Veenstra 1999; Ratinov and Roth 2009.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

OUTSIDE = "O"
SCHEMES = ("iob1", "iob2", "bioes", "bmes", "bilou")
BARE = "_"  # the label of tags that name none, as B M E S of word segmentation

_AS_BIOES = {"M": "I", "L": "E", "U": "S"}
_WRITTEN = {"bmes": {"I": "M"}, "bilou": {"E": "L", "S": "U"}}


class Span(NamedTuple):
    """An entity: tokens from `start` up to, not including, `end`."""

    start: int
    end: int
    label: str


def is_tag(text: str) -> bool:
    """Tell whether a text is a tag of one of the schemes."""
    return text == OUTSIDE or (text[:1] in tuple("BIESMLU") and (len(text) == 1 or (text[1] in "-_" and len(text) > 2)))


def parts_of(tag: str) -> tuple[str, str]:
    """Return (part, label) of a tag: the part one of O, B, I, E, S; the label of O is empty."""
    if tag == OUTSIDE:
        return OUTSIDE, ""
    return _AS_BIOES.get(tag[0], tag[0]), tag[2:] or BARE


def spans_of(tags: Sequence[str]) -> list[Span]:
    """Return the entities of one sentence's tags of any scheme, well formed or not, in order.

    They are those that the CoNLL-2000 script conlleval finds, and seqeval unless it is told to be strict: an entity
    begins at B, S, or where no entity of the label goes on, and ends where it cannot go on.
    """
    spans: list[Span] = []
    start, open_label, before = 0, "", OUTSIDE
    for at, tag in enumerate([*tags, OUTSIDE]):
        part, label = parts_of(tag)
        goes_on = part in "IE" and before in "BI" and label == open_label
        if not goes_on:
            if open_label:
                spans.append(Span(start, at, open_label))
            start, open_label = at, label
        before = part
    return spans


def tags_of(spans: Iterable[Span], length: int, scheme: str = "bioes") -> list[str]:
    """Return the tags of a sentence's entities, which do not overlap.

    Raises:
        ValueError: unknown scheme.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"scheme '{scheme}' is unknown; take one of {', '.join(SCHEMES)}")
    tags = [OUTSIDE] * length
    last: Span | None = None
    for span in sorted(spans):
        touches = last is not None and last.end == span.start and last.label == span.label
        inside = span.end - span.start - 1
        if scheme == "iob1":
            parts = ["B" if touches else "I", *"I" * inside]
        elif scheme == "iob2":
            parts = ["B", *"I" * inside]
        else:
            parts = ["B", *"I" * (inside - 1), "E"] if inside else ["S"]
        letters = _WRITTEN.get(scheme, {})
        tags[span.start : span.end] = [f"{letters.get(part, part)}-{span.label}" for part in parts]
        last = span
    return tags


def fault_of(tags: Sequence[str], scheme: str) -> tuple[int, str] | None:
    """Return the first token whose tag breaks a scheme, and why; None: the tags are well formed."""
    before, open_label = OUTSIDE, ""
    for at, tag in enumerate([*tags, OUTSIDE]):
        part, label = parts_of(tag)
        inside = before in "BI"
        if scheme in ("iob1", "iob2"):
            if part in "ES":
                return at, f"'{tag}' is no tag of {scheme}"
            if scheme == "iob2" and part == "I" and not (inside and label == open_label):
                return at, f"'{tag}' goes on with an entity that no B-{label} began"
            if scheme == "iob1" and part == "B" and not inside:
                return at, f"'{tag}' begins an entity behind none, which iob1 begins with I-{label}"
        elif part in "IE" and not (inside and label == open_label):
            return at, f"'{tag}' goes on with an entity that no B-{label} began"
        elif part not in "IE" and inside:
            return at - 1, f"'{tags[at - 1]}' leaves an entity open"
        before, open_label = part, label
    return None


def scheme_of(sentences: Sequence[Sequence[str]]) -> str:
    """Return the scheme of sentences' tags: told by their letters, and of iob1 and iob2 that which fewer break."""
    letters = {tag[0] for tags in sentences for tag in tags if tag != OUTSIDE}
    if "M" in letters:
        return "bmes"
    if letters & set("LU"):
        return "bilou"
    if letters & set("ES"):
        return "bioes"
    broken = {scheme: sum(fault_of(tags, scheme) is not None for tags in sentences) for scheme in ("iob2", "iob1")}
    return min(broken, key=lambda scheme: broken[scheme])
