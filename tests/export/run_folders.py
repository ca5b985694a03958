"""Run folders without a training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import nn

from twostream.config.compose import compose_config
from twostream.config.run import build_system
from twostream.data.history import History
from twostream.data.sources import Video

CLASSES = ("run", "jump", "a|b <c>")
RESULTS = {
    "choices": {"fusion": "conv", "backbone": "tiny", "data": "moving_patterns", "optimizer": "adamw"},
    "layer": "conv5",
    "split": 1,
    "seed": 0,
    "metrics": {"test/loss": 1.5, "test/top1": 0.625, "test/mean_class": 0.5},
    "unreadable": {},
    "leaked": 0,
    "parameters": 1,
    "flops": 2_500_000_000,
    "seconds": 61.0,
    "overrides": ["fusion=conv", "data.root=/home/lovelace/videos", "epochs=3"],
    "cell": "0" * 16,
    "versions": {"python": "3.11.0", "torch": "2.11.0"},
    "git": "0123abc",
}
METRICS = "epoch,step,val/top1,val/loss\n0,9,0.25,2.0\n1,19,0.75,1.5\n2,29,0.5,1.6\n"


def make_run(
    folder: Path,
    *overrides: str,
    noise: float = 0.05,
    results: dict[str, Any] | None = RESULTS,
    classes: tuple[str, ...] = CLASSES,
) -> Path:
    """What train.py leaves behind, with random weights: every one of them matters to the scores."""
    cfg = compose_config(["logger=csv", *overrides])
    torch.manual_seed(0)
    history = History.of("moving_patterns", 1, [Video("run/a.mp4", Path("a.mp4"), 0, "")])
    system = build_system(cfg, classes, history)
    disturb(system.network, noise)
    (folder / "checkpoints").mkdir(parents=True)
    checkpoint: dict[str, Any] = {"state_dict": system.state_dict()}
    system.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, folder / "checkpoints" / "best.ckpt")
    OmegaConf.save(cfg, folder / "config.yaml", resolve=True)
    if results is not None:
        (folder / "results.json").write_text(json.dumps(results))
        (folder / "metrics.csv").write_text(METRICS)
    return folder


def disturb(network: nn.Module, noise: float = 0.05) -> None:
    """Random weights where a layer starts as the identity or as another one."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += noise * torch.randn_like(parameter)
