"""The library of C++ kernels: found, checked and loaded when ops are imported; absent, every op has other kernels.

It is built from csrc/ when the package is installed and a compiler is there. It knows neither Python nor torch:
functions take addresses and numbers through ctypes, which lets go of the interpreter's lock.
"""

import ctypes
import functools
import importlib.machinery
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from seqloom.core import runtime

INTERFACE = 5  # changes with any argument of any exported function
TYPES = {torch.float32: "f32", torch.float64: "f64"}  # what functions are exported for
_SETS = ("avx512", "avx2", "baseline", "neon")  # wider ones first
_FIX = "install a C++ compiler (Debian, Ubuntu: apt install g++), then run `make native` or install seqloom again"


def why_not() -> list[str]:
    """Return why there are no native kernels; empty: there are."""
    return _reasons


def unsuitable(*tensors: Tensor, narrow: bool = False) -> list[str]:
    """Return why no native kernel can run on these tensors; empty: one can. `narrow`: half precision is widened."""
    reasons = list(_reasons)
    if torch.compiler.is_compiling():
        return [*reasons, "A compiler plans this itself."]
    first = tensors[0]
    if any(type(tensor) not in (Tensor, nn.Parameter, FakeTensor) for tensor in tensors):
        reasons.append("It knows plain tensors only.")
    if any(tensor.device.type != "cpu" for tensor in tensors):
        reasons.append(f"It runs on a CPU, not on '{first.device.type}'.")
    widened = narrow and first.dtype in (torch.bfloat16, torch.float16)
    if (first.dtype not in TYPES and not widened) or any(tensor.dtype != first.dtype for tensor in tensors):
        reasons.append(f"It takes float32 or float64, all alike, not {first.dtype}.")
    return reasons


def isa() -> str:
    """Return the instruction set in use: "avx512", "avx2", "baseline" or "neon"; empty without the library."""
    return _isa


def usable() -> list[str]:
    """Return the instruction sets that the library holds and this processor runs, wider ones first."""
    return [] if _library is None else _usable(_library)


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
    given = runtime.native_library()
    path = given or _built()
    if path is None:
        return None, [f"The native kernels are not built: {_FIX}."], ""
    if not path.is_file():
        return None, [f"SEQLOOM_NATIVE='{given}' is not a file: unset it, or name a library of native kernels."], ""
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        return None, [f"The native kernels cannot be loaded ({error}): {_FIX}."], ""
    sets = _usable(library) if _is_of_this_version(library) else []
    if not sets:
        return None, [f"The native kernels in {path.name} are stale: run `make native` or install seqloom again."], ""
    chosen = runtime.instruction_set() or sets[0]
    if chosen not in sets:
        return None, [f"SEQLOOM_ISA='{chosen}' does not run here: take one of {', '.join(sets)}, or unset it."], ""
    _hand_over_threads(library)
    return library, [], chosen


def _is_of_this_version(library: ctypes.CDLL) -> bool:
    return hasattr(library, "seqloom_interface") and library.seqloom_interface() == INTERFACE


def _usable(library: ctypes.CDLL) -> list[str]:
    library.seqloom_isa.restype = ctypes.c_char_p
    widest = library.seqloom_isa().decode()
    return [isa for isa in _SETS[_SETS.index(widest) :] if hasattr(library, f"seqloom_scan_f32_{isa}")]


def _built() -> Path | None:
    folder = Path(__file__).resolve().parents[1]
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        if (folder / f"_native{suffix}").is_file():
            return folder / f"_native{suffix}"
    return None


def _hand_over_threads(library: ctypes.CDLL) -> None:
    """Let the library use the threads that torch keeps; in a forked process, where they are gone, its own."""
    pool = _pool()
    if pool is None:
        return
    library.seqloom_use_pool(pool)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: library.seqloom_use_pool(None))


def _pool() -> ctypes.c_void_p | None:
    """Return the address of the entry of the OpenMP runtime that torch has loaded; None: there is none we know."""
    beside = (Path(torch.__file__).parent / "lib").glob("libgomp*.so*")
    for name in (None, *map(str, beside)):
        try:
            # never a second runtime beside torch's own
            loaded = ctypes.CDLL(name, mode=os.RTLD_NOLOAD | os.RTLD_NOW) if name else ctypes.CDLL(None)
            return ctypes.cast(loaded.GOMP_parallel, ctypes.c_void_p)
        except (AttributeError, OSError, TypeError):
            continue
    return None


# not on first use: a compiler that traces `why_not` finds values, not a cache or a file
_library, _reasons, _isa = _load()
