"""Shows the progress of long work: a bar on a terminal, else a line every few seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from twostream.files.errors import say

T = TypeVar("T")
EVERY = 10.0  # seconds between two lines


class Watch(Protocol):
    """Passes outcomes on and shows how many of all have passed."""

    def __call__(self, outcomes: Iterator[T], total: int, /) -> Iterator[T]: ...


def watch(title: str) -> Watch:
    """Returns a function that passes outcomes on and shows how many have passed."""

    def through(outcomes: Iterator[T], total: int) -> Iterator[T]:
        if sys.stdout.isatty():
            with _bar("MofNCompleteColumn") as bar:
                yield from bar.track(outcomes, total=total, description=title)
            return
        printed = time.perf_counter()
        for number, outcome in enumerate(outcomes, start=1):
            yield outcome
            if time.perf_counter() - printed > EVERY:
                printed = time.perf_counter()
                print(f"{title}: {number:,}/{total:,}", flush=True)

    return through


class Report:
    """Prints lines for the user and counts the changes that were made."""

    def __init__(self) -> None:
        self.changes = 0

    def note(self, line: str) -> None:
        say(line)

    def did(self, changes: int, line: str) -> None:
        """Prints what was done, and counts `changes`, the number of files that it was done to."""
        self.changes += changes
        self.note(line)


@contextmanager
def watch_bytes() -> Iterator[Callable[[str, int, int | None], None]]:
    """Yields a function that is called with (file, bytes so far, bytes in all) and shows them."""
    if not sys.stdout.isatty():
        printed = [time.perf_counter()]

        def line(name: str, done: int, total: int | None) -> None:
            if done == total or time.perf_counter() - printed[0] > EVERY:
                printed[0] = time.perf_counter()
                of = f" of {total / 1e6:,.1f}" if total else ""
                say(f"{name}: {done / 1e6:,.1f}{of} MB")

        yield line
        return
    with _bar("DownloadColumn", "TransferSpeedColumn") as bar:
        tasks: dict[str, Any] = {}

        def step(name: str, done: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total)
            bar.update(tasks[name], completed=done, total=total)

        yield step


def _bar(*columns: str) -> Any:
    """Returns a bar of rich's; `columns`: the names of its further ones."""
    from rich import progress  # not where nothing is shown

    further = [getattr(progress, name)() for name in columns]
    return progress.Progress(
        progress.TextColumn("{task.description}"), progress.BarColumn(), *further, progress.TimeRemainingColumn()
    )
