"""Losses that are not finite: the run stops and can be looked into, or goes on without them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf
from torch import Tensor

from twostream.config import build_run, compose_config
from twostream.errors import ExpectedError
from twostream.nonfinite import FiniteLoss
from twostream.replay import first_nonfinite, replay
from twostream.results import write_text

SMALL = [
    *("data.train_clips=48", "data.test_clips=16", "epochs=1", "batch_size=8", "log_every=1", "logger=csv"),
    *("num_workers=0", "validation_fraction=0.35", "backbone=tiny"),
]


def run_with(folder: Path, *overrides: str, poisoned: int | None = None):
    """A run in whose step number `poisoned` (from 0) the loss is NaN."""
    folder.mkdir()
    cfg = compose_config([*SMALL, *overrides])
    write_text(folder / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
    guard = FiniteLoss(folder, nonfinite=cfg.nonfinite)
    run = build_run(cfg, folder, [guard])
    loss = run.system.loss

    def poisoning(heads: Tensor, label: Tensor) -> Tensor:
        bad = run.system.training and run.trainer.global_step == poisoned
        return loss(heads * float("nan") if bad else heads, label)

    run.system.loss = poisoning  # type: ignore[method-assign]
    return run, guard


def losses(folder: Path) -> list[float]:
    with (folder / "metrics.csv").open() as file:
        return [float(row["train/loss_step"]) for row in csv.DictReader(file) if row["train/loss_step"]]


def test_the_run_stops_and_the_step_can_be_done_again(tmp_path: Path) -> None:
    clean, _ = run_with(tmp_path / "clean")
    clean.trainer.fit(clean.system, clean.data)
    run, _ = run_with(tmp_path / "run", poisoned=2)
    with pytest.raises(ExpectedError, match=r"epoch 1, batch 3: .* its videos: .*\.mp4, .*nonfinite=skip"):
        run.trainer.fit(run.system, run.data)
    [kept] = (tmp_path / "run").glob("nonfinite-*.pt")
    again = replay(kept)
    assert again.loss == pytest.approx(losses(tmp_path / "clean")[2], abs=1e-6)  # dropout and all
    assert len(again.losses) == 8
    assert again.first is None
    assert not again.weights


def test_a_skipped_step_changes_nothing(tmp_path: Path) -> None:
    run, guard = run_with(tmp_path / "run", "nonfinite=skip", poisoned=1)
    seen: list[dict[str, Tensor]] = []

    class Look(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
            seen.append({name: value.clone() for name, value in pl_module.network.state_dict().items()})

    run.trainer.callbacks.append(Look())
    run.trainer.fit(run.system, run.data)
    assert guard.skipped == 1
    assert all(torch.equal(seen[0][name], seen[1][name]) for name in seen[0])
    assert not all(torch.equal(seen[1][name], seen[2][name]) for name in seen[0])
    assert torch.isfinite(run.trainer.callback_metrics["train/loss"])


def test_an_unknown_choice_is_named() -> None:
    with pytest.raises(ValueError, match="nonfinite='go': choose from stop, skip"):
        FiniteLoss(Path(), nonfinite="go")


def test_the_first_layer_that_is_not_finite_is_found() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2), torch.nn.ReLU())
    with torch.no_grad():
        network[1].bias[0] = float("inf")
    with first_nonfinite(network) as found:
        network(torch.zeros(1, 2))
    assert found[0] == "1"
