"""Lock files: only one process at a time works on a file, such as the flow of a clip or the results of a run.

A lock lies beside its file. It holds the host, the process id, the start of the process, a token, and the SLURM job
with the number of times that it was requeued. A lock is stale if its process is known to have ended (on the same host,
or in the same SLURM job before it was requeued, on any host), or if it was not refreshed for STALE_SECONDS. Exactly one
process removes a stale lock, by renaming it. If two processes work on one clip all the same, each writes the same whole
file: work is lost, but nothing else.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
import uuid
from contextlib import suppress
from pathlib import Path

from twostream.files.signals import slurm_job

STALE_SECONDS = 600.0  # without a refresh; the flow of a pair of frames takes seconds at most
BEAT_SECONDS = 30.0
UNREADABLE_SECONDS = 5.0  # for a lock whose process died, or found the disk full, before filling it


class Claim:
    """The right to write one file, from `take` to `release`."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.lock = lock_path(target)
        self.token = uuid.uuid4().hex
        self._beaten = 0.0
        self._made = False

    def take(self) -> bool:
        """Takes the lock. Returns False if a living process has it. Raises OSError if no lock can be written."""
        self.lock.parent.mkdir(parents=True, exist_ok=True)
        if self._create():
            return True
        return _remove_stale(self.lock) and self._create(after_stale=True)

    def beat(self) -> None:
        """Refreshes the lock to show that this process lives; costs nothing if it is called often."""
        now = time.monotonic()
        if now - self._beaten > BEAT_SECONDS:
            self._beaten = now
            if self._is_ours():
                with suppress(FileNotFoundError):
                    os.utime(self.lock)

    def release(self) -> None:
        """Removes the lock if it is ours."""
        if not self._made:
            return
        if self._is_ours() or (_read(self.lock) is None and self.lock.exists()):  # or we made it and did not fill it
            self.lock.unlink(missing_ok=True)
        self._made = False

    def abandon(self) -> None:
        """Removes the lock, and what this process has written of the unfinished file."""
        if self._made:
            remove_leftovers(self.target, os.getpid())
        self.release()

    def _create(self, *, after_stale: bool = False) -> bool:
        try:
            descriptor = os.open(self.lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return False
        self._made = True
        try:
            os.write(descriptor, json.dumps({**_me(), "token": self.token}).encode())
        finally:
            os.close(descriptor)
        self._beaten = time.monotonic()
        if after_stale:  # a process that was killed leaves its lock and its unfinished file, always both
            remove_leftovers(self.target)
        return True

    def _is_ours(self) -> bool:
        return (_read(self.lock) or {}).get("token") == self.token


def lock_path(target: Path) -> Path:
    """Returns the path of the lock of a file."""
    return target.with_name(f".{target.name}.claim")


def is_held(target: Path) -> bool:
    """Whether a living process works on the file."""
    lock = lock_path(target)
    return lock.exists() and not _is_stale(lock)


def remove_stale_claim(target: Path) -> None:
    """Removes the lock of a process that was killed after the file was whole."""
    lock = lock_path(target)
    if lock.exists() and _is_stale(lock):
        claim = Claim(target)
        if claim.take():
            claim.release()


def remove_leftovers(target: Path, process: int | None = None) -> None:
    """Deletes what `write_container` has left unfinished of the file: from one process, or from all."""
    start = re.escape(f".{target.name[:100]}.")
    unfinished = re.compile(rf"{start}{process or r'[0-9]+'}-[0-9a-f]{{8}}\.tmp")
    with os.scandir(target.parent) as entries:
        found = [entry.path for entry in entries if unfinished.fullmatch(entry.name)]
    for path in found:
        Path(path).unlink(missing_ok=True)


def _remove_stale(lock: Path) -> bool:
    """Removes a stale lock. Returns False if it is not stale, or if another process was faster."""
    before = _read(lock)
    if not _is_stale(lock):
        return False
    aside = lock.with_name(f"{lock.name}.{uuid.uuid4().hex[:8]}.stale")
    try:
        lock.rename(aside)
    except FileNotFoundError:
        return True  # released meanwhile
    ours = _read(aside) == before
    if not ours:  # another process made a new lock between our reading and renaming: give it back
        with suppress(OSError):
            os.link(aside, lock)
    aside.unlink(missing_ok=True)
    return ours


def _is_stale(lock: Path) -> bool:
    holder = _read(lock)
    try:
        age = time.time() - lock.stat().st_mtime
    except FileNotFoundError:
        return True
    if holder is None:
        return age > UNREADABLE_SECONDS
    me = _me()
    gone = holder.get("host") == me["host"] and _started(int(holder.get("pid", 0))) != holder.get("started")
    ended = me["job"] is not None and holder.get("job") == me["job"] and holder.get("requeued") != me["requeued"]
    return gone or ended or age > STALE_SECONDS


def _read(lock: Path) -> dict | None:
    try:
        holder = json.loads(lock.read_text())
    except (OSError, ValueError, RecursionError):
        return None
    return holder if isinstance(holder, dict) and isinstance(holder.get("pid", 0), int) else None


def host() -> str:
    """Returns the host within which process ids are unique: each container of a machine has ids of its own."""
    try:
        numbers = os.readlink("/proc/self/ns/pid")
    except OSError:
        numbers = ""
    return f"{socket.gethostname()} {numbers}".strip()


def is_running(process: int) -> bool:
    """Whether there is a process of that number on this host."""
    return _started(process) is not None


def _me() -> dict[str, object]:
    """Returns what identifies this process to other processes."""
    return {
        "host": host(),
        "pid": os.getpid(),
        "started": _started(os.getpid()),
        "job": slurm_job(),
        "requeued": os.environ.get("SLURM_RESTART_COUNT", "0"),
    }


def _started(process: int) -> str | None:
    """Returns when a process started, in a form to compare, or None if there is no such process.

    A process id alone identifies no process, since the system uses ids again.
    """
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
    else:
        state, *fields = stat.rpartition(")")[2].split()
        return None if state in "ZX" else fields[18]  # field 22 of the line: clock ticks after boot
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return None
    except OSError:
        pass
    return "alive"
