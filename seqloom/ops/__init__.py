"""Ops: what mixers compute along time, each with a plain reference and kernels that equal it."""

from seqloom.ops.op import Kernel, Op, use
from seqloom.ops.recurrence import recurrence
from seqloom.ops.scan import scan

__all__ = ["Kernel", "Op", "recurrence", "scan", "use"]

for _op in (recurrence, scan):
    _ = _op.kernels  # imported now: a compiler, whose trace may be the first call, cannot trace an import
