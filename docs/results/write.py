"""Write kernels_tables.md from what the benchmarks printed last: runs/bench/{recurrence,recurrence_peers,scan}.json.

python docs/results/write.py [runs/bench]
"""

import json
import math
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
NAMES = {"gru": "GRU", "lstm": "LSTM", "tanh": "RNN"}


def table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *([str(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine(found: dict[str, Any]) -> str:
    here = found["machine"]
    return (
        f"{here['cpu']}, {here['capability']}, {here['cores']} cores, {here['threads']} threads, "
        f"{here['memory_bytes'] / 2**30:.0f} GiB, {here['system']}, Python {here['python']}, torch {here['torch']}"
    )


def summary(found: dict[str, Any]) -> str:
    rows = []
    for name, row in found["summary"].items():
        cell, mode = name.split(", ")
        reached = "yes" if row["reached"] else "no"
        rows.append(
            [NAMES[cell], mode, row["cases"], f"**{row['geometric_mean']}**", row["target"], f"**{row['worst']:.2f}**",
             row["worst_target"], reached]
        )  # fmt: skip
    head = ["cell", "mode", "cases", "geometric mean", "asked", "worst case", "asked", "reached"]
    return table(head, rows)


def grid(found: dict[str, Any], cell: str, mode: str) -> str:
    chosen = {
        (row["B"], row["H"], row["T"]): row for row in found["grid"] if row["cell"] == cell and row["mode"] == mode
    }
    lengths = sorted({key[2] for key in chosen})
    rows = []
    for batch, hidden in sorted({key[:2] for key in chosen}):
        cells = [chosen[batch, hidden, length] for length in lengths]
        rows.append(
            [batch, hidden, *(f"{c['ratio']:.2f} ({c['torch_nn_ms']:.3g} / {c['ours_ms']:.3g})" for c in cells)]
        )
    return table(["B", "H", *(f"T = {length}" for length in lengths)], rows)


def others(found: dict[str, Any]) -> str:
    rows = []
    for row in found["others"]:
        what = (
            f"PackedSequence, B = {row['B']}, lengths {row['packed']}, H = {row['H']}" if "packed" in row
            else f"float64, B = {row['B']}, T = {row['T']}, H = {row['H']}" if "dtype" in row
            else f"streaming, B = 1, H = {row['H']}, against torch.nn's cell"
        )  # fmt: skip
        low, high = row["interval"]
        times = f"{row['torch_nn_ms']:.4g} / {row['ours_ms']:.4g}"
        rows.append(
            [NAMES[row["cell"]], what, row["mode"], f"**{row['ratio']:.1f}**", f"{low:.1f} – {high:.1f}", times]
        )
    return table(["cell", "case", "mode", "times as fast", "95 % interval", "ms: torch.nn / ours"], rows)


def peers(found: dict[str, Any]) -> str:
    names = list(dict.fromkeys(name for case in found["cases"] for name in case["ms"]))
    rows = []
    for case in found["cases"]:
        times = [f"{case['ms'][name]:.3g}" if name in case["ms"] else "–" for name in names]
        share = f"**{case['share_of_best']:.2f}** of {case['best_peer']}"
        rows.append([f"{case['B']}, {case['T']}, {case['H']}", case["mode"], *times, share])
    return table(["B, T, H", "mode", *names, "ours"], rows)


def scans(found: dict[str, Any]) -> str:
    parts = []
    for mode in ("forward", "training"):
        cases = [case for case in found["cases"] if case["mode"] == mode]
        names = list(dict.fromkeys(name for case in cases for name in case["ms"]))
        rows = [
            [
                ", ".join(map(str, case["B,T,N"])),
                case["memory"],
                *(f"{case['ms'][name]:.3g}" if name in case["ms"] else "–" for name in names),
                f"**{case['share']['torch.add']:.2f}**",
            ]
            for case in cases
        ]
        parts.append(f"{mode.capitalize()}, milliseconds:")
        parts.append(table(["B, T, N", "results in memory that is", *names, "share of torch.add's byte rate"], rows))
    return "\n\n".join(parts)


def growth(found: dict[str, Any]) -> str:
    parts = []
    for row in found["errors"]:
        sides = [name for name in row if name not in ("errors", "lengths", "growth")]
        head = ["largest error, relative", *(f"T = {length}" for length in row["lengths"]), "grows as T to the"]
        rows = [[name, *(f"{value:.0e}" for value in row[name]), row["growth"][name]] for name in sides]
        parts += [f"Against float64, decay drawn with {row['errors']}:", table(head, rows)]
    return "\n\n".join(parts)


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/bench")
    read = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")}
    parts = ["<!-- written by docs/results/write.py -->"]
    if (found := read.get("recurrence")) is not None:
        parts += [f"## Against torch.nn\n\n{machine(found)}", summary(found)]
        parts += ["Packed sequences, float64, one step at a time:", others(found)]
        ceiling = found["ceiling"]
        parts.append(
            f"GRU, B = 64, T = 512, H = 512: forward {ceiling['forward_gflop_per_s']} GFLOP/s, training "
            f"{ceiling['training_gflop_per_s']}; torch.mm's largest products in the same minute "
            f"{ceiling['product_gflop_per_s']}: shares **{ceiling['forward_share']}** and "
            f"**{ceiling['training_share']}** (asked: 0.70 and 0.60)."
        )
        for cell in NAMES:
            for mode in ("training", "forward"):
                if any(row["cell"] == cell and row["mode"] == mode for row in found["grid"]):
                    title = f"### {NAMES[cell]}, {mode}: times as fast as torch.nn (ms: torch.nn / ours)"
                    parts += [title, grid(found, cell, mode)]
        below = [row for row in found["grid"] if row["ratio"] < 1]
        geometric = math.exp(sum(math.log(row["ratio"]) for row in found["grid"]) / len(found["grid"]))
        parts.append(f"All {len(found['grid'])} cases: geometric mean {geometric:.2f}, {len(below)} below 1.")
    if (found := read.get("recurrence_peers")) is not None:
        absent = ", ".join(found["absent"]) or "none"
        parts += [
            f"## GRU against every other system\n\n{machine(found)}; absent: {absent}. Milliseconds.",
            peers(found),
        ]
    if (found := read.get("scan")) is not None:
        absent = ", ".join(found["absent"]) or "none"
        parts += [f"## Scan\n\n{machine(found)}; absent: {absent}.", scans(found), growth(found)]
    (HERE / "kernels_tables.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
