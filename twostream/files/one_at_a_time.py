"""Work that one process does at a time, while others wait for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from twostream.files.disk_errors import naming
from twostream.files.lock import BEAT_SECONDS, Claim

POLL_SECONDS = 1.0


@contextmanager
def alone(target: Path, note: Callable[[str], None]) -> Iterator[None]:
    """Holds the right to work on `target` in the block. If another process has it, calls `note`, then waits for it."""
    claim, done = Claim(target), threading.Event()
    with naming(claim.lock):
        if not claim.take():
            note(f"{target.parent}: another process is at the same work; waiting for its end")
            while not claim.take():
                time.sleep(POLL_SECONDS)

    def beat() -> None:
        while not done.wait(BEAT_SECONDS):
            claim.beat()

    threading.Thread(target=beat, daemon=True).start()
    try:
        yield
    finally:
        done.set()
        claim.release()
