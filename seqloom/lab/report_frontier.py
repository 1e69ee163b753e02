"""The report's first picture: quality against the time to reach it, memory as area, the frontier drawn."""

import math
from collections.abc import Mapping

from seqloom.lab import wording, words
from seqloom.lab.evidence import Entry, Estimate
from seqloom.lab.figures import Drawing, Scale, Style, scale, shape
from seqloom.lab.report_figures import Figure, Table, bare
from seqloom.lab.verdict import TaskVerdict

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
    d.axes(x, y, [(v, bare(words.seconds(v))) for v in x.ticks(6)], [(v, _tick(v, y)) for v in y.ticks(5)])
    d.text(d.x_range[1], d.height - 6, "time to within 1 % of its own best (log scale)", anchor="end")
    if task.floor is not None and y.low <= task.floor <= y.high:
        d.parts.append(f'<path class="floor" d="M{d.left} {y(task.floor):.1f}H{d.x_range[1]}"/>')
        d.text(d.x_range[1], y(task.floor) - 5, f"floor {words.scored(task.metric, task.floor)}", anchor="end")
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


def _tick(value: float, axis: Scale) -> str:
    step = (axis.high - axis.low) / 5
    digits = max(0, min(4, -math.floor(math.log10(step)))) if step > 0 else 2
    return words.number(value, digits) if value else "0"
