"""Reports the progress of a decoder, so that a long file can be told from a decoder that hangs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")
_tell: ContextVar[Callable[[], None] | None] = ContextVar("tell", default=None)


@contextmanager
def telling(tell: Callable[[], None]) -> Iterator[None]:
    """Calls `tell` whenever this thread has read a packet or a picture inside the block."""
    token = _tell.set(tell)
    try:
        yield
    finally:
        _tell.reset(token)


def progressing(parts: Iterable[T]) -> Iterator[T]:
    """Yields the packets or pictures of `parts` and reports progress at each."""
    tell = _tell.get()
    for part in parts:
        if tell is not None:
            tell()
        yield part
