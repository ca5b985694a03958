"""A name in `checkpoints/` is always a whole file."""

from __future__ import annotations

import errno
import os
import re
import resource
import signal
from pathlib import Path

import pytest
import torch

from twostream.runs.checkpoint_io import WholeCheckpoints

SMALL, LARGE = {"a": torch.arange(3)}, {"a": torch.zeros(100_000)}  # some hundred bytes; 400,000 bytes


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def at_most_100_kilobytes():
    """Files cannot grow beyond: to who writes, the same as a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_fills_up_leaves_the_checkpoint_of_before(tmp_path: Path, at_most_100_kilobytes) -> None:
    path = tmp_path / "checkpoints" / "best.ckpt"
    io = WholeCheckpoints()
    io.save_checkpoint(SMALL, path)
    with pytest.raises(OSError, match=r"best\.ckpt") as raised:
        io.save_checkpoint(LARGE, path)
    assert (raised.value.errno, raised.value.filename) == (errno.EFBIG, str(path))
    assert torch.load(path, weights_only=True)["a"].tolist() == [0, 1, 2]
    assert names(path.parent) == ["best.ckpt"]


def test_a_file_is_renamed_only_when_it_is_on_the_disk(tmp_path: Path, monkeypatch) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: seen.append(names(tmp_path)))
    WholeCheckpoints().save_checkpoint(SMALL, tmp_path / "last.ckpt")
    (aside,), after = seen
    assert re.fullmatch(rf"\.last\.ckpt\.{os.getpid()}-[0-9a-f]{{8}}\.part", aside)
    assert after == ["last.ckpt"]


def test_a_kill_leaves_the_checkpoint_of_before_and_the_next_one_clears_up(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    WholeCheckpoints().save_checkpoint(SMALL, path)
    process = os.fork()
    if process == 0:
        os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
        WholeCheckpoints().save_checkpoint(LARGE, path)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(process, 0)[1]) == signal.SIGKILL
    assert len(names(tmp_path)) == 2
    assert names(tmp_path)[0].startswith(f".best.ckpt.{process}-")
    assert torch.load(path, weights_only=True)["a"].tolist() == [0, 1, 2]
    WholeCheckpoints().save_checkpoint(LARGE, tmp_path / "last.ckpt")
    assert names(tmp_path) == ["best.ckpt", "last.ckpt"]


def test_what_cannot_be_saved_is_no_fault_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises((AttributeError, TypeError, RuntimeError), match=r"pickle|local object"):
        WholeCheckpoints().save_checkpoint({"a": lambda: 0}, tmp_path / "best.ckpt")
    assert names(tmp_path) == []
