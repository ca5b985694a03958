"""How long do commands take before they begin? `python -m benchmarks.start`: whole processes, in CPU seconds, in turns
with the imports that they are compared with."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from twostream.metrics.scores import Scores

TORCH, FLOOR = "import torch", "import torch, pytorch_lightning, hydra"
TRAIN, COMMAND = (str(Path(__file__).parents[1] / "train.py"),), ("-m", "twostream.cli")
LINES = {  # as typed -> arguments of Python
    TORCH: ("-c", TORCH),
    FLOOR: ("-c", FLOOR),
    "python train.py --help": (*TRAIN, "--help"),
    "python train.py fusion=nosuch": (*TRAIN, "fusion=nosuch"),
    "python train.py epochs=-1": (*TRAIN, "epochs=-1"),
    "python train.py data=ucf101 data.root=nowhere": (*TRAIN, "data=ucf101", "data.root=nowhere"),
    "python train.py backbone.weights=nowhere": (*TRAIN, "backbone.weights=nowhere"),
    "python train.py -m epochs=-1,2": (*TRAIN, "-m", "epochs=-1,2"),
    "python train.py --cfg job": (*TRAIN, "--cfg", "job"),
    **{
        f"twostream {name} --help": (*COMMAND, name, "--help")
        for name in ("info", "fuse", "predict", "features", "evaluate")
    },
    "twostream export --help": (*COMMAND, "export", "--help"),
    "twostream nosuch": (*COMMAND, "nosuch"),
    "twostream info fusion=nosuch": (*COMMAND, "info", "fusion=nosuch"),
    "twostream probe data=folder data.root=nowhere": (*COMMAND, "probe", "data=folder", "data.root=nowhere"),
    "twostream predict nowhere VIDEO": (*COMMAND, "predict", "nowhere", __file__),
    "twostream evaluate nowhere": (*COMMAND, "evaluate", "nowhere"),
    "twostream fuse A.npz B.npz": (*COMMAND, "fuse", "a.npz", "b.npz"),
    "twostream info": (*COMMAND, "info"),
}


def cpu_seconds(arguments: Sequence[str], folder: str) -> float:
    """Returns the CPU seconds of a process of Python, all of its threads and children included."""
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=-3, stderr=-3);"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN); print(used.ru_utime + used.ru_stime)"
    )
    command = [sys.executable, "-c", code, sys.executable, *arguments]
    return float(subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout)


def write_scores(path: Path, seed: int) -> None:
    """Writes random scores of 1,000 videos of 101 classes."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(1000, 101)).astype(np.float32)
    Scores(
        logits=scores,
        labels=np.arange(1000) % 101,
        videos=tuple(f"v{index:04}" for index in range(1000)),
        classes=tuple(f"c{label}" for label in range(101)),
        protocol="train",
        checkpoint="",
        data="ucf101",
        split=1,
        part="test",
        leaked=0,
        mirror=True,
    ).save(path)


def main() -> None:
    """Prints the median of each command line, and its ratios to the two imports."""
    parser = argparse.ArgumentParser("python -m benchmarks.start", description=__doc__)
    parser.add_argument("words", nargs="*", help="only the command lines with one of these words (default: all)")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    lines = {
        line: arguments
        for line, arguments in LINES.items()
        if line in (TORCH, FLOOR) or not options.words or any(word in line for word in options.words)
    }
    found: dict[str, list[float]] = {line: [] for line in lines}
    with tempfile.TemporaryDirectory() as folder:
        for seed, name in enumerate(("a.npz", "b.npz")):
            write_scores(Path(folder, name), seed)
        for _ in range(options.rounds):
            for line, arguments in lines.items():
                found[line].append(cpu_seconds(arguments, folder))
    medians = {line: statistics.median(seconds) for line, seconds in found.items()}
    print(
        f"| command line, median of {options.rounds} | CPU s | / torch | / torch, Lightning, hydra |\n|---|---|---|---|"
    )
    for line, seconds in medians.items():
        print(f"| `{line}` | {seconds:.2f} | {seconds / medians[TORCH]:.2f} | {seconds / medians[FLOOR]:.2f} |")


if __name__ == "__main__":
    main()
