"""One of several processes that fails ends the whole job soon, and the first that is told is why."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .conftest import ROOT, Training, losses

pytestmark = pytest.mark.faults
FEW = ["num_workers=0", "data.train_clips=48", "data.test_clips=16", "validation_fraction=0.34"]
TWO = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "epochs=1000", *FEW]
LOST = "since the last checkpoint"


def of_rank(rank: int, folder: Path) -> int:
    """The process that trains in this folder under this number."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            environment = (path / "environ").read_bytes().split(b"\0")
            if f"LOCAL_RANK={rank}".encode() in environment and str(folder).encode() in (path / "cmdline").read_bytes():
                return int(path.name)
        except OSError:
            continue
    raise AssertionError(f"no process of rank {rank}")


def ends(training: Training, began: float) -> float:
    """Seconds until the job has ended, badly; nothing of it is left."""
    assert training.end(60) == 1
    took = time.monotonic() - began
    for rank in (0, 1):
        with pytest.raises(AssertionError, match="no process"):
            of_rank(rank, training.folder)
    return took


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank(rank: int, start, outcome) -> None:
    training = start("run", *TWO)
    training.wait_for(lambda: "epoch 1/" in training.output)
    os.kill(of_rank(rank, training.folder), signal.SIGKILL)
    took = ends(training, time.monotonic())
    [first, *_] = [line for line in training.output.splitlines() if line.startswith(("[rank", "error"))]
    assert first == f"[rank {rank}] was killed by SIGKILL (out of memory?)"
    outcome(f"SIGKILL of rank {rank} of 2", f"named first, all ended in {took:.0f} s", LOST)


def test_a_killed_rank_while_the_other_hangs(start, outcome) -> None:
    training = start("run", *TWO)
    training.wait_for(lambda: "epoch 1/" in training.output)
    os.kill(of_rank(0, training.folder), signal.SIGSTOP)
    os.kill(of_rank(1, training.folder), signal.SIGKILL)
    took = ends(training, time.monotonic())
    assert took < 30
    outcome(
        "SIGKILL of a rank, the other hangs", f"named first, all ended in {took:.0f} s", "since the last checkpoint"
    )


def test_who_started_them_is_killed(start, outcome) -> None:
    training = start("run", *TWO)
    training.wait_for(lambda: "epoch 1/" in training.output)
    training.kill()
    time.sleep(2)
    for rank in (0, 1):
        with pytest.raises(AssertionError, match="no process"):
            of_rank(rank, training.folder)
    outcome("SIGKILL of the process that started the ranks", "they end, too", LOST)


def test_two_ranks_are_asked_to_stop_and_go_on(start, outcome) -> None:
    training = start("run", *TWO, "epochs=3")
    training.wait_for(lambda: "epoch 1/" in training.output)
    training.process.send_signal(signal.SIGTERM)
    assert training.end() == 143, training.output
    assert training.output.count("stopped by SIGTERM") == 1
    again = start("run")
    assert again.end() == 0, again.output
    assert again.output.count("going on ") == 1
    whole = start("whole", *TWO, "epochs=3")
    assert whole.end() == 0, whole.output
    assert losses(again.folder) == losses(whole.folder)
    assert again.steps == whole.steps, "no step of any rank was done twice"
    outcome("SIGTERM to two ranks", "both stop at the same step; same losses", "0 steps")


@pytest.mark.parametrize("how", ["plain", "torchrun"])
def test_the_error_of_a_rank_is_shown_first(how: str, start, shared_cache: Path, tmp_path: Path, outcome) -> None:
    """Only one of the processes meets the broken video."""
    render = start("render", *FEW, "epochs=0", f"data.root={tmp_path}/data")
    assert render.end() == 0, render.output
    [broken] = (tmp_path / "data").rglob("train-00008.mp4")
    broken.write_bytes(b"")
    began = time.monotonic()
    training = start("run", *TWO, f"data.root={tmp_path}/data") if how == "plain" else None
    if training is None:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "train.py"]
        words = [*TWO, f"data.root={tmp_path}/data", f"hydra.run.dir={tmp_path}/run", "logger=csv", "batch_size=8"]
        done = subprocess.run([*command, *words], cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 1
        output = done.stderr
    else:
        assert training.end(60) == 1
        output = training.output
    [first, *_] = [line for line in output.splitlines() if line.startswith(("[rank", "error", "Traceback"))]
    assert first.startswith("[rank ")
    assert first.endswith("train-00008.mp4: is empty")
    assert (tmp_path / "run" / "error.txt").read_text().endswith("train-00008.mp4: is empty\n")
    outcome(
        f"broken video in one of two ranks, {how}",
        f"named first, ended {time.monotonic() - began:.0f} s after start",
        "-",
    )
