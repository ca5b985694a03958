"""Tells who waits for a decoder that it goes on: a long file is slow, a hanging one stands still."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")
_tell: ContextVar[Callable[[], None] | None] = ContextVar("tell", default=None)


@contextmanager
def telling(tell: Callable[[], None]) -> Iterator[None]:
    """Call `tell` whenever a packet or a picture has been read, in this thread, inside of the block."""
    token = _tell.set(tell)
    try:
        yield
    finally:
        _tell.reset(token)


def progressing(parts: Iterable[T]) -> Iterator[T]:
    """The same packets or pictures, each of which counts as progress."""
    tell = _tell.get()
    for part in parts:
        if tell is not None:
            tell()
        yield part
