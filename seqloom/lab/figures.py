"""A small pencil for SVG: scales, axes, marks and labels, coloured by the page's CSS variables.

Family decides colour and shape (recurrent: rust circle, attention: blue square, hybrid: violet diamond), the model's
rank in its family the shade and fill, and the kind of a number the line (measured solid, predicted dashed,
extrapolated dotted). All text is escaped here; numbers are the only other thing that enters the markup.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from markupsafe import Markup

COLOURS = {"recurrent": "rec", "attention": "att", "hybrid": "hyb"}
DASHES = {"measured": "", "predicted": "7 4", "extrapolated": "1.5 4"}
CHARACTER = 7.6  # width of a letter at 12 px in a wide font, for placing labels


@dataclass(frozen=True)
class Scale:
    """Map values to pixels, linearly or by their logarithm."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the pixel of a value, held a little outside the axis at most."""
        low, high, at = (math.log(max(v, 1e-300)) if self.log else v for v in (self.low, self.high, value))
        share = (at - low) / (high - low) if high > low else 0.5
        return self.start + min(max(share, -0.02), 1.02) * (self.end - self.start)

    def ticks(self, most: int = 6) -> list[float]:
        """Return round values inside the scale."""
        return _log_ticks(self.low, self.high, most) if self.log else _linear_ticks(self.low, self.high, most)


def scale(values: Sequence[float], start: float, end: float, log: bool = False, margin: float = 0.08) -> Scale:
    """Return a scale that holds the values with a margin; a single value gets a decade, or a tenth, around it."""
    kept = [v for v in values if math.isfinite(v) and (v > 0 or not log)]
    low, high = (min(kept), max(kept)) if kept else (1.0, 2.0)
    if log:
        if high / low < 1.05:
            low, high = low / 2, high * 2
        grow = (high / low) ** margin
        return Scale(low / grow, high * grow, start, end, log)
    if high - low <= 1e-12 * max(abs(high), 1.0):
        room = abs(high) / 10 or 1.0
        low, high = low - room, high + room
    grow = (high - low) * margin
    return Scale(low - grow, high + grow, start, end, log)


