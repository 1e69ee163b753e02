"""The scan against the machine and against other scans: time, share of torch.add's byte rate, error against length.

All sides of a case run in turn in one process, each at its best: JAX compiled and time-major, the log-space scan with
its inputs given as logarithms. A training step is the forward pass and both gradients. Forward moves three arrays
(a, b in; h out), a training step eight (a, h, dh in; da, db out besides), torch.add three; `share` is the rate of
bytes over torch.add's. Results larger than the allocator keeps are fresh memory, whose page faults cost more than the
work: each large case also runs with an allocator that keeps memory (glibc's mallopt), for all sides alike.
`pip install jax mambapy minGRU-pytorch` brings the peers; what is absent is named. The last line is one JSON document.

    python benchmarks/scan.py [--shapes 4,16384,256/32,512,256/1,2048,64] [--seconds 2] [--threads 2] [--compile]
"""

import argparse
import ctypes
import json
import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqloom.core import runtime
from seqloom.measure.clock import interleave
from seqloom.measure.machine import describe
from seqloom.ops import scan

TARGETS = {"forward": 0.8, "training": 0.6}  # share of torch.add's byte rate, arrays of 64 MB
TARGET_LOG = 25  # times as fast as the log-space scan, forward
ARRAYS = {"forward": 3, "training": 8}
LARGE_BYTES = 64 * 10**6
LENGTHS = tuple(2**n for n in range(8, 17))
Function = Callable[[Tensor, Tensor], Tensor]
Calls = dict[str, Callable[[], Any]]  # "forward" returns h, "training" anything


def draw(batch: int, length: int, width: int, memory: float = 0.0) -> tuple[Tensor, Tensor]:
    """Return a, b as a minGRU's gates make them: a in (0, 1), nearer to 1 the larger `memory` is, and b > 0."""
    g = torch.Generator().manual_seed(0)
    gate = torch.randn(batch, length, width, generator=g) - memory
    b = gate.sigmoid() * (torch.rand(batch, length, width, generator=g) + 0.5)
    return (-gate).sigmoid(), b


# ---- the sides ----


def seqloom(a: Tensor, b: Tensor) -> Calls:
    return in_torch(scan, a, b)


def seqloom_blocked(a: Tensor, b: Tensor) -> Calls:
    """Return ours where the native kernels are not built."""
    return in_torch(scan.kernels["blocked"], a, b)


def loop(a: Tensor, b: Tensor) -> Calls:
    return in_torch(scan.reference, a, b)


def log_space(a: Tensor, b: Tensor) -> Calls:
    """Return minGRU-pytorch's scan, or its formula (Heinsen 2023, arXiv 2311.06281) where it is not installed."""

    def formula(log_a: Tensor, log_b: Tensor) -> Tensor:
        sums = log_a.cumsum(1)
        return (sums + (log_b - sums).logcumsumexp(1)).exp()

    try:
        from minGRU_pytorch.minGRU import heinsen_associative_scan_log as function
    except ImportError:
        function = formula
    return in_torch(function, a.double().log().float(), b.double().log().float())


def tree(a: Tensor, b: Tensor) -> Calls:
    """Return mambapy's scan, or a tree of pairs (Blelloch 1990) where it is not installed."""

    def pairs(a: Tensor, b: Tensor) -> Tensor:
        if a.shape[1] == 1:
            return b
        odd = pairs(a[:, 1::2] * a[:, ::2], torch.addcmul(b[:, 1::2], a[:, 1::2], b[:, ::2]))
        even = torch.cat([b[:, :1], torch.addcmul(b[:, 2::2], a[:, 2::2], odd[:, :-1])], dim=1)
        return torch.stack([even, odd], dim=2).flatten(1, 2)

    try:
        from mambapy.pscan import pscan
    except ImportError:
        return in_torch(pairs, a, b)
    # (B, T, 1, N): its layout with adjacent lanes
    return in_torch(lambda a, b: pscan(a[:, :, None], b[:, :, None])[:, :, 0], a, b)


