"""Telling how far long work on data is: whoever runs it says where to; without anyone to tell, nothing is said."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Teller = Callable[[str, float | None], None]  # what is being done, and how much of it is, 0 to 1; None: a notice

_teller: ContextVar[Teller | None] = ContextVar("teller", default=None)


@contextmanager
def telling(teller: Teller) -> Iterator[None]:
    """Inside, have `teller` called with what is being done and how far it is."""
    token = _teller.set(teller)
    try:
        yield
    finally:
        _teller.reset(token)


def tell(what: str, share: float | None = None) -> None:
    """Tell how far some work is, from 0 to 1; without a share: something to know, once."""
    teller = _teller.get()
    if teller is not None:
        teller(what, share)
