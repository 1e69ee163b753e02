"""RNN, LSTM and GRU against torch.nn's: how many times faster, over batch, length and width; and against the machine.

Each case runs both sides in turn in one process, each with the threads that suit it better; the ratio is that of the
medians. Inputs are time-major, as torch.nn likes them, and want gradients. Then:
packed sequences, float64, one streaming step against torch.nn's cells, and the share of the measured rate of matrix
products. The last line is one JSON document.

    python benchmarks/recurrence.py [--cells gru,lstm,tanh] [--batches 1,8,32,64] [--lengths 128,512,2048]
        [--widths 64,128,256,512] [--seconds 2] [--threads 2]
"""

import argparse
import json
import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import seqloom.nn
from seqloom.core import runtime
from seqloom.measure.clock import interleave, time
from seqloom.measure.machine import describe
from seqloom.measure.statistics import median_ratio
from seqloom.ops import recurrence

LAYERS = {"tanh": "RNN", "lstm": "LSTM", "gru": "GRU"}
CELLS = {"tanh": nn.RNNCell, "lstm": nn.LSTMCell, "gru": nn.GRUCell}
TARGETS = {  # (geometric mean, worst case)
    "gru": {"training": (3.0, 1.0), "forward": (2.0, 1.0)},
    "tanh": {"training": (2.5, 1.0), "forward": (1.8, 1.0)},
    "lstm": {"training": (1.3, 0.95), "forward": (1.2, 0.95)},
}
SLOW_S = 0.1  # a call that takes longer is not tried with one thread
GATES = {"tanh": 1, "lstm": 4, "gru": 3}


def sides(cell: str, size: int, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, nn.Module]:
    """Return torch.nn's layer and ours with the same weights."""
    torch.manual_seed(0)
    theirs = getattr(nn, LAYERS[cell])(size, size, dtype=dtype)
    ours = getattr(seqloom.nn, LAYERS[cell])(size, size, dtype=dtype)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def forward(layer: nn.Module, x: Any) -> Callable[[], object]:
    def run() -> None:
        with torch.no_grad():
            layer(x)

    return run


def training(layer: nn.Module, x: Any, wanted: list[Tensor], seed: Tensor) -> Callable[[], object]:
    def run() -> None:
        y, _ = layer(x)
        torch.autograd.grad(y if isinstance(y, Tensor) else y.data, wanted, seed)

    return run


def with_threads(call: Callable[[], object], threads: int) -> Callable[[], object]:
    def run() -> None:
        torch.set_num_threads(threads)
        call()

    return run


def against(theirs: Callable[[], object], ours: Callable[[], object], threads: int, seconds: float) -> dict[str, Any]:
    """Time both in turn, each also with one thread if a first look says that this may be faster; the faster counts."""
    calls: dict[tuple[str, int], Callable[[], object]] = {}
    slow = False
    for side, call in (("ours", ours), ("theirs", theirs)):
        ways = {threads: with_threads(call, threads)}
        first = {threads: float(np.median(time(ways[threads], min_rounds=2, max_time_s=0.1)))}
        slow = first[threads] > SLOW_S
        if threads > 1 and not slow:  # where there is much to do, all threads are faster
            ways[1] = with_threads(call, 1)
            first[1] = float(np.median(time(ways[1], min_rounds=2, max_time_s=0.1)))
        calls |= {(side, n): way for n, way in ways.items() if first[n] < 1.3 * min(first.values())}
    # the first look has warmed what is slow
    samples = interleave(
        calls, min_rounds=5, max_rounds=200, min_time_s=seconds, max_time_s=6 * seconds, warmup=0 if slow else 1
    )
    torch.set_num_threads(threads)
    median = {way: float(np.median(seconds)) for way, seconds in samples.items()}
    best = {
        side: min((way for way in samples if way[0] == side), key=median.__getitem__) for side in ("ours", "theirs")
    }
    ratio = median_ratio(samples[best["theirs"]], samples[best["ours"]])
    return {
        "ratio": round(ratio.value, 3),
        "interval": [round(ratio.low, 3), round(ratio.high, 3)],
        "ours_ms": round(1e3 * median[best["ours"]], 4),
        "ours_threads": best["ours"][1],
        "torch_nn_ms": round(1e3 * median[best["theirs"]], 4),
        "torch_nn_threads": best["theirs"][1],
        "rounds": len(samples[best["ours"]]),
    }


def case(cell: str, batch: int, length: int, size: int, given: argparse.Namespace) -> list[dict[str, Any]]:
    theirs, ours = sides(cell, size)
    x = torch.randn(length, batch, size)
    seed, wanted = torch.randn(length, batch, size), x.clone().requires_grad_()
    pairs = {
        "forward": [forward(layer, x) for layer in (theirs, ours)],
        "training": [training(layer, wanted, [wanted, *layer.parameters()], seed) for layer in (theirs, ours)],
    }
    flops = 4 * batch * length * GATES[cell] * size * size
    found = []
    for mode, (their_call, our_call) in pairs.items():
        row = {"cell": cell, "B": batch, "T": length, "H": size, "mode": mode}
        row |= against(their_call, our_call, given.threads, given.seconds)
        row["ours_gflop_per_s"] = round(flops * (3 if mode == "training" else 1) / row["ours_ms"] / 1e6, 1)
        show(row)
        found.append(row)
    return found


