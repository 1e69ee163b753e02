"""The report's pictures: the frontier of quality against time, and lines over time, length or lag.

Each returns a `Figure`: the drawing in one or two widths, and the table of the same numbers.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from markupsafe import Markup

from seqloom.lab import wording, words
from seqloom.lab.evidence import Entry, Estimate
from seqloom.lab.figures import CHARACTER, DASHES, Drawing, Scale, Style, scale, shape, spread
from seqloom.lab.verdict import TaskVerdict

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


FRONTIER_CAPTION = (
    "Up and left is better. Area: peak memory. Bars: 95 % interval, of time the range over seeds. Stepped line: the "
    "frontier; nothing beats the models on it."
)


def frontier(task: TaskVerdict, styles: Mapping[str, Style], name: str) -> Figure:
    """Draw quality against time to quality: area is memory, bars are intervals, the line is the frontier."""
    shown = [e for e in task.entries if e.quality and e.time_s]
    metric = words.metric(task.metric)
    title = f"{words.sentence(metric)} against the time it takes to reach it"
    left_out = [f"{e.title} ({e.missing or 'no time was measured'})" for e in task.entries if e not in shown]
    caption = FRONTIER_CAPTION + (f" Not drawn: {'; '.join(left_out)}." if left_out else "")
    on = words.listing([words.title(model) for model in task.frontier]) or "none"
    told = f"{task.title}: {len(shown)} models; on the frontier: {on}. The table below holds the numbers."
    head = ["model", "family", metric, "time to quality", "range", "peak memory", "frontier"]
    table = Table(head, [_frontier_row(e, task) for e in task.entries], [styles.get(e.model) for e in task.entries])
    wide, narrow = (
        _frontier(task, shown, styles, Drawing(width, height, bottom=42)).svg(f"{name}-{width}", title, told)
        for width, height in ((660, 280), (360, 330))
    )
    return Figure(title, caption, wide, table, narrow)


def _frontier_row(e: Entry, task: TaskVerdict) -> list[str]:
    return [
        e.title,
        e.family,
        wording.score(e),
        words.seconds(e.time_s.value) if e.time_s else "not measured",
        words.seconds_span(e.time_s.low, e.time_s.high) if e.time_s else "",
        words.size(e.peak_bytes.value) if e.peak_bytes else "not measured",
        "yes" if e.model in task.frontier else "no",
    ]


def _frontier(task: TaskVerdict, shown: list[Entry], styles: Mapping[str, Style], d: Drawing) -> Drawing:
    if not shown:
        d.text(d.width / 2, d.height / 2, "no model has both a score and a time", anchor="middle")
        return d
    scores = [v for e in shown for v in _ends(e.quality)]
    x = scale([v for e in shown for v in _ends(e.time_s)], *d.x_range, log=True, margin=0.14)
    up = d.y_range if task.better == "higher" else (d.top, d.height - d.bottom)
    y = scale(scores + _floor_in_sight(task, scores), *up, margin=0.12)
    d.axes(x, y, [(v, _bare(words.seconds(v))) for v in x.ticks(6)], [(v, _tick(v, y)) for v in y.ticks(5)])
    d.text(d.x_range[1], d.height - 6, "time to within 1 % of its own best (log scale)", anchor="end")
    if task.floor is not None and y.low <= task.floor <= y.high:
        d.parts.append(f'<path class="floor" d="M{d.left} {y(task.floor):.1f}H{d.x_range[1]}"/>')
        d.text(d.x_range[1], y(task.floor) - 5, f"floor {words.number(task.floor)}", anchor="end")
    _stairs(d, [e for m in task.frontier for e in shown if e.model == m], x, y)
    most = max((e.peak_bytes.value for e in shown if e.peak_bytes), default=1.0)
    heavy_first = sorted(shown, key=lambda e: -(e.peak_bytes.value if e.peak_bytes else 0))
    reach = [_bubble(d, entry, styles[entry.model], x, y, most) for entry in heavy_first]
    for entry, (at_x, at_y, radius) in zip(heavy_first, reach, strict=True):
        d.label(at_x, at_y, radius, entry.title)
    return d


def _bubble(d: Drawing, entry: Entry, style: Style, x: Scale, y: Scale, most: float) -> tuple[float, float, float]:
    """Draw one model, keep labels away from it, and return its place and radius."""
    assert entry.quality is not None and entry.time_s is not None
    memory = entry.peak_bytes.value if entry.peak_bytes else 0.0
    radius = max(5.0, 21 * math.sqrt(memory / most))
    at_x, at_y = x(entry.time_s.value), y(entry.quality.value)
    left, right = sorted((x(_ends(entry.time_s)[-2]), x(_ends(entry.time_s)[-1])))
    top, bottom = sorted((y(_ends(entry.quality)[-2]), y(_ends(entry.quality)[-1])))
    bars = f"M{left:.1f} {at_y:.1f}H{right:.1f}M{at_x:.1f} {top:.1f}V{bottom:.1f}"
    d.taken += [
        (at_x - radius, at_y - radius, at_x + radius, at_y + radius),
        (left, at_y - 3, right, at_y + 3),
        (at_x - 3, top, at_x + 3, bottom),
    ]
    weight = words.size(memory) if memory else "memory not measured"
    tip = f"{entry.title}: {wording.score(entry)}, {words.seconds(entry.time_s.value)}, {weight}"
    mark = f'<g class="bubble">{shape(entry.family, at_x, at_y, radius)}</g><path class="bar" d="{bars}"/>'
    d.group(style.css, mark, tip)
    return at_x, at_y, radius


def _stairs(d: Drawing, on: list[Entry], x: Scale, y: Scale) -> None:
    """Draw the frontier: as time goes on, the best score that some model has reached."""
    points = [(x(e.time_s.value), y(e.quality.value)) for e in on if e.time_s and e.quality]
    if not points:
        return
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    path += "".join(f"H{at_x:.1f}V{at_y:.1f}" for at_x, at_y in points[1:]) + f"H{d.x_range[1]:.1f}"
    d.parts.append(f'<path class="frontier" d="{path}"/>')
    ends = [*points[1:], (d.x_range[1], points[-1][1])]
    for (at_x, at_y), (next_x, next_y) in zip(points, ends, strict=True):
        d.taken += [(at_x, at_y - 3, next_x, at_y + 3), (next_x - 3, min(at_y, next_y), next_x + 3, max(at_y, next_y))]


def _floor_in_sight(task: TaskVerdict, scores: list[float]) -> list[float]:
    """Return the floor where drawing it would leave the models at least a third of the height."""
    if task.floor is None:
        return []
    low, high = min(scores), max(scores)
    whole = max(high, task.floor) - min(low, task.floor)
    return [task.floor] if whole <= 3 * max(high - low, 1e-9) else []


def _ends(estimate: Estimate | None) -> list[float]:
    """Return value, low and high; the value alone, twice, where there is no interval."""
    assert estimate is not None
    if estimate.low is None or estimate.high is None:
        return [estimate.value, estimate.value]
    return [estimate.value, estimate.low, estimate.high]


def _bare(text: str) -> str:
    """Return a round number without its zero: 5.0 s is 5 s on an axis."""
    return text.replace(".0 ", " ")


def _tick(value: float, axis: Scale) -> str:
    step = (axis.high - axis.low) / 5
    digits = max(0, min(4, -math.floor(math.log10(step)))) if step > 0 else 2
    return words.number(value, digits) if value else "0"


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
    d.axes(sx, sy, [(v, _bare(x.read(v))) for v in marks], [(v, _bare(y.read(v))) for v in sy.ticks(5)])
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
