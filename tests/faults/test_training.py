"""Training that is killed, asked to stop, or loses a part of itself ends as the run that was left alone."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from twostream.runs.interrupted import recovery_files

from .conftest import Training, losses

pytestmark = pytest.mark.faults
SINCE_CHECKPOINT = 8  # steps at most; PyTorch tells of a dead worker also within a step, which cannot be saved


def same_end(training: Training, undisturbed: Training) -> int:
    """Asserts that the runs are one, number for number; returns how many steps were done twice."""
    assert losses(training.folder) == losses(undisturbed.folder)
    assert (training.folder / "metrics.csv").read_text() == (undisturbed.folder / "metrics.csv").read_text()
    ours, theirs = (json.loads((t.folder / "results.json").read_text())["metrics"] for t in (training, undisturbed))
    assert ours == theirs
    assert [path.name for path in (training.folder / "checkpoints").iterdir()] == ["best.ckpt"]
    return training.steps - undisturbed.steps


def children(process: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        found += [int(child) for child in task.read_text().split()]
    return found


def test_killed_twenty_times(start, undisturbed: Training, outcome) -> None:
    chance = random.Random(0)
    for number in range(20):
        training = start("run")
        if number % 5 == 4:  # while it starts, or tests
            time.sleep(chance.uniform(0.5, 6))
        else:
            training.wait_for_steps(training.steps + chance.randint(1, 4))
            time.sleep(chance.uniform(0, 0.2))
        training.kill()
    last = start("run")
    assert last.end() == 0, last.output
    again = same_end(last, undisturbed)
    outcome("SIGKILL, 20 times", "same losses and results", f"{again} steps in all")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGINT"])
def test_asked_to_stop(name: str, start, undisturbed: Training, outcome) -> None:
    number = getattr(signal, name)
    training = start("run")
    training.wait_for_steps(25)
    training.process.send_signal(number)
    asked = time.monotonic()
    assert training.end() == 128 + number
    seconds = time.monotonic() - asked
    assert "finishing the step, then saving" in training.output
    last = start("run")
    assert last.end() == 0, last.output
    lost = same_end(last, undisturbed)
    assert lost == 0
    outcome(name, f"saved, exit code {128 + number}, {seconds:.1f} s; same losses and results", "0 steps")


def test_signal_to_the_whole_group(start, undisturbed: Training, outcome) -> None:
    """As SLURM and `timeout` do: loader workers get it, too."""
    training = start("run")
    training.wait_for_steps(25)
    processes = [training.process.pid, *children(training.process.pid)]
    subprocess.run(["kill", "-TERM", *map(str, processes)], check=True)  # from none of them
    assert training.end() == 143, training.output
    last = start("run")
    assert last.end() == 0, last.output
    lost = same_end(last, undisturbed)
    assert lost == 0
    outcome("SIGTERM to all processes", "saved, exit code 143; same losses and results", f"{lost} steps")


def test_ctrl_c_twice_stops_at_once(start, outcome) -> None:
    training = start("run")
    training.wait_for_steps(3)
    training.process.send_signal(signal.SIGSTOP)  # both arrive within one step
    training.process.send_signal(signal.SIGINT)
    training.process.send_signal(signal.SIGCONT)
    time.sleep(0.01)
    training.process.send_signal(signal.SIGINT)
    assert training.end(20) == 130
    assert recovery_files(training.folder / "checkpoints")
    outcome("Ctrl-C twice", "stopped at once, the last checkpoint is whole", "since that")


def test_damaged_newest_checkpoint(start, undisturbed: Training, outcome) -> None:
    training = start("run")
    training.wait_for_steps(30)
    training.kill()
    newest, _ = recovery_files(training.folder / "checkpoints")
    with newest.open("r+b") as file:
        file.seek(newest.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
    last = start("run")
    assert last.end() == 0, last.output
    assert f"{newest}: damaged" in last.output
    lost = same_end(last, undisturbed)
    outcome("newest checkpoint damaged", "said so, the one before; same losses and results", f"{lost} steps")


def test_killed_loader_worker(start, undisturbed: Training, outcome) -> None:
    training = start("run", "num_workers=1")
    training.wait_for_steps(25)
    [worker] = [child for child in children(training.process.pid) if is_worker(child)][:1]
    os.kill(worker, signal.SIGKILL)
    assert training.end() == 1
    assert "worker" in training.output
    last = start("run")
    assert last.end() == 0, last.output
    lost = same_end(last, undisturbed)
    assert lost <= SINCE_CHECKPOINT
    outcome("loader worker killed", "one message, saved, exit code 1; same losses and results", f"{lost} steps")


def is_worker(process: int) -> bool:
    """A copy of its parent, not a program of its own such as Python's resource tracker."""
    words = Path(f"/proc/{process}/cmdline").read_bytes()
    return b"counted_train" in words


def test_hanging_decode(start, outcome) -> None:
    training = start("run", "decode_timeout=3", "broken=skip", "epochs=1", HANG_ON="train-00007")
    assert training.end() == 0, training.output
    [left_out] = json.loads((training.folder / "results.json").read_text())["unreadable"].values()
    assert [name.rpartition("/")[2] for name in left_out] == ["train-00007.mp4"]
    outcome("a decode that hangs", "left out after decode_timeout, named in results.json", "that video")
