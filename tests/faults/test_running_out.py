"""Training that runs out of disk, memory, file handles or W&B: one line that says what to do, and nothing is lost."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from .conftest import ROOT, Training, losses

pytestmark = pytest.mark.faults

TINY = ["data.train_clips=32", "data.test_clips=16", "epochs=1", "batch_size=8", "validation_fraction=0", "log_every=1"]
WITHOUT_MEMORY = """
import runpy, sys, torch
from twostream.training.system import TwoStreamSystem
step = TwoStreamSystem.training_step
def starved(self, clip, number):
    if number == 2:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    return step(self, clip, number)
TwoStreamSystem.training_step = starved
sys.argv[0] = "train.py"
runpy.run_path("train.py", run_name="__main__")
"""


def train(folder: Path, cache: Path, *options: str, under: str = "", code: str | None = None, **environment: str):
    """A whole run of train.py with stdout and stderr; `under` is shell that makes the world scarce before it starts."""
    python = [sys.executable, *(["-c", code] if code else ["train.py"])]
    command = [*python, *TINY, "logger=csv", *options, f"hydra.run.dir={folder}"]
    if under:
        command = ["unshare", "-m", "sh", "-c", f'{under} && exec "$@"', "sh", *command]
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "TWOSTREAM_CACHE": str(cache), **environment}
    return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=200, check=False)


def one_line_of(output: str, *, traceback: bool = False) -> str:
    """The error that a run ended with: one line, no traceback, and how to go on."""
    assert traceback or "Traceback" not in output, output
    [line] = [line for line in output.splitlines() if line.startswith("error:")]
    assert "What was saved before is whole; python train.py resume=" in line
    return line


def parts_of_files(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.name.endswith((".part", ".tmp"))]


@pytest.fixture
def may_mount() -> None:
    if not shutil.which("unshare") or subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")


@pytest.fixture
def disk(tmp_path: Path, may_mount: None) -> Iterator[Path]:
    """A disk of 5 MB in memory: room for two checkpoints, not for three."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=5m", "none", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_full_disk_while_checkpointing(disk: Path, shared_cache: Path, undisturbed: Training, outcome) -> None:
    words = [*undisturbed.process.args[2:-1], f"hydra.run.dir={disk}/run"]  # type: ignore[index]
    full = Training(disk / "run", words, TWOSTREAM_CACHE=str(shared_cache))
    assert full.end() == 1, full.output
    line = one_line_of(full.output)
    assert "the disk is full" in line
    assert ".ckpt): make room there" in line
    kept = list((disk / "run" / "checkpoints").iterdir())
    assert kept
    assert all("state_dict" in torch.load(path, weights_only=True) for path in kept)
    assert not parts_of_files(disk)
    done = losses(undisturbed.folder)[: len(losses(disk / "run"))]
    assert losses(disk / "run") == done
    subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
    last = Training(disk / "run", [f"resume={disk / 'run'}"], TWOSTREAM_CACHE=str(shared_cache))
    assert last.end() == 0, last.output
    assert losses(disk / "run") == losses(undisturbed.folder)
    ours, theirs = (json.loads((f / "results.json").read_text())["metrics"] for f in (disk / "run", undisturbed.folder))
    assert ours == theirs
    outcome(
        "disk full at a checkpoint",
        "one line, exit code 1; same losses and results",
        f"{last.steps - undisturbed.steps} steps",
    )


def test_full_disk_while_rendering(disk: Path, tmp_path: Path, outcome) -> None:
    subprocess.run(["mount", "-o", "remount,size=100k", str(disk)], check=True)
    done = train(tmp_path / "run", disk)
    assert done.returncode == 1
    assert "the disk is full" in one_line_of(done.stderr)
    assert os.listdir(disk) == []
    subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
    assert train(tmp_path / "run", disk).returncode == 0
    outcome("disk full while rendering", "one line, exit code 1; nothing left of the data", "nothing")


