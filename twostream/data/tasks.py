"""Runs many independent tasks in processes of this machine, or on a Ray cluster."""

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

from twostream.files.extras import missing_extra

ENGINES = ("local", "ray")
AHEAD = 4  # tasks given to Ray per processor: enough that none is idle, without copying a long list at once
PATIENCE = 5.0  # seconds a process may take to end when asked to


class Outcome(NamedTuple):
    """The result of one item: the value that the function returned, or one line that says why there is none."""

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
    """Calls `function` on every item, in other processes, and yields one Outcome per item as they finish, in any order.

    An exception becomes `Outcome.error`. If a process dies (its decoder crashes, or the kernel runs out of memory),
    only its own item is affected: a new process takes the next items, and the item is tried once more, alone, after
    all others. With engine="ray" the tasks run on the cluster at `address`, as many at a time as it has processors
    (None: a cluster is started here with `workers` processors), and Ray retries them. The processes end when the
    caller closes the iterator, and on Ctrl-C.

    Raises ValueError for an unknown engine or no worker, ImportError if Ray is not installed, RuntimeError if
    processes cannot start at all.
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
    """Returns how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def one_line(error: BaseException) -> str:
    """Returns the type and message of an error without line breaks.

    >>> one_line(ValueError("two\\nlines"))
    'ValueError: two lines'
    """
    return " ".join(f"{type(error).__name__}: {error}".split())


def _call(function: Callable, item: Any) -> tuple[Any, str | None]:
    """Returns (value, None), or (None, one line of error) if the function raised one."""
    try:
        return function(item), None
    except Exception as error:
        return None, one_line(error)


class _Worker:
    """A process and the one item that it works on, so that it is known which item was lost if the process dies."""

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
        with contextlib.suppress(OSError):  # the process has died: reading its answer will show that
            self.connection.send(item)

    def stop(self) -> int | None:
        """Ends the process, after its clean-up unless that takes too long, and returns its exit code."""
        self.process.terminate()
        self.process.join(PATIENCE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.connection.close()
        return self.process.exitcode


def _work(connection: Connection, function: Callable) -> None:
    """Runs in the process: receives items and sends (value, error), until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to all processes; the parent ends this one
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
    """Ends the process by an exception, so that half-written files are removed; a second signal does not stop that."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(1)


def _run_local(function: Callable, items: Iterable, workers: int, died: list[Any] | None) -> Iterator[Outcome]:
    """Yields one Outcome per item. If a process dies, puts its item into `died`, or yields an error if that is None."""
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
            worker.process.terminate()  # ask all of them to end before waiting for each
        for worker in (*idle, *busy.values()):
            worker.stop()


def _cause(code: int | None) -> str:
    """Returns an exit code in words.

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
        raise missing_extra("--engine ray", "Ray", "ray", error) from error
    ours = not ray.is_initialized()
    if ours:
        ray.init(address=address, num_cpus=None if address else workers, log_to_driver=False)
    remote = ray.remote(max_retries=5)(_call)
    running: dict[Any, Any] = {}
    try:
        while True:
            slots = AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))  # the number of nodes may change
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
