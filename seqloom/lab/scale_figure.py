"""The picture of a scaling: each model's speed-up under each plan, with the ceiling and the ideal beside it."""

from collections.abc import Sequence
from typing import Any

from seqloom.lab.figures import Drawing, Scale, Style

_ROW = 26
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#1d1f23}.grid{stroke:#e4e1d8;fill:none}.axis{stroke:#b9b5a9;fill:none}"
    ".rec{fill:#b84e22}.att{fill:#2b62c2}.hyb{fill:#6b4ba8}.oth{fill:#5d636d}.soft{fill:#5d636d}"
    ".error{stroke:#1d1f23;fill:none}.ceiling{stroke:#1d1f23;stroke-width:2.5;fill:none}"
    ".one{stroke:#1d1f23;stroke-dasharray:4 3;fill:none}"
)


def figure(cases: Sequence[dict[str, Any]]) -> str:
    """Return an SVG of measured cases, as `by_case` gives them: bars with intervals, and a mark at each ceiling.

    Raises:
        ValueError: no case was measured.
    """
    rows = [case for case in cases if "speedup" in case]
    if not rows:
        raise ValueError("no plan was measured, so there is nothing to draw")
    processes = int(rows[0]["processes"])
    d = Drawing(680, 66 + _ROW * len(rows), left=250, right=56, top=12, bottom=46)
    d.parts.append(f'<style>{_STYLE}</style><rect width="100%" height="100%" fill="#fff"/>')
    highest = max(processes, *(max(case["speedup_interval"][1], case["ceiling"]) for case in rows))
    x = Scale(0.0, min(highest, 2.0 * processes) * 1.02, *d.x_range)
    d.axes(x, Scale(0.0, 1.0, *d.y_range), [(n, f"{n}") for n in range(processes + 1)], [])
    for number, case in enumerate(rows):
        at = d.top + _ROW * number + 4
        high = _ROW - 8
        told = f"{case['model']}, {case['plan']}"
        d.text(d.left - 8, at + high - 4, told, anchor="end")
        wide = x(case["speedup"]) - d.left
        bar = f'<rect x="{d.left}" y="{at}" width="{wide:.1f}" height="{high}"/>'
        d.group(Style(str(case["family"])).css, bar, f"{told}: {case['speedup']:.2f} times as fast")
        low, up = (x(end) for end in case["speedup_interval"])
        d.group("error", f'<path d="M{low:.1f} {at + high / 2}H{up:.1f}"/>')
        ceiling = x(case["ceiling"])
        d.group("ceiling", f'<path d="M{ceiling:.1f} {at - 2}v{high + 4}"/>', f"ceiling: {case['ceiling']:.2f}")
        d.text(max(up, ceiling) + 6, at + high - 4, f"{case['speedup']:.2f}")
    bottom = d.height - d.bottom
    d.group("one", f'<path d="M{x(1):.1f} {d.top}V{bottom}M{x(processes):.1f} {d.top}V{bottom}"/>')
    label = f"times as fast as one process; mark: as {processes} independent processes; dashed: 1 and {processes}"
    d.text(24, d.height - 8, label, css="soft")
    opening = '<svg xmlns="http://www.w3.org/2000/svg" '
    return str(d.svg("scale", "Speed-up under plans", label)).replace("<svg ", opening, 1) + "\n"
