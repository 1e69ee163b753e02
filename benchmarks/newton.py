"""All steps at once against step by step: when the iteration converges, how exactly, and what it costs.

For each cell, width, scale of the recurrent weights (times torch.nn's default) and length: iterations forward and
backward, residual, agreement on checked stretches, the estimated Lyapunov exponent, the true error of both ways against
a float64 run in sequence, and how many times faster all steps at once are than the sequential op, and than the loop of
tensor operations that runs where the op has no fused kernel; below 1 they are slower. `auto` is what
`evaluation="auto"` would choose. The last line is one JSON document.

    python benchmarks/newton.py [--cells gru,lstm,tanh,relu] [--scales 1,2,3,6] [--lengths 1024,4096] [--widths 64,256]
        [--batch 1] [--seconds 0.5] [--threads N] [--device cpu] [--table docs/newton_table.txt]
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqloom.core import runtime
from seqloom.measure.clock import interleave
from seqloom.measure.machine import describe
from seqloom.measure.statistics import median_ratio
from seqloom.ops import recurrence, use
from seqloom.ops.newton import newton, pays
from seqloom.ops.recurrence import CELLS, Weights

PEERS = {"sequential": "ratio", "loop": "ratio_to_loop"}
COLUMNS = {
    "cell": "cell", "H": "H", "scale": "weights ×", "T": "T", "exponent": "exponent", "iterations": "iterations",
    "gradient_iterations": "backward", "residual": "residual", "agreement": "agreement", "error": "error",
    "sequential_error": "error in sequence", "ratio": "speed-up", "ratio_to_loop": "against loop", "auto": "auto",
}  # fmt: skip


def layer(cell: str, width: int, scale: float, given: argparse.Namespace) -> Weights:
    """Return weights as torch.nn draws them, the recurrent ones scaled."""
    g = torch.Generator().manual_seed(0)
    gates = CELLS[cell].gates * width

    def draw(*shape: int, size: float = 1.0) -> Tensor:
        uniform = 2 * torch.rand(*shape, generator=g) - 1
        return (size * width**-0.5 * uniform).to(given.device).requires_grad_()

    return Weights(draw(gates, width), draw(gates, width, size=scale), draw(gates), draw(gates))


def double(tensor: Tensor) -> Tensor:
    return tensor.detach().double()


@torch.no_grad()
def errors(cell: str, x: Tensor, weights: Weights) -> dict[str, float]:
    """Return the largest differences of both ways from a float64 run in sequence."""
    exact, _ = recurrence(cell, double(x), Weights(*map(double, weights)), (), None, True)
    found = {
        "error": newton(cell, x, weights)[0],
        "sequential_error": recurrence(cell, x, weights, (), None, True)[0],
    }
    return {name: float((y.double() - exact).abs().max()) for name, y in found.items()}


def calls(cell: str, x: Tensor, weights: Weights) -> dict[str, Callable[[], object]]:
    def sequential() -> None:
        with torch.no_grad():
            recurrence(cell, x, weights, (), None, True)

    def loop() -> None:
        with use(recurrence="loop"):
            sequential()

    def at_once() -> None:
        with torch.no_grad():
            newton(cell, x, weights)

    return {"newton": at_once, "sequential": sequential, "loop": loop}


def case(cell: str, length: int, width: int, scale: float, given: argparse.Namespace) -> dict[str, Any]:
    weights = layer(cell, width, scale, given)
    g = torch.Generator().manual_seed(1)
    x = torch.randn(given.batch, length, width, generator=g).to(given.device)
    y, _, certificate = newton(cell, x, weights)
    torch.autograd.grad(y.sum(), weights)
    row: dict[str, Any] = {"cell": cell, "B": given.batch, "T": length, "H": width, "scale": scale}
    row |= {
        "converged": certificate.converged,
        "iterations": certificate.iterations if certificate.converged else None,
        "gradient_iterations": certificate.gradients[0].iterations if certificate.gradients else None,
        "residual": certificate.residual,
        "agreement": certificate.agreement,
        "exponent": certificate.exponent,
        "reason": certificate.reason,
    }
    row |= errors(cell, x, weights)
    samples = interleave(calls(cell, x, weights), min_rounds=5, max_rounds=200, min_time_s=given.seconds)
    row["newton_ms"] = 1e3 * float(np.median(samples["newton"]))
    for peer, name in PEERS.items():
        ratio = median_ratio(samples[peer], samples["newton"])
        row |= {f"{peer}_ms": 1e3 * float(np.median(samples[peer])), name: ratio.value}
        row[f"{name}_interval"] = [ratio.low, ratio.high]
    with torch.no_grad():
        row["auto"] = "newton" if pays(cell, x, weights) else "sequential"
    row = {name: rounded(value) for name, value in row.items()}
    show(row)
    return row


def rounded(value: Any) -> Any:
    """Return numbers to three digits, and None for what was not measured: JSON knows no NaN."""
    if isinstance(value, list):
        return [rounded(v) for v in value]
    if not isinstance(value, float):
        return value
    return float(f"{value:.3g}") if np.isfinite(value) else None


def show(row: dict[str, Any]) -> None:
    print("  ".join(f"{name} {value}" for name, value in row.items()), file=sys.stderr, flush=True)


def table(rows: list[dict[str, Any]], machine: dict[str, Any], threads: int) -> str:
    """Return the rows as a table for the documentation."""
    lines = ["| " + " | ".join(COLUMNS.values()) + " |", "|" + "---|" * len(COLUMNS)]
    for row in rows:
        values = row if row["converged"] else {**row, "iterations": "falls back", "ratio_to_loop": None}
        lines.append("| " + " | ".join(cellular(values[name]) for name in COLUMNS) + " |")
    known = [str(machine[name]) for name in ("cpu", "capability", "device") if machine.get(name)]
    known += [f"{threads} threads" if threads > 1 else "1 thread", f"torch {machine['torch']}"]
    return "\n".join([*lines, "", f"B = {rows[0]['B']}, float32; {', '.join(known)}.", ""])


def cellular(value: Any) -> str:
    return "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", default="gru,lstm,tanh,relu")
    parser.add_argument("--scales", default="1,2,3,6", help="of the recurrent weights")
    parser.add_argument("--lengths", default="1024,4096")
    parser.add_argument("--widths", default="64,256")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.5, help="of measuring, for each case, at least")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--table", type=Path, help="writes the table of the documentation here")
    given = parser.parse_args()
    given.threads = given.threads or runtime.threads()
    torch.set_num_threads(given.threads)
    rows = [
        case(cell, length, width, scale, given)
        for cell in given.cells.split(",")
        for width in map(int, given.widths.split(","))
        for scale in map(float, given.scales.split(","))
        for length in map(int, given.lengths.split(","))
    ]
    facts = describe().facts()
    if given.table:
        given.table.write_text(table(rows, facts, given.threads), encoding="utf-8")
    found = {"benchmark": "newton", "machine": facts, "threads": given.threads, "kernels": list(recurrence.kernels)}
    print(json.dumps({**found, "grid": rows}, allow_nan=False))


if __name__ == "__main__":
    main()
