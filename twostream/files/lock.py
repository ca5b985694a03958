"""One process per clip: a lock file beside it, which outlives its process by seconds at most.

A lock holds host, process id, start of the process, a token, and the SLURM job with how often it was requeued. It is
stale where its process is known to be gone (same host; or the same job before it was requeued, on any host) or where
nobody has refreshed it for long; then it is renamed away, by one process only. Should
two processes all the same work on one clip, each writes the same whole file: work is lost, nothing else.
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

STALE_SECONDS = 600.0  # without a sign of life; a pair takes seconds at most
BEAT_SECONDS = 30.0
UNREADABLE_SECONDS = 5.0  # its process died, or the disk was full, between making and filling it


class Claim:
    """The right to write one file, from `take` to `release`."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.lock = lock_path(target)
        self.token = uuid.uuid4().hex
        self._beaten = 0.0
        self._made = False

    def take(self) -> bool:
        """Whether it is ours now; False where a living process has it. OSError where no lock can be written."""
        self.lock.parent.mkdir(parents=True, exist_ok=True)
        if self._create():
            return True
        return _remove_stale(self.lock) and self._create(after_stale=True)

    def beat(self) -> None:
        """Show that this process lives; costs nothing when called often."""
        now = time.monotonic()
        if now - self._beaten > BEAT_SECONDS:
            self._beaten = now
            if self._is_ours():
                with suppress(FileNotFoundError):
                    os.utime(self.lock)

    def release(self) -> None:
        """Give it back."""
        if not self._made:
            return
        if self._is_ours() or (_read(self.lock) is None and self.lock.exists()):  # or made, and not filled
            self.lock.unlink(missing_ok=True)
        self._made = False

    def abandon(self) -> None:
        """Give it back with the file unfinished."""
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
    """Where the lock of a file is."""
    return target.with_name(f".{target.name}.claim")


def is_held(target: Path) -> bool:
    """Whether a living process works on the file."""
    lock = lock_path(target)
    return lock.exists() and not _is_stale(lock)


def remove_stale_claim(target: Path) -> None:
    """Clear up behind a process that was killed when the file was whole."""
    lock = lock_path(target)
    if lock.exists() and _is_stale(lock):
        claim = Claim(target)
        if claim.take():
            claim.release()


def remove_leftovers(target: Path, process: int | None = None) -> None:
    """Delete what `write_container` left unfinished for the file: of one process, or of all."""
    start = re.escape(f".{target.name[:100]}.")
    unfinished = re.compile(rf"{start}{process or r'[0-9]+'}-[0-9a-f]{{8}}\.tmp")
    with os.scandir(target.parent) as entries:
        found = [entry.path for entry in entries if unfinished.fullmatch(entry.name)]
    for path in found:
        Path(path).unlink(missing_ok=True)


def _remove_stale(lock: Path) -> bool:
    """Take a stale lock away; False where it is not stale, or another process was faster."""
    before = _read(lock)
    if not _is_stale(lock):
        return False
    aside = lock.with_name(f"{lock.name}.{uuid.uuid4().hex[:8]}.stale")
    try:
        lock.rename(aside)
    except FileNotFoundError:
        return True  # released meanwhile
    ours = _read(aside) == before
    if not ours:  # between the look and the rename another process has made it anew: give it back
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
    """Where process ids mean the same: containers of one machine have their own."""
    try:
        numbers = os.readlink("/proc/self/ns/pid")
    except OSError:
        numbers = ""
    return f"{socket.gethostname()} {numbers}".strip()


def is_running(process: int) -> bool:
    """Whether there is a process of that number on this host."""
    return _started(process) is not None


def _me() -> dict[str, object]:
    """This process, as other processes can tell it."""
    return {
        "host": host(),
        "pid": os.getpid(),
        "started": _started(os.getpid()),
        "job": slurm_job(),
        "requeued": os.environ.get("SLURM_RESTART_COUNT", "0"),
    }


def _started(process: int) -> str | None:
    """When a process started, in a form to compare; None where there is none: a process id comes back in time."""
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
