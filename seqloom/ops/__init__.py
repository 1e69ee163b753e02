"""Ops: what mixers compute along time, each with a plain reference and kernels that equal it."""

from seqloom.ops.op import Kernel, Op, use
from seqloom.ops.recurrence import recurrence
from seqloom.ops.scan import scan

__all__ = ["Kernel", "Op", "recurrence", "scan", "use"]