def test_full_memory_while_caching(tmp_path: Path, shared_cache: Path, may_mount, outcome) -> None:
    done = train(
        tmp_path / "run",
        shared_cache,
        "data.cache=ram",
        "num_workers=0",
        under="mount -t tmpfs -o size=2m none /dev/shm",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("others are decoded each time") == 1
    outcome("/dev/shm full with data.cache=ram", "one warning, decodes the rest each time", "nothing")


def test_too_few_file_handles(tmp_path: Path, shared_cache: Path, may_mount, outcome) -> None:
    done = train(tmp_path / "run", shared_cache, "num_workers=2", under="ulimit -n 20")
    assert done.returncode == 1
    line = one_line_of(done.stderr, traceback=True)  # of Python's own, cleaning up in a worker without a handle left
    assert "too many open files (the limit is 20): raise it with `ulimit -n`, or lower num_workers" in line
    outcome("ulimit -n 20, two workers", "one line, exit code 1; the usual soft limit is raised by itself", "0 steps")


def test_too_little_shared_memory(tmp_path: Path, shared_cache: Path, may_mount, outcome) -> None:
    done = train(tmp_path / "run", shared_cache, "num_workers=2", under="mount -t tmpfs -o size=300k none /dev/shm")
    assert done.returncode == 1
    line = one_line_of(done.stderr)
    assert "the shared memory (/dev/shm) is too small" in line
    assert "num_workers, prefetch or batch_size" in line
    assert "docker run --shm-size" in line
    outcome("/dev/shm of 300 KB, two workers", "one line, exit code 1", "0 steps")


def test_out_of_gpu_memory(tmp_path: Path, shared_cache: Path, outcome) -> None:
    """Pretended: the tests have no GPU."""
    done = train(tmp_path / "run", shared_cache, "num_workers=0", "checkpoint_minutes=0", code=WITHOUT_MEMORY)
    assert done.returncode == 1
    line = one_line_of(done.stderr)
    for word in ("the GPU is out of memory", "accumulate=auto", "transform.size", "precision=", "test_batch_size"):
        assert word in line
    assert (tmp_path / "run" / "checkpoints" / "recovery-00000-0000002.ckpt").exists()
    outcome("GPU out of memory in step 3", "one line, exit code 1; saved after step 2", "0 steps")


def test_wandb_that_is_dead_or_silent(tmp_path: Path, shared_cache: Path, outcome) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never answers
        seconds = {}
        for name, port in (("csv", None), ("dead", 9), ("silent", silent.getsockname()[1])):
            options = ["logger=csv"] if port is None else ["logger=wandb", "logger.wandb.mode=online"]
            started = time.monotonic()
            done = train(
                tmp_path / name,
                shared_cache,
                "num_workers=0",
                *options,
                WANDB_BASE_URL=f"http://127.0.0.1:{port}",
                WANDB_API_KEY="0" * 40,
            )
            seconds[name] = time.monotonic() - started
            assert done.returncode == 0, done.stderr
            assert (tmp_path / name / "metrics.csv").read_text() == (tmp_path / "csv" / "metrics.csv").read_text()
            if port is not None:
                assert done.stdout.count("does not answer; this run is logged offline: wandb sync") == 1
                [written] = (tmp_path / name).glob("wandb/offline-run-*/run-*.wandb")
                kept = written.read_bytes()
                assert kept.count(b"train/loss_step") >= len(losses(tmp_path / name)) == 4
                assert b"test/top1" in kept
            if name == "dead":
                assert "Traceback" not in done.stderr
    dead, silence = (seconds[name] - seconds["csv"] for name in ("dead", "silent"))
    assert dead < 15
    assert silence < 20
    outcome("W&B at a dead address", f"goes on offline, {dead:+.1f} s in all", "nothing")
    outcome("W&B that never answers", f"goes on offline, {silence:+.1f} s in all", "nothing")
