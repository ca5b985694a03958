"""What can be learnt from which stream (README, docs/embedded.md), by training. `pytest -m slow`, minutes each."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VIDEOS = 400  # of the test
SEEDS = ("seed=0", "seed=1", "seed=2")
CHUNKS = ("sampling.num_chunks=1", "sampling.num_chunks=4")

BOUNDED = [  # overrides, and what no training can pass
    *((["streams=rgb", chunks], 1 / 16) for chunks in CHUNKS),
    *((["streams=flow", chunks], 1 / 4) for chunks in CHUNKS),
    *((["fusion=sum", "layer=softmax", chunks], 1 / 4) for chunks in CHUNKS),
    (["data=moving_patterns_order", "temporal=pool3d"], 1 / 2),
]
LEARNT = [["fusion=conv", "layer=conv5"], ["sampling.num_chunks=4"], ["data=moving_patterns_order", "temporal=conv3d"]]


def accuracy(folder: Path, *overrides: str) -> float:
    """Of the test of a run; fails where the run says that a bound does not apply to it."""
    command = [sys.executable, str(ROOT / "train.py"), *overrides, "logger=csv", f"hydra.run.dir={folder}"]
    subprocess.run(command, env={**os.environ}, check=True, timeout=2400)
    results = json.loads((folder / "results.json").read_text())
    assert results["cautions"] == []
    return results["metrics"]["test/top1"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("overrides", "bound"), BOUNDED, ids=lambda value: str(value))
def test_no_training_passes_a_bound(overrides, bound: float, seed: str, tmp_path) -> None:
    chance = math.sqrt(bound * (1 - bound) / VIDEOS)  # standard deviation of what guessing at the bound reaches
    assert accuracy(tmp_path, *overrides, seed, "data.train_clips=800") <= bound + 4 * chance


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("overrides", LEARNT, ids=lambda value: str(value))
def test_what_fuses_where_it_knows_which_pixel_learns_the_task(overrides, seed: str, tmp_path) -> None:
    assert accuracy(tmp_path, *overrides, seed) >= 0.9


@pytest.mark.slow
def test_rgb_passes_its_bound_where_the_run_warns(tmp_path) -> None:
    beyond = ["streams=rgb", "sampling.num_chunks=4", "sampling.stride=[1,2]", "logger=csv"]
    subprocess.run([sys.executable, ROOT / "train.py", *beyond, f"hydra.run.dir={tmp_path}"], check=True, timeout=2400)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["metrics"]["test/top1"] > 0.15
    assert "RGB (1/16)" in results["cautions"][0]
