"""What each process of the loader does first."""

from __future__ import annotations

from multiprocessing.queues import Queue
from typing import Any

from torch._utils import ExceptionWrapper

from twostream.data.flow import pin_threads
from twostream.signals import ignore_signals


def start_worker(_worker: int) -> None:
    """One thread for each worker; when to stop is for the main process to say; a batch that is lost is an error."""
    pin_threads()
    ignore_signals()
    Queue._on_queue_feeder_error = _tell_main_process  # type: ignore[attr-defined]  # a hook, of this process alone


def _tell_main_process(queue: Any, error: Exception, item: Any) -> None:
    """Send the error in place of the batch: Python would print it and drop the batch, PyTorch would wait for that.

    Seen where a worker has no file handle left to pass a tensor on (`ulimit -n`).
    """
    number, _batch = item
    queue.put((number, ExceptionWrapper(where="in a worker of the loader, handing over a batch")))