def torch_associative(a: Tensor, b: Tensor) -> Calls:
    return in_torch(_associative, a, b)


def torch_compiled(a: Tensor, b: Tensor) -> Calls:
    calls = in_torch(torch.compile(_associative), a, b)
    return {"forward": calls["forward"]}


def _associative(a: Tensor, b: Tensor) -> Tensor:
    from torch._higher_order_ops.associative_scan import associative_scan

    def compose(first: Any, then: Any) -> Any:
        return then[0] * first[0], then[0] * first[1] + then[1]

    return associative_scan(compose, (a, b), dim=1, combine_mode="generic")[1]


def jax_scan(a: Tensor, b: Tensor) -> Calls:
    import jax

    def run(a: Any, b: Any) -> Any:
        def step(h: Any, terms: Any) -> Any:
            h = terms[0] * h + terms[1]
            return h, h

        return jax.lax.scan(step, jax.numpy.zeros(a.shape[1:]), (a, b))[1]

    return in_jax(run, a, b)


def jax_associative(a: Tensor, b: Tensor) -> Calls:
    import jax

    def compose(first: Any, then: Any) -> Any:
        return then[0] * first[0], then[0] * first[1] + then[1]

    return in_jax(lambda a, b: jax.lax.associative_scan(compose, (a, b))[1], a, b)


def in_torch(function: Function, a: Tensor, b: Tensor) -> Calls:
    wanted = [t.detach().clone().requires_grad_() for t in (a, b)]
    seed = torch.ones_like(b)

    def forward() -> Tensor:
        with torch.no_grad():
            return function(a, b)

    return {"forward": forward, "training": lambda: torch.autograd.grad(function(*wanted), wanted, seed)}


def in_jax(function: Callable[..., Any], a: Tensor, b: Tensor) -> Calls:
    import jax

    given = [jax.numpy.asarray(t.transpose(0, 1).contiguous().numpy()) for t in (a, b)]
    seed = jax.numpy.ones_like(given[1])

    def gradients(a: Any, b: Any, seed: Any) -> Any:
        h, back = jax.vjp(function, a, b)
        return h, back(seed)

    forward, training = jax.jit(function), jax.jit(gradients)
    return {
        "forward": lambda: jax.block_until_ready(forward(*given)),
        "training": lambda: jax.block_until_ready(training(*given, seed)),
    }


SIDES: dict[str, Callable[[Tensor, Tensor], Calls]] = {
    "seqloom": seqloom,
    "seqloom blocked": seqloom_blocked,
    "loop": loop,
    "log-space": log_space,
    "tree": tree,
    "torch associative_scan": torch_associative,
    "jax lax.scan": jax_scan,
    "jax associative_scan": jax_associative,
}


def sides(a: Tensor, b: Tensor, absent: dict[str, str]) -> dict[str, Calls]:
    found: dict[str, Calls] = {}
    for name, make in SIDES.items():
        try:
            found[name] = make(a, b)
        except ImportError as error:
            absent[name] = str(error)
    return found


# ---- what is measured ----


def case(shape: tuple[int, ...], memory: str, given: argparse.Namespace, absent: dict[str, str]) -> list[Any]:
    batch, length, width = shape
    a, b = draw(batch, length, width)
    present, found = sides(a, b, absent), []
    result = torch.empty_like(a)
    for mode, arrays in ARRAYS.items():
        calls = {name: side[mode] for name, side in present.items() if mode in side}
        calls |= {"torch.add": lambda: torch.add(a, b), "torch.add, given result": lambda: torch.add(a, b, out=result)}
        samples = interleave(calls, min_rounds=7, min_time_s=given.seconds, max_time_s=20 * given.seconds, warmup=2)
        ms = {name: 1e3 * float(np.median(seconds)) for name, seconds in samples.items()}
        share = {add: arrays / 3 * ms[add] / ms["seqloom"] for add in ("torch.add", "torch.add, given result")}
        row: dict[str, Any] = {"B,T,N": shape, "memory": memory, "mode": mode}
        row |= {"ms": rounded(ms), "share": rounded(share), "rounds": len(samples["seqloom"])}
        row["times_as_fast"] = rounded({n: v / ms["seqloom"] for n, v in ms.items() if n not in ("seqloom", *share)})
        show(row)
        found.append(row)
    return found


