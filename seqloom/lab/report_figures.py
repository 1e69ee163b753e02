"""The report's pictures: a `Figure` is a drawing and the table of its numbers; lines over time, length or lag."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from markupsafe import Markup

from seqloom.lab import words
from seqloom.lab.figures import CHARACTER, DASHES, Drawing, Scale, Style, scale, shape, spread

MOST_POINTS, LEAST_POINTS, FIGURE_POINTS = 160, 6, 5000  # of a line, and of all lines of a figure: the file is small


@dataclass(frozen=True)
class Table:
    """Rows of words under a head; `marks`: the style of the model a row speaks of, `groups`: the heading over it."""

    head: list[str]
    rows: list[list[str]]
    marks: list[Style | None] = field(default_factory=list)
    note: str = ""
    groups: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Figure:
    """A picture with its words and the table behind it; `narrow` is drawn for small screens where it differs."""

    title: str
    caption: str
    wide: Markup
    table: Table
    narrow: Markup | None = None


@dataclass(frozen=True)
class Point:
    """A number on a line, with its interval and kind."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    kind: str = "measured"


@dataclass(frozen=True)
class Line:
    """A model's numbers in order of x; several lines may belong to one model (its seeds)."""

    name: str
    style: Style
    points: Sequence[Point]
    faint: bool = False


@dataclass(frozen=True)
class Band:
    """A crossing: a value on the x axis with its interval."""

    at: float
    low: float | None
    high: float | None
    words: str
    kind: str = "measured"


@dataclass(frozen=True)
class Axis:
    """What an axis shows, and how its ticks read."""

    name: str
    read: Callable[[float], str]
    log: bool = False
    marks: Sequence[float] = ()  # fixed ticks


def bare(text: str) -> str:
    """Return a round number without its zero: 5.0 s is 5 s on an axis."""
    return text.replace(".0 ", " ")


def lines(
    name: str,
    title: str,
    caption: str,
    x: Axis,
    y: Axis,
    drawn: Sequence[Line],
    table: Table,
    bands: Sequence[Band] = (),
) -> Figure:
    """Draw lines over an axis with their names at the right end and crossings as upright bands."""
    d = Drawing(
        360,
        272,
        left=50,
        right=14 + max((min(len(line.name), 14) * CHARACTER for line in drawn), default=0),
        top=16,
        bottom=44,
    )
    points = [p for line in drawn for p in line.points]
    if not points:
        d.text(d.width / 2, d.height / 2, "not measured in this run", anchor="middle")
        return Figure(title, caption, d.svg(name, title, "No numbers."), table)
    sx = scale([p.x for p in points], *d.x_range, log=x.log, margin=0.02)
    sy = scale([v for p in points for v in (p.y, p.low, p.high) if v is not None], *d.y_range, log=y.log, margin=0.06)
    marks = [v for v in x.marks if sx.low <= v <= sx.high] or sx.ticks(4)
    marks = marks[:: math.ceil(len(marks) / 5)]
    d.axes(sx, sy, [(v, bare(x.read(v))) for v in marks], [(v, bare(y.read(v))) for v in sy.ticks(5)])
    d.text(d.x_range[1], d.height - 8, x.name, anchor="end")
    for band in bands:
        _band(d, band, sx)
    most = max(LEAST_POINTS, min(MOST_POINTS, FIGURE_POINTS // len(drawn)))
    for line in drawn:
        _line(d, line, thin(line.points, most), sx, sy)
    _names(d, drawn, sy)
    told = f"{y.name} over {x.name} for {words.listing(list(dict.fromkeys(line.name for line in drawn)))}."
    told += "".join(f" {band.words}." for band in bands)
    return Figure(title, caption, d.svg(name, title, told), table)


def _band(d: Drawing, band: Band, x: Scale) -> None:
    bottom, top = d.y_range
    if band.low is not None or band.high is not None:  # an interval open to one side reaches the frame
        low = d.x_range[0] if band.low is None else x(band.low)
        high = d.x_range[1] if band.high is None else x(band.high)
        size = f'width="{max(high - low, 1):.1f}" height="{bottom - top}"'
        d.parts.append(f'<rect class="band" x="{low:.1f}" y="{top}" {size}/>')
    dash = f' stroke-dasharray="{DASHES[band.kind]}"' if DASHES.get(band.kind) else ""
    d.parts.append(f'<path class="cross" d="M{x(band.at):.1f} {bottom}V{top}"{dash}/>')
    d.text(x(band.at), top - 5, band.words, anchor="middle", css="lab")


def _line(d: Drawing, line: Line, kept: Sequence[Point], x: Scale, y: Scale) -> None:
    at = [(x(p.x), y(p.y)) for p in kept]
    css = "faint" if line.faint else ""
    start = 0
    for n, (one, two) in enumerate(pairwise(kept)):  # a stretch is as sure as its less sure end
        last = n == len(kept) - 2
        kind = _less_sure(one.kind, two.kind)
        if last or _less_sure(two.kind, kept[n + 2].kind) != kind:
            d.line(at[start : n + 2], line.style, kind, css)
            start = n + 1
    bars = "".join(
        f"M{px:.1f} {y(p.low):.1f}V{y(p.high):.1f}"
        for p, (px, _) in zip(kept, at, strict=True)
        if p.low is not None and p.high is not None
    )
    marked = [] if line.faint else at if len(at) <= 12 else at[:: -(-len(at) // 5)]
    dots = "".join(shape(line.style.family, px, py, 3.4) for px, py in marked)
    if bars or dots:
        d.group(line.style.css, f'<path class="bar" d="{bars}"/><g class="{line.style.fill}">{dots}</g>', line.name)


def _less_sure(one: str, two: str) -> str:
    order = ("measured", "predicted", "extrapolated")
    return max(one, two, key=lambda kind: order.index(kind) if kind in order else 0)


def _names(d: Drawing, drawn: Sequence[Line], y: Scale) -> None:
    last = {line.name: line for line in drawn if line.points and not line.faint}
    if not last:
        last = {line.name: line for line in drawn if line.points}
    wanted = [y(line.points[-1].y) for line in last.values()]
    for (name, line), at, end in zip(
        last.items(), spread(wanted, 14, d.top + 4, d.height - d.bottom), wanted, strict=True
    ):
        start = d.x_range[1] + 2
        if abs(at - end) > 3:
            d.group(
                f"{line.style.css} faint",
                f'<path class="line" d="M{start - 2:.1f} {end:.1f}L{start + 4:.1f} {at:.1f}"/>',
            )
        d.text(start + 5, at + 4, name, css="lab")


def thin(points: Sequence[Point], most: int) -> list[Point]:
    """Return at most this many of the points, evenly taken, the first and last among them."""
    if len(points) <= most:
        return list(points)
    step = (len(points) - 1) / (most - 1)
    return [points[round(n * step)] for n in range(most)]
