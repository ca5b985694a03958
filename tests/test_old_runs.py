"""Runs of before the house was rebuilt (commit bc0dca9, 2026-11-30) go on being evaluated, reported and resumed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from warm import Warm

from twostream.config.compose import compose_config
from twostream.config.loaded import load_run
from twostream.launch.claim import identity
from twostream.metrics.scores import Scores
from twostream.runs.folders import read_run
from twostream.runs.results import read_results
from twostream.runs.sweep import read_sweep

ROOT = Path(__file__).parents[1]
OLD = Path(__file__).parent / "old_runs"


@pytest.mark.parametrize("cell", ["fusion_sum", "fusion_conv"])
def test_a_repeated_command_knows_its_old_results(cell: str) -> None:
    """The hash of the configuration is that of before, although what it names has moved."""
    run = OLD / "sweep" / cell
    results = read_results(run)
    assert results is not None
    overrides = read_run(run, cell).overrides
    typed = [f"{name}={value}" for name, value in overrides.items()]
    assert results["cell"] == identity(compose_config(typed))


def test_sweeps_of_plain_alignments_go_on() -> None:
    """`align` was a plain value; these hashes are of then (commit 68dfbba)."""
    assert identity(compose_config([])) == "a464deb4"
    assert identity(compose_config(["align=upconv"])) == "ac59af28"
    assert identity(compose_config(["align=upconv", "align.channels=project"])) != "ac59af28"


def test_sweeps_of_folders_without_folds_go_on() -> None:
    """The hash is of before there was `data.folds` (commit 25e97dd)."""
    assert identity(compose_config(["data=folder", "data.root=DIR"])) == "e4e82a93"
    assert identity(compose_config(["data=folder", "data.root=DIR", "data.folds=5"])) != "e4e82a93"


def test_an_old_network_says_what_it_said() -> None:
    run = load_run(OLD / "sweep" / "fusion_sum")
    assert run.cfg.data._target_ == "twostream.data.sources.moving_patterns.MovingPatterns"
    assert run.cfg.align == {"_target_": "twostream.models.fusion.ZeroPadAlign", "_partial_": True, "channels": "equal"}
    assert sum(weight.numel() for weight in run.system.network.parameters()) == 3_330


def test_model_cards_of_before_find_load_run() -> None:
    from twostream.runs import load_run as found

    assert found is load_run


def test_an_old_sweep_is_reported() -> None:
    sweep = read_sweep(OLD / "sweep")
    assert [(cell.name, cell.state) for cell in sweep.cells] == [
        ("fusion_sum", "finished"),
        ("fusion_conv", "finished"),
    ]


@pytest.mark.long
def test_an_old_run_is_evaluated_and_an_interrupted_one_goes_on(tmp_path: Path, warm: Warm) -> None:
    shutil.copytree(OLD, tmp_path / "old")
    environment = {**os.environ, "TWOSTREAM_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}

    def run(*words: str) -> str:
        done = warm.run(words, cwd=tmp_path, env=environment, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    finished = tmp_path / "old" / "sweep" / "fusion_sum"
    run("-m", "twostream.cli", "evaluate", str(finished))
    before, now = (Scores.load(path) for path in (finished / "test_scores.npz", *finished.rglob("scores.npz")))
    np.testing.assert_allclose(now.logits, before.logits, atol=1e-4)

    interrupted = tmp_path / "old" / "interrupted"
    # other versions of PyAV may render other bytes, so the data may count as changed; the configuration must not
    said = run(str(ROOT / "train.py"), f"resume={interrupted}", "allow_change=true")
    assert "going on in epoch 1 after 1 batch" in said
    assert "configuration has changed" not in said
    assert read_results(interrupted) is not None
