"""What `data.cache` saves, both sides in one run: `python -m benchmarks.kept [--epochs E] [--jobs N] [OVERRIDE…]`.

Without overrides, of the embedded data set; real clips: `data=folder data.root=DIR`.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from twostream.config.compose import compose_config
from twostream.config.data import build_source, clip_parts
from twostream.data.dataset import ClipDataset
from twostream.data.flow import pin_threads

SIDES: tuple[str, str] = ("null", "ram")
TRAIN = Path(__file__).parents[1] / "train.py"


def datasets(overrides: Sequence[str]) -> dict[str, ClipDataset]:
    """Returns the training clips without and with a cache: {value of data.cache: clips}."""
    cfg = compose_config([*overrides])
    source = build_source(cfg)
    parts = {side: clip_parts(compose_config([*overrides, f"data.cache={side}"]), source) for side in SIDES}
    return {side: ClipDataset(source.train, training=True, **parts[side]) for side in SIDES}


def bench_clips(overrides: Sequence[str], *, clips: int, epochs: int) -> None:
    """Prints the CPU milliseconds of a clip in each epoch, on one core; each clip is made by both sides in turn."""
    sides = datasets(overrides)
    clips = min(clips, len(sides["null"]))
    print(f"CPU ms a clip, of {clips}; ram keeps {'frames and fields' if sides['ram'].kept else 'frames'}")
    for epoch in range(epochs):
        seconds: dict[str, float] = dict.fromkeys(SIDES, 0.0)
        for index in range(clips):
            made = []
            for side, dataset in sides.items():
                started = time.process_time()
                made.append(dataset[epoch, index])
                seconds[side] += time.process_time() - started
            assert all(torch.equal(one, other) for one, other in zip(*made, strict=True)), "the same bits"
        null, ram = (1e3 * seconds[side] / clips for side in SIDES)
        print(f"epoch {epoch + 1}: data.cache=null {null:.2f}, ram {ram:.2f}, x{ram / null:.2f}", flush=True)


def bench_jobs(overrides: Sequence[str], *, jobs: int) -> None:
    """Prints wall and CPU seconds of whole runs of `train.py`, of both sides in turn; and whether they are alike."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}  # as a user has it
    for _ in range(jobs):
        metrics = []
        for side in SIDES:
            with tempfile.TemporaryDirectory() as folder:
                words = [f"hydra.run.dir={folder}/run", f"data.cache={side}", *overrides]
                before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
                subprocess.run(
                    [sys.executable, str(TRAIN), *words], check=True, env=environment, stdout=subprocess.DEVNULL
                )
                wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
                cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
                metrics.append(Path(folder, "run", "metrics.csv").read_text())
            print(
                f"train.py data.cache={side}: {wall:.1f} s, CPU {cpu:.1f} s; load {os.getloadavg()[0]:.1f}", flush=True
            )
        print(f"metrics.csv equal: {metrics[0] == metrics[1]}")


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser("python -m benchmarks.kept", description=__doc__)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--jobs", type=int, default=0, help="whole runs of each side")
    options = parser.parse_args()
    pin_threads()
    bench_clips(options.overrides, clips=options.clips, epochs=options.epochs)
    bench_jobs(options.overrides, jobs=options.jobs)


if __name__ == "__main__":
    main()
