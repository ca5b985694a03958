"""Leftovers, places, links out, errors that name their file, one process at a time."""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from twostream.data.decoding import VideoError
from twostream.data.storage.container import write_container
from twostream.files import one_at_a_time
from twostream.files.atomic import ABANDONED_SECONDS, aside_of, atomic_folder, left_behind, remove_left_behind
from twostream.files.disk_errors import naming
from twostream.files.foreign import inside
from twostream.files.lock import Claim
from twostream.files.one_at_a_time import alone
from twostream.files.writable import is_writable, require_writable
from twostream.runs.results import write_text


def as_process(path: Path, kind: str, process: int, *, elsewhere: bool = False) -> Path:
    """The name that another process would write `path` under."""
    name = aside_of(path, kind).name.replace(f".{os.getpid()}-", f".{process}-")
    if elsewhere:
        before, _, rest = name.partition(f".{process}-")
        name = f"{before}.{process}-{int(rest[:4], 16) ^ 1:04x}{rest[4:]}"
    return path.with_name(name)


@pytest.fixture(scope="module")
def dead() -> int:
    """The number of a process that has ended."""
    return int(subprocess.check_output([sys.executable, "-c", "import os; print(os.getpid())"]))


def test_what_the_dead_have_left_goes_when_the_file_is_written_again(tmp_path: Path, dead: int) -> None:
    path, other = tmp_path / "a.json", tmp_path / "b.json"
    gone = [as_process(path, "part", dead), as_process(path, "mp4", dead)]
    stay = [as_process(path, "part", os.getpid()), as_process(path, "part", dead, elsewhere=True)]
    stay += [as_process(other, "part", dead), tmp_path / ".a.json.part", tmp_path / f".a.json.{dead}-xyz.part"]
    for file in (*gone, *stay):
        file.touch()
    write_text(path, "whole")
    assert {file.name for file in tmp_path.iterdir()} == {"a.json", *(file.name for file in stay)}
    assert [*left_behind(tmp_path)] == [stay[2]]


def test_on_other_machines_a_day_without_a_change_tells(tmp_path: Path, dead: int) -> None:
    path = as_process(tmp_path / "v.frames", "tmp", dead, elsewhere=True)
    path.touch()
    remove_left_behind(tmp_path)
    assert path.exists()
    os.utime(path, times=(0, time.time() - ABANDONED_SECONDS - 60))
    remove_left_behind(tmp_path)
    assert not path.exists()


def test_a_link_that_looks_like_a_leftover_is_deleted_itself(tmp_path: Path, dead: int) -> None:
    (tmp_path / "dear").mkdir()
    (tmp_path / "dear" / "file").touch()
    link = as_process(tmp_path / "x", "new", dead)
    link.symlink_to(tmp_path / "dear")
    remove_left_behind(tmp_path)
    assert (tmp_path / "dear" / "file").exists()
    assert not link.is_symlink()


def test_killed_between_two_renames(tmp_path: Path, dead: int) -> None:
    """The folder of before is put back, and stays where the next one cannot be written."""
    old, new = (as_process(tmp_path / "quick-test", kind, dead) for kind in ("old", "new"))
    (old / "before").mkdir(parents=True)
    new.mkdir()
    with pytest.raises(RuntimeError, match="no"), atomic_folder(tmp_path / "quick-test"):
        raise RuntimeError("no")
    assert [path.name for path in sorted(tmp_path.rglob("*"))] == ["quick-test", "before"]


def test_a_writer_that_is_killed_leaves_what_the_next_one_clears_up(tmp_path: Path) -> None:
    process = os.fork()
    if process == 0:
        with atomic_folder(tmp_path / "made") as work:
            (work / "half").touch()
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(process, 0)
    assert len([*tmp_path.glob(".made.*.new/half")]) == 1
    with atomic_folder(tmp_path / "made"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_links_out_of_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "other.ckpt").touch()
    (folder / "checkpoints" / "best.ckpt").symlink_to("other.ckpt")
    assert inside(folder, "checkpoints/best.ckpt").exists()
    assert inside(folder, "absent") == folder / "absent"
    (tmp_path / "same").symlink_to(folder)
    assert inside(tmp_path / "same", "checkpoints/best.ckpt").exists(), "how the user names the folder is no matter"
    for target in ("/etc/passwd", "..", "/absent", "../run2"):
        (folder / "link").symlink_to(target)
        with pytest.raises(ValueError, match=r"run/link: leads out of the folder, to /"):
            inside(folder, "link")
        (folder / "link").unlink()


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EACCES, "Permission denied"),
        sqlite3.OperationalError("database or disk is full"),
        RuntimeError("[enforce fail at inline_container.cc:595] . unexpected pos 0 vs 1"),
    ],
)
def test_errors_of_a_disk_name_the_file(error: Exception) -> None:
    if isinstance(error, RuntimeError):
        error.__context__ = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match=r"\[Errno (28|13)\] .*: 'a/b\.ckpt'"), naming(Path("a/b.ckpt")):
        raise error


def test_other_errors_stay_what_they_are() -> None:
    errors = OSError(errno.EACCES, "no", "c"), VideoError("v", "no"), ValueError("no"), FileNotFoundError(2, "no")
    for error in errors:
        with pytest.raises(type(error)) as raised, naming(Path("a")):
            raise error from OSError(errno.EACCES, "Permission denied")
        assert raised.value is error


def test_a_disk_that_fills_up_while_a_file_is_written(tmp_path: Path, monkeypatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"v\.frames"):
        write_container(tmp_path / "v.frames", [b"a"], header={})
    assert not [*tmp_path.iterdir()]


def test_places_to_write(tmp_path: Path, monkeypatch) -> None:
    assert is_writable(tmp_path / "a" / "b")
    (tmp_path / "file").touch()
    assert not is_writable(tmp_path / "file" / "a")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ValueError, match=r"/a: nothing can be written there; name another with --out DIR"):
        require_writable(tmp_path / "a", "name another with --out DIR")


def test_one_works_and_the_other_waits(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(one_at_a_time, "POLL_SECONDS", 0.05)
    notes: list[str] = []
    go, ready = os.pipe(), os.pipe()
    process = os.fork()
    if process == 0:
        with alone(tmp_path / "index", notes.append):
            os.write(ready[1], b"1")
            os.read(go[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    assert not Claim(tmp_path / "index").take()

    def note(text: str) -> None:
        notes.append(text)
        os.write(go[1], b"1")

    with alone(tmp_path / "index", note):
        assert not Claim(tmp_path / "index").take()
    os.waitpid(process, 0)
    assert notes == [f"{tmp_path}: another process is at the same work; waiting for its end"]
    with alone(tmp_path / "index", note):
        pass
    assert len(notes) == 1
    assert not [*tmp_path.iterdir()]
