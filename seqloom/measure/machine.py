"""The machine: what it is, and its own ceilings, against which figures read as "x of the limit"."""

import hashlib
import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter_ns

import numpy as np
import pydantic
import torch

from seqloom.core import runtime
from seqloom.core.spec import Spec
from seqloom.measure.clock import interleave, settle
from seqloom.measure.memory import total_bytes

MATRIX_SIZES = (256, 512, 1024, 2048)
COPY_BYTES = 64 * 2**20  # at least; more where a cache is larger
COPY_LIMIT_BYTES = 256 * 2**20
DISTRIBUTIONS = ("torch", "numpy", "seqloom")


class Machine(Spec):
    """A machine as probed, or described by hand for planning."""

    cpu: str = ""
    cores: int = pydantic.Field(default=1, gt=0)  # that this process may use
    threads: int = pydantic.Field(default=1, gt=0)  # that torch uses
    memory_bytes: int = pydantic.Field(default=0, ge=0)  # 0: not known
    device: str = "cpu"  # where the rates were measured
    capability: str = ""  # vector instructions, or the accelerator's name
    system: str = ""
    python: str = ""
    torch: str = ""
    flops_per_s: float = pydantic.Field(default=0.0, ge=0)  # float32 matrix products, best of several sizes
    bytes_per_s: float = pydantic.Field(default=0.0, ge=0)  # read + written by a copy too large for the caches
    call_overhead_s: float = pydantic.Field(default=0.0, ge=0)  # one torch operation on one number

    def digest(self) -> str:
        """Return 12 hexadecimal digits of what the machine is: hardware and versions, not the rates, which vary."""
        rates = ("flops_per_s", "bytes_per_s", "call_overhead_s")
        data = {key: item for key, item in json.loads(self.to_json()).items() if key not in rates}
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:12]

    def facts(self) -> dict[str, str | int | float]:
        """Return everything, with the digest, as JSON data for a run's `run.json`."""
        return {**json.loads(self.to_json()), "digest": self.digest()}


def describe(device: torch.device | str = "cpu") -> Machine:
    """Return what the machine is, without measuring any rate; milliseconds."""
    where = torch.device(device)
    name = torch.cuda.get_device_name(where) if where.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    return Machine(
        cpu=_cpu(),
        cores=runtime.cores(),
        threads=torch.get_num_threads(),
        memory_bytes=total_bytes() or 0,
        device=where.type,
        capability=name,
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        torch=torch.__version__,
    )


def probe(device: torch.device | str = "cpu", budget_s: float = 1.2) -> Machine:
    """Return the machine with its ceilings measured.

    Args:
        device: where to measure.
        budget_s: wall time, kept roughly; on a slow machine one round of each size is the least.
    """
    return describe(device).replace(
        flops_per_s=matrix_rate(device, budget_s * 0.6),
        bytes_per_s=memory_rate(device, budget_s * 0.3),
        call_overhead_s=call_overhead(device),
    )


def matrix_rate(device: torch.device | str = "cpu", budget_s: float = 0.7) -> float:
    """Return the float32 FLOP/s of matrix products: of square matrices of several sizes, the fastest sample.

    A ceiling is the most the machine can do, and whatever disturbs a sample makes it slower, so here no median is
    taken. Sizes are tried from small to large while the time lasts.
    """
    best, left_s = 0.0, budget_s
    for size in MATRIX_SIZES:
        flops = 2 * size**3
        if best and 4 * flops / best > left_s:
            break
        a, b = (torch.rand(size, size, device=device) for _ in range(2))
        out = torch.empty(size, size, device=device)
        begin = perf_counter_ns()
        call = lambda a=a, b=b, out=out: torch.mm(a, b, out=out)
        share_s = max(1e-3, min(left_s, budget_s / len(MATRIX_SIZES)))
        samples = interleave({"mm": call}, min_rounds=3, min_time_s=share_s, max_time_s=share_s, warmup=2)["mm"]
        best = max(best, flops / float(samples.min()))
        left_s -= (perf_counter_ns() - begin) / 1e9
    return best


def memory_rate(device: torch.device | str = "cpu", budget_s: float = 0.4) -> float:
    """Return the bytes/s, read and written, of a copy of a buffer larger than the caches; the fastest sample."""
    cache = _cache_bytes() if torch.device(device).type == "cpu" else 0
    size = min(max(COPY_BYTES, 2 * cache), COPY_LIMIT_BYTES)
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    call = lambda: target.copy_(source)
    samples = interleave({"copy": call}, min_rounds=3, max_rounds=100, min_time_s=budget_s / 2, max_time_s=budget_s)
    return 2 * size / float(samples["copy"].min())


def call_overhead(device: torch.device | str = "cpu") -> float:
    """Return the seconds of one torch operation on one number: what a call costs before any work; the median."""
    x, calls = torch.zeros(1, device=device), 200

    def many() -> None:
        for _ in range(calls):
            torch.add(x, x)

    with torch.no_grad():
        samples = interleave({"add": many}, min_rounds=20, max_time_s=0.2)["add"]
    settle()
    return float(np.median(samples)) / calls


def versions() -> dict[str, str]:
    """Return the versions that figures depend on."""
    found = {"python": platform.python_version()}
    for name in DISTRIBUTIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _cache_bytes() -> int:
    """Return the size of the largest cache of the first core; 0 where the system does not tell."""
    largest = 0
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text(encoding="ascii").strip()
        unit = {"K": 2**10, "M": 2**20, "G": 2**30}.get(text[-1:], 1)
        digits = text.rstrip("KMG")
        largest = max(largest, int(digits) * unit if digits.isdigit() else 0)
    return largest
