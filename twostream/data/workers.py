"""What each process of the loader does first."""

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
    """One thread for each worker; when to stop is for the main process to say; a batch that is lost is an error."""
    pin_threads()
    _leave_signals_to_main_process()
    Queue._on_queue_feeder_error = _tell_main_process  # type: ignore[attr-defined]  # a hook, of this process alone


def _leave_signals_to_main_process() -> None:
    """SLURM, systemd and Ctrl-C signal all processes of a job; without its workers no step can be finished."""
    for number in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is None or not hasattr(signal, "sigwaitinfo"):  # Linux has it
        return

    def wait() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent.pid:  # PyTorch ends workers by that signal
            pass
        os._exit(0)

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=wait, daemon=True).start()


def _tell_main_process(queue: Any, error: Exception, item: Any) -> None:
    """Send the error in place of the batch: Python would print it and drop the batch, PyTorch would wait for that.

    Seen where a worker has no file handle left to pass a tensor on (`ulimit -n`).
    """
    number, _batch = item
    queue.put((number, ExceptionWrapper(where="in a worker of the loader, handing over a batch")))
