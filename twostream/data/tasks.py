"""Many independent tasks on this machine's processes, or on a Ray cluster."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

ENGINES = ("local", "ray")
AHEAD = 4  # tasks handed to Ray for each of its processors, so that none waits and a long list is not copied at once
PATIENCE = 5.0  # seconds a process may take to end when asked to


class Outcome(NamedTuple):
    """What became of one item: what the function returned, or in one line why it did not."""

    item: Any
    value: Any = None
    error: str | None = None


def run_tasks(
    function: Callable[[Any], Any],
    items: Iterable[Any],
    *,
    workers: int,
    engine: str = "local",
    address: str | None = None,
) -> Iterator[Outcome]:
    """Call `function` on every item, in other processes; yields one Outcome for each as they finish, in any order.

    An exception becomes `Outcome.error`. A process that dies (a decoder that crashes, the kernel out of memory) is
    replaced and takes no other item with it; its own item is tried once more when all others are done, by itself.
    With engine="ray" the tasks run on the cluster at `address`, as many as it has processors (None: one that is
    started here with `workers`), and retrying is Ray's. Who stops asking for outcomes, or Ctrl-C, ends the processes.

    Raises ValueError for an unknown engine, ImportError where Ray is not installed, RuntimeError where processes
    cannot start at all.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine={engine!r}: choose from {', '.join(ENGINES)}")
    if workers < 1:
        raise ValueError(f"workers={workers!r}: must be at least 1")
    if engine == "ray":
        yield from _run_ray(function, iter(items), workers, address)
        return
    died: list[Any] = []
    yield from _run_local(function, items, workers, died)
    yield from _run_local(function, died, 1, None)


def available_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def one_line(error: BaseException) -> str:
    """Type and message without line breaks.

    >>> one_line(ValueError("two\\nlines"))
    'ValueError: two lines'
    """
    return " ".join(f"{type(error).__name__}: {error}".split())


def _call(function: Callable, item: Any) -> tuple[Any, str | None]:
    """(value, error), one of them None."""
    try:
        return function(item), None
    except Exception as error:
        return None, one_line(error)


class _Worker:
    """A process and the one item that it has in hand, so that a death is no riddle."""

    def __init__(self, function: Callable) -> None:
        # not fork: a copy of a process with threads (PyTorch, OpenCV) may hang, and would keep our pipes open
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, function), daemon=True)
        self.process.start()
        theirs.close()
        self.ready = False
        self.item: Any = None

    def give(self, item: Any) -> None:
        self.item = item
        with contextlib.suppress(OSError):  # it has died meanwhile: reading will tell
            self.connection.send(item)

    def stop(self) -> int | None:
        """Ends the process, with its clean-up where it still can; the exit code that it had by itself."""
        self.process.terminate()
        self.process.join(PATIENCE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.connection.close()
        return self.process.exitcode


def _work(connection: Connection, function: Callable) -> None:
    """The life of a process: items in, (value, error) out, until nobody is at the other end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to all: the parent decides
    signal.signal(signal.SIGTERM, _end)
    with contextlib.suppress(OSError):
        connection.send(None)  # ready
    while True:
        try:
            item = connection.recv()
        except (EOFError, OSError):
            return
        answer = _call(function, item)
        try:
            connection.send(answer)
        except OSError:
            return
        except Exception as error:  # a value that cannot be sent
            connection.send((None, one_line(error)))


def _end(*_: object) -> None:
    """Not at once: files that are half written are removed. A second signal must not stop that."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(1)


def _run_local(function: Callable, items: Iterable, workers: int, died: list[Any] | None) -> Iterator[Outcome]:
    """One Outcome for each item whose process lives; the others are put into `died`, or without it reported."""
    source = iter(items)
    idle: list[_Worker] = []
    busy: dict[Connection, _Worker] = {}
    try:
        while True:
            for item in islice(source, workers - len(busy)):
                worker = idle.pop() if idle else _Worker(function)
                busy[worker.connection] = worker
                worker.give(item)
            if not busy:
                return
            for connection in wait(list(busy)):
                worker = busy[connection]  # type: ignore[index]
                try:
                    answer = worker.connection.recv()
                except (EOFError, OSError):
                    del busy[worker.connection]
                    code = worker.stop()
                    if not worker.ready:
                        raise RuntimeError(f"a worker process ended with code {code} before its first task") from None
                    if died is None:
                        yield Outcome(worker.item, error=f"its process died, twice ({_cause(code)})")
                    else:
                        died.append(worker.item)
                    continue
                if answer is None:
                    worker.ready = True
                    continue
                idle.append(busy.pop(worker.connection))
                yield Outcome(worker.item, *answer)
    finally:
        for worker in (*idle, *busy.values()):
            worker.process.terminate()  # all at once, then wait for each
        for worker in (*idle, *busy.values()):
            worker.stop()


def _cause(code: int | None) -> str:
    """An exit code in words.

    >>> _cause(-11), _cause(1)
    ('SIGSEGV', 'exit code 1')
    """
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"{name}, perhaps for its memory" if name == "SIGKILL" else name
    return f"exit code {code}"


def _run_ray(function: Callable, items: Iterator, workers: int, address: str | None) -> Iterator[Outcome]:
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError as error:
        raise ImportError(f'engine=ray needs Ray ({error}): pip install "twostream[ray]"') from error
    ours = not ray.is_initialized()
    if ours:
        ray.init(address=address, num_cpus=None if address else workers, log_to_driver=False)
    remote = ray.remote(max_retries=5)(_call)
    running: dict[Any, Any] = {}
    try:
        while True:
            slots = AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))  # nodes come and go
            if len(running) <= slots // 2:
                for item in islice(items, slots - len(running)):
                    running[remote.remote(function, item)] = item
            if not running:
                return
            done, _ = ray.wait(list(running), num_returns=1)
            for reference in done:
                item = running.pop(reference)
                try:
                    yield Outcome(item, *ray.get(reference))
                except ray.exceptions.RayError as error:
                    yield Outcome(item, error=one_line(error)[:500])
    finally:
        for reference in running:
            ray.cancel(reference, force=True)
        if ours:
            ray.shutdown()