def packed(cell: str, given: argparse.Namespace) -> list[dict[str, Any]]:
    batch, length, size = 32, 512, 256
    theirs, ours = sides(cell, size)
    lengths = torch.linspace(length // 2, length, batch).round().long().flip(0)
    x = torch.randn(length, batch, size)
    sequences = pack_padded_sequence(x, lengths)
    wanted = x.clone().requires_grad_()
    seed = torch.randn(int(lengths.sum()), size)

    def call(layer: nn.Module) -> Callable[[], object]:
        def run() -> None:
            y, _ = layer(pack_padded_sequence(wanted, lengths))
            torch.autograd.grad(y.data, [wanted, *layer.parameters()], seed)

        return run

    found = []
    for mode, pair in {
        "forward": [forward(layer, sequences) for layer in (theirs, ours)],
        "training": [call(layer) for layer in (theirs, ours)],
    }.items():
        row = {"cell": cell, "packed": f"T/2 ... T = {length}", "B": batch, "H": size, "mode": mode}
        found.append(row | against(*pair, given.threads, given.seconds))
        show(found[-1])
    return found


def float64(cell: str, given: argparse.Namespace) -> list[dict[str, Any]]:
    found = []
    for batch, length, size in ((8, 512, 128), (32, 128, 256)):
        theirs, ours = sides(cell, size, torch.float64)
        x = torch.randn(length, batch, size, dtype=torch.float64)
        seed, wanted = torch.randn_like(x), x.clone().requires_grad_()
        for mode, pair in {
            "forward": [forward(layer, x) for layer in (theirs, ours)],
            "training": [training(layer, wanted, [wanted, *layer.parameters()], seed) for layer in (theirs, ours)],
        }.items():
            row = {"cell": cell, "dtype": "float64", "B": batch, "T": length, "H": size, "mode": mode}
            found.append(row | against(*pair, given.threads, given.seconds))
            show(found[-1])
    return found


def streaming(cell: str, given: argparse.Namespace) -> dict[str, Any]:
    """One step of one sequence, a hundred at a time: a single one is too short for the clock."""
    size, steps = 128, 100
    theirs, ours = CELLS[cell](size, size), getattr(seqloom.nn, LAYERS[cell])(size, size)
    ours.load_state_dict({f"{name}_l0": value for name, value in theirs.state_dict().items()})
    x, stream = torch.randn(1, size), ours.stream()

    @torch.inference_mode()
    def step_theirs() -> None:
        state: Any = None
        for _ in range(steps):
            state = theirs(x, state)

    @torch.inference_mode()
    def step_ours() -> None:
        for _ in range(steps):
            stream(x)

    row = {"cell": cell, "streaming": f"{steps} steps, B = 1", "H": size, "mode": "forward"}
    row |= against(step_theirs, step_ours, given.threads, given.seconds)
    show(row)
    return row


def ceiling(given: argparse.Namespace) -> dict[str, float]:
    """Return GFLOP/s of torch's largest matrix products, and of our GRU at its largest."""
    batch, length, size = 64, 512, 512
    _, ours = sides("gru", size)
    a, b = torch.randn(4096, 2048), torch.randn(2048, 2048)
    x = torch.randn(length, batch, size)
    wanted, seed = x.clone().requires_grad_(), torch.randn(length, batch, size)
    calls = {
        "product": lambda: torch.mm(a, b),
        "forward": forward(ours, x),
        "training": training(ours, wanted, [wanted, *ours.parameters()], seed),
    }
    flops = {"product": 2 * 4096 * 2048 * 2048, "forward": 4 * batch * length * 3 * size * size}
    flops["training"] = 3 * flops["forward"]
    samples = interleave(calls, min_rounds=7, max_time_s=30 * given.seconds)
    rate = {name: flops[name] / float(np.median(seconds)) / 1e9 for name, seconds in samples.items()}
    found = {f"{name}_gflop_per_s": round(value, 1) for name, value in rate.items()}
    found |= {f"{name}_share": round(rate[name] / rate["product"], 3) for name in ("forward", "training")}
    show(found)
    return found


def show(row: dict[str, Any]) -> None:
    print("  ".join(f"{name} {value}" for name, value in row.items()), file=sys.stderr, flush=True)


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for cell, targets in TARGETS.items():
        for mode, (mean, worst) in targets.items():
            ratios = [row["ratio"] for row in rows if row["cell"] == cell and row["mode"] == mode]
            if ratios:
                geometric = math.exp(sum(map(math.log, ratios)) / len(ratios))
                found[f"{cell}, {mode}"] = {
                    "cases": len(ratios), "geometric_mean": round(geometric, 2), "target": mean,
                    "worst": min(ratios), "worst_target": worst,
                    "reached": geometric >= mean and min(ratios) >= worst,
                }  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", default="gru,lstm,tanh")
    parser.add_argument("--batches", default="1,8,32,64")
    parser.add_argument("--lengths", default="128,512,2048")
    parser.add_argument("--widths", default="64,128,256,512")
    parser.add_argument("--seconds", type=float, default=1.0, help="of measuring, for each case, at least")
    parser.add_argument("--threads", type=int, default=None)
    given = parser.parse_args()
    given.threads = given.threads or runtime.threads()
    torch.set_num_threads(given.threads)
    cells = given.cells.split(",")
    sizes = [
        (batch, length, width)
        for length in map(int, given.lengths.split(","))
        for batch in map(int, given.batches.split(","))
        for width in map(int, given.widths.split(","))
    ]
    grid = [row for cell in cells for size in sizes for row in case(cell, *size, given)]
    others = [row for cell in cells for row in packed(cell, given) + float64(cell, given)]
    others += [streaming(cell, given) for cell in cells]
    found = {"benchmark": "recurrence", "machine": describe().facts(), "kernels": list(recurrence.kernels)}
    found |= {"summary": summary(grid), "ceiling": ceiling(given), "grid": grid, "others": others}
    for name, row in found["summary"].items():
        show({"": name, **row})
    print(json.dumps(found))


if __name__ == "__main__":
    main()
