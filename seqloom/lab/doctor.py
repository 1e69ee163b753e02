"""What this machine can run, and why not: versions, processors, memory, extras, kernels, data."""

import importlib.metadata
import importlib.util
import platform
import sys
from collections.abc import Callable
from typing import Any

import torch

from seqloom.core import registry, runtime
from seqloom.measure.machine import describe, probe
from seqloom.ops import _native
from seqloom.ops.recurrence import Weights

DISTRIBUTIONS = (
    "torch", "numpy", "scipy", "scikit-learn", "pydantic", "cyclopts", "rich", "duckdb", "tokenizers", "safetensors",
    "jinja2",
)  # fmt: skip
# what is optional -> (modules it needs, how to get them, what it is for)
OPTIONAL = {
    "tests": (("pytest", "hypothesis", "playwright"), "make test", "running the tests"),
    "docs": (("sphinx", "myst_parser"), "make docs", "building the documentation"),
}


def examine(measure: bool = False) -> dict[str, Any]:
    """Return what was found, as JSON data.

    Args:
        measure: also measure the machine's rates, which takes some seconds.
    """
    return {
        "python": {"version": platform.python_version(), "executable": sys.executable, "system": platform.platform()},
        "versions": {name: _version(name) for name in DISTRIBUTIONS},
        "machine": (probe() if measure else describe()).facts(),
        "accelerator": {"device": str(runtime.device()), "why_not": _why_no_accelerator()},
        "native": {"instructions": _native.isa(), "why_not": _native.why_not()},
        "kernels": _kernels(),
        "optional": {name: _optional(*item) for name, item in OPTIONAL.items()},
        "data": _data(),
    }


def as_text(found: dict[str, Any]) -> str:
    """Return what was found as lines for people."""
    here, python = found["machine"], found["python"]
    lines = [
        f"Python {python['version']} on {python['system']}",
        f"Processor: {here['cpu']}, {here['capability']}, {here['cores']} cores usable, {here['threads']} threads",
        f"Memory: {here['memory_bytes'] / 2**30:.1f} GiB",
        f"Accelerator: {found['accelerator']['device']}" + _because(found["accelerator"]["why_not"]),
    ]
    if here["flops_per_s"]:
        products, copies, call = here["flops_per_s"] / 1e9, here["bytes_per_s"] / 1e9, here["call_overhead_s"] * 1e6
        lines.append(f"Measured: {products:.4g} GFLOP/s in products, {copies:.4g} GB/s of memory, {call:.3g} µs a call")
    lines += ["", "Versions"]
    lines += [f"  {name} {version or 'MISSING'}" for name, version in found["versions"].items()]
    native = found["native"]
    lines += ["", f"Native kernels: {native['instructions'] or 'absent'}{_because(native['why_not'])}", "Kernels"]
    for op, kernels in found["kernels"].items():
        lines += [
            f"  {op}.{name}: {'runs' if not why else 'cannot run'}{_because(why)}" for name, why in kernels.items()
        ]
    lines += ["", "Optional"]
    lines += [
        f"  {name} ({item['for']}): {'ready' if not item['why_not'] else 'absent'}{_because(item['why_not'])}"
        for name, item in found["optional"].items()
    ]
    data = found["data"]
    lines += ["", f"Data sets of your own: {data['directory'] or 'none'}{_because(data['why_not'])}"]
    return "\n".join(lines)


def _because(reasons: list[str]) -> str:
    return f" ({'; '.join(reasons)})" if reasons else ""


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _why_no_accelerator() -> list[str]:
    if torch.accelerator.is_available():
        return []
    if torch.version.cuda is None and torch.version.hip is None:
        return ["this build of torch is for processors only"]
    return ["torch finds no device or no driver"]


def _kernels() -> dict[str, dict[str, list[str]]]:
    """Return op -> kernel -> reasons why it cannot run on small float32 arguments here; empty: it can."""
    found: dict[str, dict[str, list[str]]] = {}
    for name in registry.kernels():
        op = getattr(importlib.import_module(f"seqloom.ops.{name}"), name)
        found[name] = op.explain(*EXAMPLES[name]())
    return found


def _scan_example() -> tuple[Any, ...]:
    return torch.rand(2, 8, 4), torch.rand(2, 8, 4), None


def _recurrence_example() -> tuple[Any, ...]:
    x, w = torch.rand(2, 8, 4), torch.rand(12, 4)
    return "gru", x, Weights(w, w, torch.rand(12), torch.rand(12)), (), None, False


def _linear_example() -> tuple[Any, ...]:
    return torch.rand(2, 8, 4), torch.rand(12, 4), None


def _memory_example() -> tuple[Any, ...]:
    q = torch.rand(2, 8, 2, 4)
    return q, q, q


def _delta_example() -> tuple[Any, ...]:
    return *_memory_example(), torch.rand(2, 8, 2)


def _attention_example() -> tuple[Any, ...]:
    return *_memory_example(), True


def _rotate_example() -> tuple[Any, ...]:
    return torch.rand(2, 8, 2, 4), torch.rand(1, 8, 2), torch.rand(1, 8, 2), 2


EXAMPLES: dict[str, Callable[[], tuple[Any, ...]]] = {
    "associative": _memory_example,
    "attention": _attention_example,
    "delta": _delta_example,
    "linear": _linear_example,
    "recurrence": _recurrence_example,
    "rmsnorm": lambda: (torch.rand(2, 8, 4), torch.rand(4), 1e-6),
    "rotate": _rotate_example,
    "scan": _scan_example,
    "swiglu": lambda: (torch.rand(2, 8, 4),),
}


def _optional(modules: tuple[str, ...], install: str, purpose: str) -> dict[str, Any]:
    absent = [name for name in modules if importlib.util.find_spec(name) is None]
    why_not = [f"{', '.join(absent)} not installed; {install}"] if absent else []
    return {"for": purpose, "install": install, "why_not": why_not}


def _data() -> dict[str, Any]:
    try:
        directory = runtime.data_dir()
    except ValueError as error:
        return {"directory": None, "why_not": [str(error)]}
    why_not = [] if directory else ["set SEQLOOM_DATA to a folder; only the tests on real data read it"]
    return {"directory": str(directory) if directory else None, "why_not": why_not}
