"""Writes something of one video into a folder; if several processes try, one writes."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import threading
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import NamedTuple

from twostream.data.flow import pin_threads
from twostream.data.sources import Video
from twostream.files.lock import Claim

FULL = (errno.ENOSPC, errno.EDQUOT)  # the errors of a full disk and a full quota


class ClipResult(NamedTuple):
    """The result of one video; `done` is one of four words.

    "computed": its file was written, with `items`; "there": it was there already; "elsewhere": another process works
    on it; "disk full": it could not be written.
    """

    done: str
    items: int = 0
    bytes: int = 0
    seconds: float = 0.0


class VideoTask(ABC):
    """Task for `run_tasks`: writes the file of a video below `root`. Uses one thread.

    Does nothing if the file is there already, or if another process works on it. What `write` leaves unfinished has to
    be named by `aside_of(path, "tmp")`: then nothing is left of a process that is stopped.
    """

    items = "items"  # what a file holds, in words
    steps = "items"  # what is counted by the second

    def __init__(self, root: Path) -> None:
        self.root = root

    @abstractmethod
    def path(self, video: Video) -> Path:
        """Returns the file of a video, which appears whole or not at all."""

    @abstractmethod
    def is_there(self, video: Video) -> bool:
        """Whether the file is whole, and was made from the video as it is now. Raises OSError without the video."""

    @abstractmethod
    def write(self, video: Video, claim: Claim) -> tuple[int, int]:
        """Writes the file, and renews the claim meanwhile. Returns its items and its bytes."""

    def __call__(self, video: Video) -> ClipResult:
        _settle()
        try:
            return self._claimed(video)
        except OSError as error:  # a full disk is not the video's fault, and stops the whole run
            if error.errno in FULL:
                return ClipResult("disk full")
            raise

    def _claimed(self, video: Video) -> ClipResult:
        if self.is_there(video):
            return ClipResult("there")
        claim = Claim(self.path(video))
        _held.append(claim)  # before taking it: the process may be told to stop at any moment
        try:
            if not claim.take():
                return ClipResult("elsewhere")
            if self.is_there(video):  # by the process that had the claim before
                return ClipResult("there")
            started = time.perf_counter()
            items, size = self.write(video, claim)
            return ClipResult("computed", items, size, time.perf_counter() - started)
        finally:
            claim.release()
            _held.remove(claim)


_held: list[Claim] = []  # the claim of this process: one at most
_settled = False


def _settle() -> None:
    """Sets up a worker process, once: one thread, and its claim is given up if it is stopped or its parent dies."""
    global _settled
    parent = multiprocessing.parent_process()
    if _settled or parent is None:
        return
    _settled = True
    pin_threads()
    signal.signal(signal.SIGTERM, lambda *_: _leave())

    def watch() -> None:
        parent.join()
        _leave()

    # otherwise the processes of a pool whose parent was killed would wait for work for ever
    threading.Thread(target=watch, daemon=True).start()


def _leave() -> None:
    for claim in list(_held):
        claim.abandon()
    os._exit(1)
