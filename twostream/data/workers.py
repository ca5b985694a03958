"""What each process of the loader does first."""

from __future__ import annotations

from multiprocessing.queues import Queue
from typing import Any

from torch._utils import ExceptionWrapper

from twostream.data.flow import pin_threads


def start_worker(_worker: int) -> None:
    """One thread for each worker; a batch that it cannot hand over is an error, and not waited for without end."""
    pin_threads()
    Queue._on_queue_feeder_error = _tell_main_process  # type: ignore[attr-defined]  # a hook, of this process alone


def _tell_main_process(queue: Any, error: Exception, item: Any) -> None:
    """Send the error in place of the batch: Python would print it and drop the batch, PyTorch would wait for that.

    Seen where a worker has no file handle left to pass a tensor on (`ulimit -n`).
    """
    number, _batch = item
    queue.put((number, ExceptionWrapper(where="in a worker of the loader, handing over a batch")))
