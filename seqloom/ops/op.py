"""Ops and kernels: one reference, many implementations, the best that can run is chosen and the others say why not.

An op is named by its file `ops/<op>.py`; its kernels are the files `ops/<op>_<kernel>.py`, each with one module-level
`kernel`. Every kernel equals the op's reference in value and in every gradient.
"""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar

import torch

from seqloom.core import registry

_ops: list["Op"] = []
_forced: ContextVar[dict[str, str] | None] = ContextVar("forced", default=None)


class Kernel(ABC):
    """One implementation of one op."""

    preference: ClassVar[int] = 0

    def rank(self, *args: Any) -> int:
        """Return how much the kernel is preferred for these arguments: the highest of those that can run is taken."""
        return self.preference

    @abstractmethod
    def why_not(self, *args: Any) -> list[str]:
        """Return the reasons why these arguments cannot run here, each a sentence; empty: it can."""

    @abstractmethod
    def __call__(self, *args: Any) -> Any:
        """Compute what the op's reference computes, differentiably."""


class Op:
    """A named operation: its reference, and the choice among its kernels."""

    def __init__(self, name: str, reference: Callable[..., Any]) -> None:
        self.name = name
        self.reference = reference
        self._kernels: dict[str, Kernel] | None = None
        _ops.append(self)
        self.__doc__ = reference.__doc__

    @property
    def kernels(self) -> dict[str, Kernel]:
        """Return the kernels by name, most preferred first; their files are imported on first use."""
        if self._kernels is None:
            found: dict[str, Kernel] = {
                name: importlib.import_module(f"seqloom.ops.{self.name}_{name}").kernel
                for name in registry.kernels()[self.name]
            }
            self._kernels = dict(sorted(found.items(), key=lambda item: -item[1].preference))
        return self._kernels

    def __call__(self, *args: Any) -> Any:
        """Run the most preferred kernel that can; the reference under functorch and forward-mode differentiation.

        Raises:
            ValueError: a kernel forced with `use` cannot run; the message holds its reasons.
        """
        return self.choose(*args)(*args)

    def choose(self, *args: Any) -> Callable[..., Any]:
        """Return what `__call__` would run for these arguments."""
        # a compiler cannot trace context variables
        forced = None if torch.compiler.is_compiling() else (_forced.get() or {}).get(self.name)
        if forced == "reference":
            return self.reference
        if forced is not None:
            reasons = self.kernels[forced].why_not(*args)
            if reasons:
                raise ValueError(f"kernel '{forced}' of op '{self.name}' cannot run here: {' '.join(reasons)}")
            return self.kernels[forced]
        if transformed():
            return self.reference
        for kernel in sorted(self.kernels.values(), key=lambda kernel: -kernel.rank(*args)):
            if not kernel.why_not(*args):
                return kernel
        return self.reference

    def explain(self, *args: Any) -> dict[str, list[str]]:
        """Return kernel name -> reasons why it cannot run with these arguments; empty: it can."""
        return {name: kernel.why_not(*args) for name, kernel in self.kernels.items()}


def load() -> None:
    """Import the kernels of every op known so far: a compiler cannot trace an import. Modules do so when made."""
    for op in _ops:
        _ = op.kernels


@contextmanager
def use(**kernels: str) -> Generator[None]:
    """Force kernels by op name inside the block, e.g. `use(scan="reference")`.

    Raises:
        ValueError: unknown op or kernel.
    """
    known = registry.kernels()
    for op, kernel in kernels.items():
        if op not in known:
            raise ValueError(f"unknown op '{op}'{registry.nearest(op, list(known))}")
        if kernel != "reference" and kernel not in known[op]:
            raise ValueError(f"op '{op}' has no kernel '{kernel}'{registry.nearest(kernel, ['reference', *known[op]])}")
    token = _forced.set({**(_forced.get() or {}), **kernels})
    try:
        yield
    finally:
        _forced.reset(token)


def transformed() -> bool:
    """Return whether functorch transforms or forward-mode AD are at work: a custom op would give zero tangents."""
    forward_ad: Any = torch.autograd.forward_ad
    private: Any = torch._C  # pyright: ignore[reportPrivateUsage]  torch tells neither in public
    return bool(private._are_functorch_transforms_active() or forward_ad._current_level >= 0)
