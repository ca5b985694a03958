"""Signals that ask a run to stop: Ctrl-C, SIGTERM (preemption), SIGUSR1 (the time limit of a SLURM job)."""

from __future__ import annotations

import logging  # noqa: F401  its hooks of a fork run within ours, since they are registered first
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import FrameType, SimpleNamespace
from typing import Any

SAME_SECONDS = 0.5  # a signal to all processes may reach one of them twice, by way of its parent
ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
INTERACTIVE = ("bash", "interactive")  # names that SLURM gives to jobs in which commands are typed

AFTER_FORK = 0.05  # seconds until a signal that came during a fork is sent again
fork = SimpleNamespace(under_way=False)
over = partial(setattr, fork, "under_way", False)  # built in, as the next one: no signal is handled inside
os.register_at_fork(before=partial(setattr, fork, "under_way", True), after_in_parent=over, after_in_child=over)


class Stopped(BaseException):
    """The run was asked to stop; `exit_code` is what a shell reports of a process that the signal ended."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number
        self.then = ""  # tells the user how to go on

    @property
    def exit_code(self) -> int:
        return 128 + self.number


class Terminated(KeyboardInterrupt):
    """SIGTERM came: ends a command in the same way as Ctrl-C."""


@contextmanager
def ending_when_asked(then: Callable[[], str]) -> Iterator[None]:
    """Ends the program on Ctrl-C and on SIGTERM with a line of what happened, and what to do `then`."""
    process = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process and number == signal.SIGTERM:  # a copy, such as a worker of a loader
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif not comes_later(number):
            raise Terminated if number == signal.SIGTERM else KeyboardInterrupt

    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    in_main = threading.current_thread() is threading.main_thread()
    ours = [number for number, handler in usual.items() if in_main and signal.getsignal(number) == handler]
    for number in ours:
        signal.signal(number, handle)
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as ended:
        by_lightning = isinstance(ended, SystemExit) and ended.code == 1  # it makes exit code 1 of Ctrl-C
        asked = ended.__context__ if by_lightning else ended
        if not isinstance(asked, KeyboardInterrupt):
            raise
        stopped = Stopped(signal.SIGTERM if isinstance(asked, Terminated) else signal.SIGINT)
        print(f"{line_end()}{stopped}; {then()}", file=sys.stderr, flush=True)
        sys.exit(stopped.exit_code)
    finally:
        for number in ours:
            signal.signal(number, usual[number])


def comes_later(number: int) -> bool:
    """Returns whether this process is being forked; if so, the signal is sent again when that is over.

    Python ignores an exception that is raised in a function that `os.register_at_fork` calls, and `logging` would keep
    its lock there for ever.
    """
    if fork.under_way:
        threading.Timer(AFTER_FORK, os.kill, (os.getpid(), number)).start()
    return fork.under_way


def line_end() -> str:
    """Returns what ends a line of a terminal that may hold a `^C` or a progress bar; "" for a file."""
    return "\n" if sys.stderr.isatty() else ""


class Signals:
    """Notes the first signal while `patient`, so that a step can be finished; raises `Stopped` for any other.

    Handles signals only in the process that made the object; loader workers, which are copies of that process, do
    nothing. Signals that were ignored before, as in a job in the background, stay ignored.
    """

    def __init__(self) -> None:
        self.patient = False
        self.received: int | None = None
        self.received_at = 0.0
        self._process = os.getpid()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.getsignal(number) for number in ASKING}
        self.install()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if error is not None and isinstance(stopped := error.__context__, Stopped):
            raise stopped from None  # what was cut off failed again as Lightning cleared it away

    def install(self) -> None:
        """Installs the handlers; called again after Lightning has put its own in their place."""
        if threading.current_thread() is threading.main_thread():
            for number in ASKING:
                if self._before.get(number) is not signal.SIG_IGN:
                    signal.signal(number, self._handle)

    def seconds_waiting(self) -> float:
        """Returns the seconds since the signal came; 0 if none did."""
        return time.monotonic() - self.received_at if self.received is not None else 0.0

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process or comes_later(number):
            return
        if number == self.received != signal.SIGINT and self.seconds_waiting() < SAME_SECONDS:
            return
        if not self.patient or self.received is not None:
            raise Stopped(number)
        self.received = number
        self.received_at = time.monotonic()
        name = signal.Signals(number).name
        os.write(2, f"\n{name}: finishing the step, then saving; once more stops at once\n".encode())  # never blocks


def slurm_job(environment: Mapping[str, str] = os.environ) -> str | None:
    """Returns the SLURM job of this process, as `scontrol` names it, or None outside of a job.

    >>> slurm_job({"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "8", "SLURM_ARRAY_TASK_ID": "2"})
    '8_2'
    """
    if "SLURM_ARRAY_JOB_ID" in environment:
        return f"{environment['SLURM_ARRAY_JOB_ID']}_{environment.get('SLURM_ARRAY_TASK_ID', '')}"
    return environment.get("SLURM_JOB_ID")


def requeue(stopped: Stopped) -> str | None:
    """Asks SLURM to start the job again if its time limit stopped it (`--signal=SIGUSR1@90`).

    Returns what came of it, in words, or None if SLURM was not asked.
    """
    job = slurm_job()
    if stopped.number != signal.SIGUSR1 or job is None:
        return None
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"SLURM job {job} could not be requeued: {error}"
    if done.returncode:
        return f"SLURM job {job} could not be requeued: {done.stderr.strip()}"
    return f"SLURM job {job} requeued"
