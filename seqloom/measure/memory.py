"""Memory: the exact peak of live tensors during a call, and what the process holds."""

import sys
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode


@dataclass(frozen=True)
class Peak:
    """Peaks of live tensor storage during a call."""

    total_bytes: int  # made during the call, and from before it, live at the same time
    made_bytes: int  # made during the call alone
    before_bytes: int  # from before the call and used in it: parameters, inputs, optimizer state


def peak_live_bytes(call: Callable[[], object]) -> Peak:
    """Run a call and return the most bytes of tensor storage that lived at one time, exactly.

    Every storage counts once, however many views it has, from the operation that made it until its last owner lets go:
    a name, a view, or what autograd saved for the backward pass. Storage from before the call counts if the call
    uses it, from the start. Memory that an operation takes and gives back inside itself is not seen, nor is
    the allocator's slack: compare with `peak_rss_bytes`.

    Complexity: a few microseconds for each operation; no memory of its own to speak of.
    """
    with _Tracker() as tracker:
        call()
        return Peak(tracker.peak_total, tracker.peak_made, tracker.before)


class _Tracker(TorchDispatchMode):
    """Sees every operation, in the backward pass too, and follows the storages of what goes in and comes out."""

    def __init__(self) -> None:
        super().__init__()
        self.total = self.peak_total = 0
        self.made = self.peak_made = 0
        self.before = 0
        self._known: dict[int, tuple[weakref.ref[Any], int, bool]] = {}  # address -> storage, bytes, made here

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for tensor in _tensors((args, kwargs)):
            self._see(tensor, made=False)
        out = func(*args, **kwargs)
        for tensor in _tensors(out):
            self._see(tensor, made=True)
        for tensor in _tensors((args, kwargs)):  # an operation in place may have made a storage larger
            self._see(tensor, made=True)
        self.peak_total = max(self.peak_total, self.total)
        self.peak_made = max(self.peak_made, self.made)
        return out

    def _see(self, tensor: Tensor, made: bool) -> None:
        if tensor.device.type == "meta":
            return
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        known = self._known.get(key)
        if known is not None:
            self._add(size - known[1], known[2])
            if size != known[1]:
                self._known[key] = (known[0], size, known[2])
            return
        if size == 0 and not made:
            return
        self._known[key] = (weakref.ref(storage, lambda _: self._forget(key)), size, made)
        self._add(size, made)
        if not made:  # it was there all the time, so also at the peak so far
            self.before += size
            self.peak_total += size

    def _add(self, size: int, made: bool) -> None:
        self.total += size
        self.made += size if made else 0

    def _forget(self, key: int) -> None:
        _, size, made = self._known.pop(key)
        self._add(-size, made)


def _tensors(tree: Any) -> list[Tensor]:
    found: list[Tensor] = []
    for leaf in pytree.tree_leaves(tree):
        if isinstance(leaf, Tensor):
            if leaf.layout is torch.strided:
                found.append(leaf)
            elif leaf.layout is torch.sparse_coo:
                found += [leaf._indices(), leaf._values()]
            else:
                raise ValueError(f"cannot count the bytes of a tensor of layout {leaf.layout}; use dense tensors")
    return found


def rss_bytes() -> int | None:
    """Return the memory that the process holds now; None where the system does not tell."""
    return _status("VmRSS")


def peak_rss_bytes() -> int:
    """Return the most memory that the process ever held."""
    peak = _status("VmHWM")
    if peak is not None:
        return peak
    import resource  # not on every system

    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024


def total_bytes() -> int | None:
    """Return the machine's memory; None where the system does not tell."""
    return _kilobytes(Path("/proc/meminfo"), "MemTotal")


def available_bytes(device: torch.device | str = "cpu") -> int | None:
    """Return the memory that could still be taken, on a device; None where the system does not tell."""
    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return _kilobytes(Path("/proc/meminfo"), "MemAvailable")


def _status(name: str) -> int | None:
    return _kilobytes(Path("/proc/self/status"), name)


def _kilobytes(path: Path, name: str) -> int | None:
    try:
        text = path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return None
