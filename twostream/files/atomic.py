"""Writes files and folders atomically, whole or not at all, and deletes what killed writers have left behind.

While it is written, a file is called `.NAME.PROCESS-HOST….KIND`, in the folder of its final name. The host is in the
name because several machines may share the disk: a process id says nothing without it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from twostream.files.disk_errors import naming
from twostream.files.lock import host, is_running

ABANDONED_SECONDS = 24 * 3600.0  # after so long unchanged, a file of another machine counts as left behind
NAME = re.compile(r"\.(?P<of>.+)\.(?P<process>\d+)-(?P<host>[0-9a-f]{4})[0-9a-f]{4}\.(?P<kind>[a-z0-9]+)", re.DOTALL)
KINDS = ("part", "tmp", "new", "mp4")  # kinds of unfinished things: a file, a file of a flow store, a folder, a film


@contextmanager
def atomic_file(path: Path, *, tidy: bool = True) -> Iterator[Path]:
    """Yields a path in the same folder to write to; renames it to `path` after the block, or deletes it on an error.

    First deletes what killed writers of `path` have left behind. This lists the folder: give `tidy=False` if it holds
    thousands of files. Errors of the disk name `path`.
    """
    with naming(path):
        if tidy:
            remove_left_behind(path.parent, of=path)
        aside = aside_of(path, "part")
        try:
            yield aside
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)


def aside_of(path: Path, kind: str) -> Path:
    """Returns a new name in the folder of `path` that only this process uses."""
    return path.with_name(f".{path.name[:100]}.{os.getpid()}-{_host_mark()}{uuid.uuid4().hex[:4]}.{kind}")


def left_behind(folder: Path, *, of: Path | None = None, kinds: tuple[str, ...] = KINDS) -> Iterator[Path]:
    """Yields what ended processes have left unfinished in a folder; with `of`, only what belongs to that file."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            found = NAME.fullmatch(entry.name)
            if found is None or found["kind"] not in kinds or (of is not None and found["of"] != of.name[:100]):
                continue
            if _is_gone(found, Path(entry.path)):
                yield Path(entry.path)


def remove_left_behind(folder: Path, *, of: Path | None = None) -> None:
    """Deletes what `left_behind` finds."""
    for path in left_behind(folder, of=of):
        delete(path)


def delete(path: Path) -> None:
    """Deletes a file, a link, or a folder with its content; leaves what cannot be deleted."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yields a new folder to write into, which replaces `folder` after the block; deletes it on an error."""
    for path in left_behind(folder.parent, of=folder, kinds=("old",)):  # killed between both renames below
        if folder.exists():
            delete(path)
        else:
            path.rename(folder)
    remove_left_behind(folder.parent, of=folder)
    aside, old = aside_of(folder, "new"), aside_of(folder, "old")
    aside.mkdir(parents=True)
    try:
        yield aside
        if folder.exists():
            folder.rename(old)
        aside.rename(folder)
    finally:
        if old.exists() and not folder.exists():  # the second rename failed
            old.rename(folder)
        delete(aside)
        delete(old)


def _is_gone(found: re.Match[str], path: Path) -> bool:
    if found["host"] == _host_mark():
        return not is_running(int(found["process"]))
    try:
        return time.time() - path.lstat().st_mtime > ABANDONED_SECONDS
    except OSError:
        return False


def _host_mark() -> str:
    return hashlib.sha256(host().encode()).hexdigest()[:4]
