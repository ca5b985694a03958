"""Work beside that of a GPU: iterators whose items are made in other threads, in order and not too far ahead."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

S = TypeVar("S")
T = TypeVar("T")


def ahead(items: Iterable[T], count: int) -> Iterator[T]:
    """Yields the items, which a thread makes meanwhile, at most `count` of them in advance.

    An error of the items is raised where it would be without the thread. If the caller stops early, so does the thread.
    """
    made: queue.Queue[tuple[bool, Any]] = queue.Queue(maxsize=count)
    stopped = threading.Event()

    def give(*what: Any) -> bool:
        """Waits until there is room; returns False if nobody takes any more."""
        while not stopped.is_set():
            try:
                made.put(what, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def make() -> None:
        try:
            for item in items:
                if not give(True, item):
                    return
            give(False, None)
        except BaseException as error:
            give(False, error)

    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    try:
        while True:
            more, item = made.get()
            if more:
                yield item
            elif item is None:
                return
            else:
                raise item
    finally:
        stopped.set()
        thread.join()


def in_threads(function: Callable[[S], T], items: Iterable[S], threads: int) -> Iterator[T]:
    """Yields `function` of each item, in the order of the items, computed by several threads.

    Takes items at most twice as many as there are threads in advance. Raises the errors of both.
    """
    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