def _linear_ticks(low: float, high: float, most: int) -> list[float]:
    raw = (high - low) / most
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9), (1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        found = [s * 10.0**d for d in decades for s in steps if low <= s * 10.0**d <= high]
        if len(found) <= most:
            break
    else:
        found = found[:: math.ceil(len(found) / most)]
    return found if len(found) >= 2 else _linear_ticks(low, high, most)


@dataclass(frozen=True)
class Style:
    """How a model looks, everywhere in the report."""

    family: str
    rank: int = 0

    @property
    def css(self) -> str:
        """Return the class that sets the colour."""
        return f"m {COLOURS.get(self.family, 'oth')} r{self.rank % 4}"

    @property
    def fill(self) -> str:
        """Return the class that sets the fill: by rank, so that models of a family differ without colour."""
        return ("full", "hollow", "half", "hollow")[self.rank % 4]


def shape(family: str, x: float, y: float, radius: float) -> str:
    """Return a family's mark with the area of a circle of this radius."""
    if family == "recurrent":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"/>'
    if family == "attention":
        half = radius * math.sqrt(math.pi) / 2
        return f'<rect x="{x - half:.1f}" y="{y - half:.1f}" width="{2 * half:.1f}" height="{2 * half:.1f}" rx="1"/>'
    if family == "hybrid":
        half = radius * math.sqrt(math.pi / 2)
        return (
            f'<path d="M{x:.1f} {y - half:.1f}L{x + half:.1f} {y:.1f}L{x:.1f} {y + half:.1f}L{x - half:.1f} {y:.1f}Z"/>'
        )
    half = radius * 1.35
    return f'<path d="M{x:.1f} {y - half:.1f}L{x + half:.1f} {y + half * 0.75:.1f}H{x - half:.1f}Z"/>'


def glyph(style: Style) -> Markup:
    """Return a model's mark for a line of text."""
    return Markup('<svg class="glyph" viewBox="0 0 14 14" aria-hidden="true"><g class="{} {}">{}</g></svg>').format(
        style.css, style.fill, Markup(shape(style.family, 7, 7, 4.6))
    )


@dataclass
class Drawing:
    """An SVG in the making: a frame for the data and a list of parts, drawn in order."""

    width: float
    height: float
    left: float = 52
    right: float = 14
    top: float = 10
    bottom: float = 40
    parts: list[str] = field(default_factory=list)
    taken: list[tuple[float, float, float, float]] = field(default_factory=list)  # boxes that labels avoid

    @property
    def x_range(self) -> tuple[float, float]:
        """Return the pixels of the left and right end of the frame."""
        return self.left, self.width - self.right

    @property
    def y_range(self) -> tuple[float, float]:
        """Return the pixels of the bottom and top of the frame: up is more."""
        return self.height - self.bottom, self.top

    def axes(
        self, x: Scale, y: Scale, x_ticks: Sequence[tuple[float, str]], y_ticks: Sequence[tuple[float, str]]
    ) -> None:
        """Draw the frame, the grid and the names of the ticks."""
        x0, x1 = self.x_range
        y0, y1 = self.y_range
        grid = "".join(f"M{x0:.1f} {y(v):.1f}H{x1:.1f}" for v, _ in y_ticks)
        self.parts.append(f'<path class="grid" d="{grid}"/><path class="axis" d="M{x0} {y1}V{y0}H{x1}"/>')
        for value, name in y_ticks:
            self.text(x0 - 7, y(value) + 4, name, anchor="end")
        for value, name in x_ticks:
            self.parts.append(f'<path class="axis" d="M{x(value):.1f} {y0}v4"/>')
            self.text(x(value), y0 + 17, name, anchor="middle")

    def text(self, x: float, y: float, words: str, anchor: str = "start", css: str = "") -> None:
        """Write words at a place; `css` must be a class of ours, never data."""
        kind = f' class="{css}"' if css else ""
        self.parts.append(f'<text{kind} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>')

    def group(self, css: str, inner: str, tip: str = "") -> None:
        """Add marks of one colour, with a tip shown on pointing."""
        self.parts.append(f'<g class="{css}">{f"<title>{escape(tip)}</title>" if tip else ""}{inner}</g>')

    def line(self, points: Sequence[tuple[float, float]], style: Style, kind: str = "measured", css: str = "") -> None:
        """Draw a line through pixels, dashed by the kind of its numbers."""
        if len(points) > 1:
            path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
            dash = f' stroke-dasharray="{DASHES[kind]}"' if DASHES.get(kind) else ""
            self.group(f"{style.css} {css}".strip(), f'<path class="line" d="{path}"{dash}/>')

    def label(self, x: float, y: float, reach: float, words: str) -> None:
        """Write words beside a mark where they hide least: right, left, above or below of it."""
        wide = len(words) * CHARACTER * 1.15  # names beside marks are bold
        tries = [
            (x + reach + 5, y + 4, "start", x + reach + 5),
            (x - reach - 5, y + 4, "end", x - reach - 5 - wide),
            (x, y - reach - 7, "middle", x - wide / 2),
            (x, y + reach + 15, "middle", x - wide / 2),
            (x + reach * 0.7 + 5, y - reach * 0.7 - 6, "start", x + reach * 0.7 + 5),
            (x + reach * 0.7 + 5, y + reach * 0.7 + 13, "start", x + reach * 0.7 + 5),
            (x - reach * 0.7 - 5, y - reach * 0.7 - 6, "end", x - reach * 0.7 - 5 - wide),
            (x - reach * 0.7 - 5, y + reach * 0.7 + 13, "end", x - reach * 0.7 - 5 - wide),
        ]
        costs = [
            (self._hidden((left, base - 11, left + wide, base + 3)), n) for n, (_, base, _, left) in enumerate(tries)
        ]
        at_x, base, anchor, left = tries[min(costs)[1]]
        self.taken.append((left, base - 11, left + wide, base + 3))
        self.text(at_x, base, words, anchor, "lab halo")

    def _hidden(self, box: tuple[float, float, float, float]) -> float:
        left, top, right, bottom = box
        outside = max(0.0, self.left + 4 - left) + max(0.0, right - self.width + 2) + max(0.0, self.top - top)
        outside += max(0.0, bottom - (self.height - self.bottom))
        over = sum(
            max(0.0, min(right, r) - max(left, l)) * max(0.0, min(bottom, b) - max(top, t)) for l, t, r, b in self.taken
        )
        return outside * 40 + over

    def svg(self, name: str, title: str, description: str) -> Markup:
        """Return the finished picture; `name` must be unique on the page and ours, never data."""
        return Markup(
            f'<svg viewBox="0 0 {self.width:.0f} {self.height:.0f}" role="img" aria-labelledby="{name}-t {name}-d">'
            f'<title id="{name}-t">{escape(title)}</title><desc id="{name}-d">{escape(description)}</desc>'
            + "".join(self.parts)
            + "</svg>"
        )


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return places as near as can be to the wanted ones, in their order, at least a gap apart."""
    order = sorted(range(len(wanted)), key=lambda n: wanted[n])
    placed = [0.0] * len(wanted)
    floor = low
    for n in order:
        placed[n] = max(wanted[n], floor)
        floor = placed[n] + gap
    ceiling = high
    for n in reversed(order):
        placed[n] = min(placed[n], ceiling)
        ceiling = placed[n] - gap
    return placed
