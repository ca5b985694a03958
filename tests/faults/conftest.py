"""Fault injection into real training processes: `pytest -m faults` prints a table of what became of each fault."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPY = Path(__file__).with_name("counted_train.py")
SMALL = [
    *("data.train_clips=160", "data.test_clips=48", "epochs=3", "batch_size=8", "num_workers=1", "logger=csv"),
    *("log_every=1", "checkpoint_minutes=0.01"),
]
rows: list[tuple[str, str, str]] = []


class Training:
    """A process of train.py, and how many steps it has done."""

    def __init__(self, folder: Path, arguments: Sequence[str], **environment: str) -> None:
        self.folder = folder
        self.counted = folder.with_name(f"{folder.name}.steps")
        self.log = folder.with_name(f"{folder.name}.log")
        folder.parent.mkdir(parents=True, exist_ok=True)
        variables = {**os.environ, "OMP_NUM_THREADS": "1", "COUNT_STEPS_IN": str(self.counted), **environment}
        self.before = self.steps
        self.process = subprocess.Popen(
            [sys.executable, str(SPY), *arguments],
            cwd=ROOT,
            env=variables,
            stdout=self.log.open("a"),
            stderr=subprocess.STDOUT,
        )

    @property
    def steps(self) -> int:
        """Optimizer steps done in this folder, also those that were done twice."""
        return self.counted.stat().st_size if self.counted.exists() else 0

    def wait_for(self, condition: Callable[[], bool], seconds: float = 90.0) -> None:
        """Until the condition holds; fails when the process ends before."""
        give_up = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.output[-2000:]
            assert time.monotonic() < give_up, self.output[-2000:]
            time.sleep(0.01)

    def wait_for_steps(self, number: int) -> None:
        """Until so many are done, in all processes that have worked in this folder."""
        self.wait_for(lambda: self.steps >= number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self, seconds: float = 120.0) -> int:
        """The exit code."""
        try:
            return self.process.wait(seconds)
        finally:
            self.process.kill()

    @property
    def output(self) -> str:
        return self.log.read_text()


@pytest.fixture
def start(tmp_path: Path, shared_cache: Path):
    """Starts train.py in a folder, or goes on there."""
    started: list[Training] = []

    def begin(name: str, *arguments: str, **environment: str) -> Training:
        folder = tmp_path / name
        words = [f"resume={folder}"] if (folder / "overrides.json").exists() else [*SMALL, f"hydra.run.dir={folder}"]
        started.append(Training(folder, [*words, *arguments], TWOSTREAM_CACHE=str(shared_cache), **environment))
        return started[-1]

    yield begin
    for training in started:
        training.process.kill()


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the embedded data set is rendered, once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Training:
    """The run that nothing happens to."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    training = Training(folder, [*SMALL, f"hydra.run.dir={folder}"], TWOSTREAM_CACHE=str(shared_cache))
    assert training.end() == 0, training.output
    return training


def losses(folder: Path) -> list[tuple[int, float]]:
    """(step, loss) of every training step that `metrics.csv` tells of."""
    with (folder / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["train/loss_step"]]
    return [(int(row["step"]), float(row["train/loss_step"])) for row in rows]


@pytest.fixture
def outcome():
    """Notes a line of the table: fault, outcome, lost work."""
    return lambda fault, came_of_it, lost: rows.append((fault, came_of_it, str(lost)))


def pytest_terminal_summary(terminalreporter) -> None:
    if not rows:
        return
    terminalreporter.section("faults")
    widths = [max(len(row[column]) for row in [*rows, ("fault", "outcome", "lost work")]) for column in range(3)]
    for row in [("fault", "outcome", "lost work"), *rows]:
        terminalreporter.write_line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))
