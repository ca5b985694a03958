"""Prepares each worker process of a loader."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing.queues import Queue
from typing import Any

from torch._utils import ExceptionWrapper

from twostream.data.flow import pin_threads


def start_worker(_worker: int) -> None:
    """Gives the worker one thread, leaves signals to the main process, and makes a batch that is lost an error."""
    pin_threads()
    _leave_signals_to_main_process()
    Queue._on_queue_feeder_error = _tell_main_process  # type: ignore[attr-defined]  # a hook; only in this process


def _leave_signals_to_main_process() -> None:
    """Ignores the signals that SLURM, systemd and Ctrl-C send to all processes: a step needs its workers to finish.

    SIGTERM ends the worker only if it comes from the main process (PyTorch ends its workers so).
    """
    for number in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is None or not hasattr(signal, "sigwaitinfo"):  # Linux has it
        return

    def wait() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent.pid:  # PyTorch ends workers by SIGTERM
            pass
        os._exit(0)

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=wait, daemon=True).start()


def _tell_main_process(queue: Any, error: Exception, item: Any) -> None:
    """Sends the error in place of the batch. Python alone would print it, and PyTorch would wait for the lost batch.

    This happens if a worker has no file handle left (`ulimit -n`) to pass a tensor on.
    """
    number, _batch = item
    queue.put((number, ExceptionWrapper(where="in a worker of the loader, handing over a batch")))
