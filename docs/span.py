"""Write span_table.md and span.svg: work, span and parallelism of each family over length, from the models' own costs.

python docs/span.py
"""

from pathlib import Path
from typing import NamedTuple

import torch

from seqloom.core.spec import resolve
from seqloom.lab.figures import Drawing, Scale, Style
from seqloom.lab.scale import suited
from seqloom.parallel.plan import Plan
from seqloom.zoo.architecture import Architecture

HERE = Path(__file__).parent
FAMILIES = ("elman", "lstm", "gru", "mingru", "mamba2", "griffin", "hybrid", "transformer")
LENGTHS = [2**k for k in range(6, 17)]
SHOWN = (256, 4096, 65536)
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#1d1f23}.grid{stroke:#e4e1d8;fill:none}.axis{stroke:#b9b5a9;fill:none}"
    ".line{fill:none;stroke-width:2}.rec{stroke:#b84e22}.att{stroke:#2b62c2}.hyb{stroke:#6b4ba8}.oth{stroke:#5d636d}"
)


class Row(NamedTuple):
    model: str
    family: str
    width: int
    length: int
    work: float  # FLOPs of a token, forward
    span: int  # products or levels of a scan that wait for each other
    parallelism: float  # FLOPs that can be done at once: work of all tokens / span
    state: int  # bytes that decoding carries from token to token


def rows(lengths: list[int] | tuple[int, ...]) -> list[Row]:
    found = []
    for name in FAMILIES:
        spec, _ = suited(resolve(Architecture, {"name": name, "layers": 2}), Plan(), 1_000_000, 256)
        with torch.device("meta"):
            model = spec.build(0)
        family = resolve(Architecture, name).family
        for length in lengths:
            cost = model.cost(1, length)
            at_once = cost.flops / cost.depth
            found.append(
                Row(name, family, spec.width, length, cost.flops / length, cost.depth, at_once, cost.state_bytes)
            )
    return found


def page() -> str:
    lines = [
        "| model | width | T | work, MFLOP a token | span | parallelism, MFLOP at once | state, KiB |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows(SHOWN):
        figures = (
            row.model, str(row.width), f"{row.length:,}", f"{row.work / 1e6:.1f}", f"{row.span:,}",
            f"{row.parallelism / 1e6:,.0f}", f"{row.state / 1024:,.1f}",
        )  # fmt: skip
        lines.append("| " + " | ".join(figures) + " |")
    return "<!-- written by docs/span.py -->\n\n" + "\n".join(lines) + "\n"


def picture() -> str:
    points = rows(LENGTHS)
    d = Drawing(680, 380, left=58, right=90, top=14, bottom=52)
    d.parts.append(f'<style>{STYLE}</style><rect width="100%" height="100%" fill="#fff"/>')
    x = Scale(LENGTHS[0], LENGTHS[-1], *d.x_range, log=True)
    y = Scale(3e5, max(row.parallelism for row in points) * 1.3, *d.y_range, log=True)
    d.axes(
        x, y, [(n, f"{n:,}") for n in LENGTHS[::2]],
        [(10.0**k, f"{10.0 ** (k % 3):.0f} {'MG'[k // 3 - 2]}") for k in range(6, 12)],
    )  # fmt: skip
    ends = {row.model: y(row.parallelism) for row in points if row.length == LENGTHS[-1]}
    placed: list[float] = []
    for model in sorted(ends, key=lambda name: ends[name]):
        mine = [row for row in points if row.model == model]
        d.line([(x(row.length), y(row.parallelism)) for row in mine], Style(mine[0].family))
        at = max([ends[model], *(place + 14 for place in placed[-1:])])
        placed.append(at)
        d.text(d.width - d.right + 6, at + 4, model)
    d.text(d.left, d.height - 8, "tokens; up: matrix FLOPs of a forward pass that can be done at once, work / span")
    title = "Parallelism over length, eight models of a million parameters"
    opening = '<svg xmlns="http://www.w3.org/2000/svg" '
    return str(d.svg("span", title, "Both axes are logarithmic.")).replace("<svg ", opening, 1) + "\n"


if __name__ == "__main__":
    (HERE / "span_table.md").write_text(page(), encoding="utf-8")
    (HERE / "span.svg").write_text(picture(), encoding="utf-8")
