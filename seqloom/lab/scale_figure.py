"""The picture of a scaling: each model's speed-up under each plan, with prediction, ceiling and ideal beside it."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from seqloom.lab import words
from seqloom.lab.figures import CHARACTER, Drawing, Scale, Style, shape
from seqloom.lab.report_figures import Figure, Table

_ROW, _TALL = 26, 46  # pixels of a case; of one whose name stands above its bar
_COLOURS = {"rec": "#b84e22", "att": "#2b62c2", "hyb": "#6b4ba8", "oth": "#5d636d"}
_ALONE = (  # for a file of its own, which no page's style reaches
    "text{font:12px system-ui,sans-serif;fill:#1d1f23}.grid{stroke:#e4e1d8;fill:none}.axis{stroke:#b9b5a9;fill:none}"
    + "".join(f".{name}.full>*{{fill:{colour}}}" for name, colour in _COLOURS.items())
    + "".join(f".{n}.hollow>*{{fill:#fff;stroke:{colour};stroke-width:1.8}}" for n, colour in _COLOURS.items())
)
LEGEND = "bar: measured; hollow mark: predicted; stroke: as independent processes; dotted: one process, and the ideal"


def marks(ink: str = "var(--ink)", soft: str = "var(--soft)", card: str = "var(--card)") -> str:
    """Return the style of what stands beside the bars, in colours of a page or of a file of its own."""
    return (
        f"svg .error{{stroke:{ink};fill:none}}svg .ceiling{{stroke:{ink};stroke-width:2.5;fill:none}}"
        f"svg .one{{stroke:{soft};stroke-dasharray:2 3;fill:none}}"
        f"svg .over{{paint-order:stroke;stroke:{card};stroke-width:3px;stroke-linejoin:round}}"
    )


def figure(cases: Sequence[dict[str, Any]]) -> str:
    """Return an SVG file of measured cases, as `by_case` gives them: bars with intervals, and marks beside them.

    Raises:
        ValueError: no case was measured.
    """
    opening = '<svg xmlns="http://www.w3.org/2000/svg" '
    return str(_drawn(_measured(cases), "scale", alone=True)).replace("<svg ", opening, 1) + "\n"


def shown(cases: Sequence[dict[str, Any]], table: Table) -> Figure:
    """Return the picture for a page, for wide and for narrow screens.

    Raises:
        ValueError: no case was measured.
    """
    rows = _measured(cases)
    caption = f"Times as fast as one process. {LEGEND[0].upper()}{LEGEND[1:]}."
    title = "Speed-up under plans"
    return Figure(title, caption, _drawn(rows, "scale"), table, _drawn(rows, "scale-narrow", narrow=True))


def _measured(cases: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = [case for case in cases if "speedup" in case]
    if not rows:
        raise ValueError("no plan was measured, so there is nothing to draw")
    return rows


def _drawn(rows: Sequence[dict[str, Any]], name: str, narrow: bool = False, alone: bool = False) -> Markup:
    processes = int(rows[0]["processes"])
    names = [f"{words.title(case['model'])}, {case['plan']}" for case in rows]
    high = _TALL if narrow else _ROW
    left = 14 if narrow else min(max(map(len, names)) * CHARACTER + 12, 380)
    d = Drawing(
        340 if narrow else left + 560, 40 + high * len(rows) + 40 * alone, left=left, right=54, top=10,
        bottom=30 + 40 * alone,
    )  # fmt: skip
    if alone:
        style = _ALONE + marks("#1d1f23", "#5d636d", "#fff")
        d.parts.append(f'<style>{style}</style><rect width="100%" height="100%" fill="#fff"/>')
    most = max(max(case["speedup_interval"][1], case["ceiling"], case.get("predicted_speedup", 0)) for case in rows)
    x = Scale(0.0, max(processes, most) * 1.02, *d.x_range)
    whole = int(x.high)
    marked = range(0, whole + 1, max(1, whole // 8))
    d.axes(x, Scale(0.0, 1.0, *d.y_range), [(n, f"{n}") for n in marked], [])
    bottom = d.height - d.bottom
    d.group("one", f'<path d="M{x(1):.1f} {d.top}V{bottom}"/>', "one process")
    d.group("one", f'<path d="M{x(processes):.1f} {d.top}V{bottom}"/>', f"ideal: {processes}")
    for number, (told, case) in enumerate(zip(names, rows, strict=True)):
        at = d.top + high * number + 4
        if narrow:
            d.text(d.left + 3, at + 12, told, css="lab over")
            at += 18
        else:
            d.text(d.left - 8, at + 14, told, anchor="end", css="lab")
        _case(d, x, at, case, told)
    if alone:
        d.text(14, d.height - 24, "times as fast as one process", css="soft")
        d.text(14, d.height - 8, LEGEND, css="soft")
    return d.svg(name, "Speed-up under plans", f"{LEGEND} ({processes})")


def _case(d: Drawing, x: Scale, at: float, case: dict[str, Any], told: str) -> None:
    """Draw the bar of a case, 18 pixels high, and what stands beside it."""
    style = Style(str(case["family"]))
    said = f"{case['speedup']:.2f}"
    bar = f'<rect x="{d.left}" y="{at}" width="{x(case["speedup"]) - d.left:.1f}" height="18"/>'
    d.group(f"{style.css} full", bar, f"{told}: {said} times as fast")
    low, up = (x(end) for end in case["speedup_interval"])
    d.group("error", f'<path d="M{low:.1f} {at + 9}H{up:.1f}M{low:.1f} {at + 6}v6M{up:.1f} {at + 6}v6"/>')
    ceiling = x(case["ceiling"])
    d.group("ceiling", f'<path d="M{ceiling:.1f} {at - 2}v22"/>', f"ceiling: {case['ceiling']:.2f}")
    if "predicted_speedup" in case:
        predicted = x(case["predicted_speedup"])
        mark = shape(style.family, predicted, at + 9, 4.6)
        d.group(f"{style.css} hollow", mark, f"predicted: {case['predicted_speedup']:.2f}")
    d.text(d.x_range[1] + 18, at + 14, said, css="lab")
