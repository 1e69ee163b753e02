"""The library of C++ kernels: found, checked and loaded when ops are imported; absent, every op has other kernels.

It is built from csrc/ when the package is installed and a compiler is there. It knows neither Python nor torch:
functions take addresses and numbers through ctypes, which lets go of the interpreter's lock.
"""

import ctypes
import functools
import importlib.machinery
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from seqloom.core import runtime

INTERFACE = 1  # changes with any argument of any exported function
_FIX = "install a C++ compiler (Debian, Ubuntu: apt install g++), then run `make native` or install seqloom again"


def why_not() -> list[str]:
    """Return why there are no native kernels; empty: there are."""
    return _reasons


def isa() -> str:
    """Return the instruction set in use: "avx512", "avx2", "baseline" or "neon"; empty without the library."""
    return _isa


def usable() -> list[str]:
    """Return the instruction sets that the library holds and this processor runs, the widest first."""
    if _library is None:
        return []
    order = ["avx512", "avx2", "baseline", "neon"]
    below = order[order.index(_library.seqloom_isa().decode()) :]
    return [isa for isa in below if hasattr(_library, f"seqloom_scan_f32_{isa}")]


@functools.cache
def function(name: str) -> Callable[..., Any]:
    """Return the exported function of this name for the instruction set in use.

    Raises:
        RuntimeError: the library cannot be loaded.
    """
    if _library is None:
        raise RuntimeError(" ".join(_reasons))
    found = getattr(_library, f"seqloom_{name}_{_isa}")
    found.restype = None
    return found


def _load() -> tuple[ctypes.CDLL | None, list[str], str]:
    path = runtime.native_library() or _built()
    if path is None or not path.is_file():
        return None, [f"The native kernels are not built: {_FIX}."], ""
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        return None, [f"The native kernels cannot be loaded ({error}): {_FIX}."], ""
    if not hasattr(library, "seqloom_interface") or library.seqloom_interface() != INTERFACE:
        return None, ["The native kernels are of another version: run `make native` or install seqloom again."], ""
    library.seqloom_isa.restype = ctypes.c_char_p
    chosen = runtime.instruction_set() or library.seqloom_isa().decode()
    if not hasattr(library, f"seqloom_scan_f32_{chosen}"):
        return None, [f"The native kernels are not built for SEQLOOM_ISA='{chosen}'."], ""
    pool = _pool()
    if pool is not None:
        library.seqloom_use_pool(pool)
    return library, [], chosen


def _built() -> Path | None:
    folder = Path(__file__).resolve().parents[1]
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        if (folder / f"_native{suffix}").is_file():
            return folder / f"_native{suffix}"
    return None


def _pool() -> ctypes.c_void_p | None:
    """Return the address of the OpenMP runtime's entry that torch has loaded; None: threads of our own."""
    beside = (Path(torch.__file__).parent / "lib").glob("libgomp*.so*")
    for name in (None, *map(str, beside)):
        try:
            return ctypes.cast(ctypes.CDLL(name).GOMP_parallel, ctypes.c_void_p)
        except (AttributeError, OSError, TypeError):
            continue
    return None


# not on first use: a compiler that traces `why_not` finds values, not a cache or a file
_library, _reasons, _isa = _load()
