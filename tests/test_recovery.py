"""A run that was interrupted and goes on is, number for number, the run that was not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from twostream import recovery
from twostream.config import build_run, compose_config
from twostream.recovery import Recovery, recovery_files
from twostream.signals import Signals

SMALL = [
    *("data.train_clips=48", "data.test_clips=16", "epochs=2", "batch_size=8", "log_every=1", "logger=csv"),
    *("checkpoint_minutes=0", "validation_fraction=0.35"),
]


def train(cfg: DictConfig, folder: Path, start: Path | None = None) -> torch.nn.Module:
    """The trained network; recovery checkpoints stay."""
    folder.mkdir(exist_ok=True)
    callback = Recovery(folder, minutes=cfg.checkpoint_minutes, cell="", signals=Signals())
    run = build_run(cfg, folder, [callback])
    run.trainer.fit(run.system, run.data, ckpt_path=start, weights_only=True)
    return run.system


def place(path: Path) -> tuple[int, int]:
    """Epoch and batch."""
    _, epoch, batch = path.stem.split("-")
    return int(epoch), int(batch)


@pytest.mark.parametrize(
    "overrides",
    [
        ["num_workers=0", "schedule=plateau", "schedule.patience=0"],
        pytest.param(["num_workers=2", "ema=0.9"], marks=pytest.mark.slow),
        pytest.param(
            ["num_workers=0", "accumulate=2", "optimizer=sgd", "precision=bf16-mixed"], marks=pytest.mark.slow
        ),
        pytest.param(["num_workers=0", "pooling=netvlad", "epochs=3"], marks=pytest.mark.slow),
    ],
    ids=" ".join,
)
def test_resumed_is_uninterrupted(overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "KEPT", 1000)
    cfg = compose_config([*SMALL, *overrides])
    whole = train(cfg, tmp_path / "whole")
    expected = (tmp_path / "whole" / "metrics.csv").read_text()
    files = {place(path): path for path in recovery_files(tmp_path / "whole" / "checkpoints")}
    last = (cfg.epochs, 0)
    assert last in files
    assert (1, 0) in files
    for at in [*((1, 0), (1, 2)), *([(0, 2), last] if "num_workers=0" in overrides else [])]:
        folder = tmp_path / f"from {at}"
        (folder / "checkpoints").mkdir(parents=True)
        shutil.copy(tmp_path / "whole" / "checkpoints" / "best.ckpt", folder / "checkpoints")
        start = shutil.copy(files[at], folder / "checkpoints")
        again = train(cfg, folder, start)
        assert (folder / "metrics.csv").read_text() == expected, at
        for name, value in whole.state_dict().items():
            assert torch.equal(value, again.state_dict()[name]), (at, name)
