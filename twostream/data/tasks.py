"""Many independent tasks on this machine's processes, or on a Ray cluster."""

from __future__ import annotations

import importlib
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any, NamedTuple

ENGINES = ("local", "ray")
AHEAD = 4  # tasks handed out for each worker, so that none waits and a long list is not copied at once


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

    An exception becomes `Outcome.error`. A process that dies (a decoder that crashes, the kernel out of memory) takes
    no other item with it: the items it may have had in hand are tried once more, each in a process of its own.
    With engine="ray" the tasks run on the cluster at `address` (None: one that is started here), and retrying is Ray's.
    Raises ValueError for an unknown engine, ImportError where Ray is not installed.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine={engine!r}: choose from {', '.join(ENGINES)}")
    if workers < 1:
        raise ValueError(f"workers={workers!r}: must be at least 1")
    run = _run_local if engine == "local" else _run_ray
    yield from run(function, iter(items), workers, address)


def _run_local(function: Callable, items: Iterator, workers: int, _address: str | None) -> Iterator[Outcome]:
    suspects: list[Any] = []
    while True:
        with _pool(workers) as pool:
            running: dict[Future, Any] = {}
            broken = False
            try:
                while not broken:
                    for item in islice(items, AHEAD * workers - len(running)):
                        running[pool.submit(_call, function, item)] = item
                    if not running:
                        break
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        item = running.pop(future)
                        if isinstance(future.exception(), BrokenProcessPool):
                            suspects.append(item)
                            broken = True
                        else:
                            yield future.result()
            except BrokenProcessPool:  # from submit
                suspects.append(item)  # type: ignore[possibly-undefined]
                broken = True
            except BaseException:  # Ctrl-C, or whoever asked for outcomes has gone
                for process in list((pool._processes or {}).values()):
                    process.terminate()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
            suspects += running.values()
        for item in suspects:
            yield _run_alone(function, item)
        suspects.clear()
        if not broken:
            return


def _pool(workers: int) -> ProcessPoolExecutor:
    # not fork: a copy of a process with threads (PyTorch, OpenCV) may hang
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


def _run_alone(function: Callable, item: Any) -> Outcome:
    with _pool(1) as pool:
        try:
            return pool.submit(_call, function, item).result()
        except BrokenProcessPool:
            return Outcome(item, error="its process died (crashed, or was killed for its memory)")


def _call(function: Callable, item: Any) -> Outcome:
    try:
        return Outcome(item, function(item))
    except Exception as error:
        return Outcome(item, error=" ".join(f"{type(error).__name__}: {error}".split()))


def _run_ray(function: Callable, items: Iterator, workers: int, address: str | None) -> Iterator[Outcome]:
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError as error:
        raise ImportError(f'engine=ray needs Ray ({error}): pip install "twostream[ray]"') from error
    ray.init(address=address, num_cpus=None if address else workers, ignore_reinit_error=True, log_to_driver=False)
    remote = ray.remote(max_retries=5)(_call)
    running: dict[Any, Any] = {}
    try:
        while True:
            slots = AHEAD * max(workers, int(ray.cluster_resources().get("CPU", 1)))
            for item in islice(items, slots - len(running)):
                running[remote.remote(function, item)] = item
            if not running:
                return
            for reference in ray.wait(list(running))[0]:
                item = running.pop(reference)
                try:
                    yield ray.get(reference)
                except ray.exceptions.RayError as error:
                    yield Outcome(item, error=" ".join(f"{type(error).__name__}: {error}".split())[:500])
    finally:
        for reference in running:
            ray.cancel(reference, force=True)
        ray.shutdown()