def errors(memory: float, absent: dict[str, str]) -> dict[str, Any]:
    """Return max |h - h64| / max |h64| of each side at each length, and the power of T with which it grows."""
    found: dict[str, list[float]] = {}
    for length in LENGTHS:
        a, b = draw(1, length, 64, memory)
        expected = scan.reference(a.double(), b.double())
        for name, calls in sides(a, b, absent).items():
            h = calls["forward"]()
            h = h if isinstance(h, Tensor) else torch.from_numpy(np.array(h)).transpose(0, 1)
            found.setdefault(name, []).append(float((h - expected).abs().max() / expected.abs().max()))
    logs = np.log2(LENGTHS)
    growth = {name: float(np.polyfit(logs, np.log2(values), 1)[0]) for name, values in found.items()}
    row = {"errors": "gates" if memory == 0 else f"memory of {math.exp(memory):.0f} steps", "lengths": LENGTHS}
    row |= {name: [float(f"{value:.1e}") for value in values] for name, values in found.items()}
    row["growth"] = rounded(growth)
    show(row)
    return row


def keep_memory() -> bool:
    """Let the allocator keep what is freed, so that no result is fresh memory; False: this is not glibc."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    no_mappings, trim_threshold = -4, -1
    return bool(mallopt(no_mappings, 0) and mallopt(trim_threshold, -1))


def rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.3g}") for name, value in values.items()}


def show(row: dict[str, Any]) -> None:
    for name, value in row.items():
        print(f"{name:>14}  {value}", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def summary(cases: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the shares of large cases beside their targets: with fresh results on both sides, and kept memory."""
    found: dict[str, Any] = {}
    for row in cases:
        if 4 * math.prod(row["B,T,N"]) < LARGE_BYTES:
            continue
        target, share = TARGETS[row["mode"]], row["share"]["torch.add"]
        key = f"{row['B,T,N']}, {row['memory']} memory, {row['mode']}"
        found[key] = {"share": share, "target": target, "reached": share >= target}
        if row["mode"] == "forward":
            times = row["times_as_fast"]["log-space"]
            found[key] |= {"times_log_space": times, "log_space_target": TARGET_LOG}
            found[key]["reached"] = share >= target and times >= TARGET_LOG
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", default="4,16384,256/32,512,256/1,2048,64/1,65536,1")
    parser.add_argument("--seconds", type=float, default=2.0, help="of measuring, for each case and mode, at least")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--compile", action="store_true", help="also torch.compile of associative_scan: minutes")
    given = parser.parse_args()
    given.threads = given.threads or runtime.threads()
    torch.set_num_threads(given.threads)
    if given.compile:
        SIDES["torch associative_scan, compiled"] = torch_compiled
    shapes = [tuple(int(size) for size in shape.split(",")) for shape in given.shapes.split("/")]
    absent: dict[str, str] = {}
    growth = [errors(memory, absent) for memory in (0.0, 8.0)]
    cases = [row for shape in shapes for row in case(shape, "fresh", given, absent)]
    if keep_memory():
        large = [shape for shape in shapes if 4 * math.prod(shape) >= LARGE_BYTES]
        cases += [row for shape in large for row in case(shape, "kept", given, absent)]
    found = {"benchmark": "scan", "machine": describe().facts(), "kernels": list(scan.kernels), "absent": absent}
    found |= {"summary": summary(cases), "cases": cases, "errors": growth}
    show(found["summary"])
    print(json.dumps(found))


if __name__ == "__main__":
    main()
