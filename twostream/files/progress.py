"""Shows how much of long work is done: a bar of one line on a terminal, else a line when it is known to be long."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from twostream.files.errors import printable, say
from twostream.files.words import clock, duration

T = TypeVar("T")
FIRST, EVERY = 10.0, 600.0  # seconds before the first line, and between two, where no terminal shows a bar
SURE = 1.0  # seconds after which the time left is guessed
REDRAW = 0.1  # seconds between two drawings of a bar


def begins(what: str) -> None:
    """Says on a terminal why nothing will happen for some seconds; the first process alone, before PyTorch is there."""
    if sys.stdout.isatty() and "torch" not in sys.modules and os.environ.get("LOCAL_RANK", "0") == "0":
        print(f"{what} …", flush=True)


def terminal_width() -> int | None:
    """Returns how many letters a line of the terminal has; None if what is printed goes elsewhere."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


class Watch(Protocol):
    """Passes outcomes on and shows how many of all have passed."""

    def __call__(self, outcomes: Iterator[T], total: int, /) -> Iterator[T]: ...


def watch(title: str) -> Watch:
    """Returns a function that passes outcomes on and shows how many have passed."""

    def through(outcomes: Iterator[T], total: int) -> Iterator[T]:
        with bar(title, total) as shown:
            for number, outcome in enumerate(outcomes, start=1):
                yield outcome
                shown.show(number)

    return through


@contextmanager
def watch_bytes() -> Iterator[Callable[[str, int, int | None], None]]:
    """Yields a function that is called with (file, bytes so far, bytes in all) and shows them, a line for each file."""
    now: dict[str, Line] = {}

    def step(name: str, done: int, total: int | None) -> None:
        if name not in now:
            end()
            now[name] = line(name, total)
        of = f"/{total / 1e6:,.1f}" if total else ""
        now[name].show(done, count=f"{done / 1e6:,.1f}{of} MB")

    def end() -> None:
        for each in now.values():
            each.end()
        now.clear()

    try:
        yield step
    finally:
        end()


@contextmanager
def bar(title: str, total: int) -> Iterator[Line]:
    """Yields the line of some work, whose `show` is called as it goes on; nothing is shown of no work."""
    shown = line(title, total)
    try:
        yield shown
    finally:
        shown.end()


def line(title: str, total: int | None, *, stays: bool = True) -> Line:
    """Returns the line of some work, for a terminal or a file; `stays`: a bar is left on the terminal at the end."""
    return Drawn(title, total, stays=stays) if sys.stdout.isatty() else Written(title, total)


class Line:
    """How much of some work is done, of `total` parts if that is known."""

    def __init__(self, title: str, total: int | None) -> None:
        self.title, self.total = printable(title), total
        self.started = time.perf_counter()
        self.done = 0

    def show(self, done: int, *, note: str = "", count: str = "", left: float | None = None) -> None:
        """Shows what is done; `count` in words, `note` beside it, seconds that are `left`: None: as long as before."""
        self.done = done
        of = "" if self.total is None else f"/{self.total:,}"
        spent = time.perf_counter() - self.started
        if left is None and self.total is not None and done and spent > SURE:
            left = (self.total - done) * spent / done
        self._show(count or f"{done:,}{of}", note, left)

    def end(self) -> None:
        """Ends the line."""

    def _show(self, count: str, note: str, left: float | None) -> None:
        raise NotImplementedError


class Written(Line):
    """For files: a line after FIRST seconds, others after EVERY, one at the end; nothing of short work."""

    def __init__(self, title: str, total: int | None) -> None:
        super().__init__(title, total)
        self._next = self.started + FIRST
        self._last = ""
        self._is_told = False

    def _show(self, count: str, note: str, left: float | None) -> None:
        self._last = ", ".join(filter(None, (f"{self.title}: {count}", note)))
        if (now := time.perf_counter()) > self._next and self.done != self.total:
            self._next, self._is_told = now + EVERY, True
            say(self._last + ("" if left is None else f", {duration(left)} left"))

    def end(self) -> None:
        told, self._is_told = self._is_told, False
        if told:
            say(f"{self._last}, {duration(time.perf_counter() - self.started)}")


class Drawn(Line):
    """For terminals: a bar that fits into their width. `show` alone draws it: a thread could hang forked workers."""

    def __init__(self, title: str, total: int | None, *, stays: bool) -> None:
        super().__init__(title, total)
        from rich import progress  # not where nothing is shown

        text: Any = progress.TextColumn
        self._bar = progress.Progress(
            text("{task.description}", markup=False),
            progress.BarColumn(bar_width=None),
            *(text(f"{{task.fields[{name}]}}", markup=False) for name in ("count", "note", "time")),
            expand=True,
            auto_refresh=False,
            transient=not stays,
        )
        self._task = self._bar.add_task(self.title, total=total, count="", note="", time="", visible=bool(total != 0))
        self._drawn = 0.0
        self._bar.start()

    def begin(self, title: str, total: int | None) -> None:
        """Goes on with other work in the same line."""
        super().__init__(title, total)
        self._bar.reset(self._task, total=total, description=self.title, count="", note="", time="")

    def _show(self, count: str, note: str, left: float | None) -> None:
        now, is_done = time.perf_counter(), self.done == self.total
        if now - self._drawn < REDRAW and not is_done:
            return
        self._drawn = now
        spent = clock(now - self.started) if is_done else "" if left is None else f"{clock(left)} left"
        self._bar.update(self._task, completed=self.done, count=count, note=note, time=spent)
        self._bar.refresh()

    def end(self) -> None:
        self._bar.stop()
