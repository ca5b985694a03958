"""Losses, metrics and weights of the LightningModule."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from twostream.config.compose import compose_config
from twostream.config.run import build_run
from twostream.data.clip import Clip
from twostream.training.objective import CrossEntropy
from twostream.training.system import TwoStreamSystem

SMALL = ["data.train_clips=48", "data.test_clips=16", "validation_fraction=0.34", "batch_size=8", "num_workers=0"]


class Fixed(nn.Module):
    """Returns given scores, whatever it sees: two heads."""

    def __init__(self, heads: Tensor) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, rgb: Tensor, flow: Tensor) -> Tensor:
        return self.heads

    def combine(self, heads: Tensor) -> Tensor:
        return heads.mean(0)


def system(heads: Tensor, **options) -> TwoStreamSystem:
    return TwoStreamSystem(Fixed(heads), classes=("a", "b"), optimizer=None, schedule=None, **options)


def clip(n: int, v: int) -> Clip:
    return Clip(torch.zeros(n, v, 1, 3, 4, 4), torch.zeros(n, v, 1, 2, 4, 4), torch.zeros(n).long(), torch.arange(n))


def test_the_loss_is_the_sum_over_heads_by_hand() -> None:
    """Scores (0, 0): ln 2. Scores (ln 3, 0) for class 0: -ln(3/4)."""
    heads = torch.tensor([[[0.0, 0.0]], [[math.log(3), 0.0]]])
    loss = system(heads).loss(heads, torch.tensor([0]))
    assert loss.item() == pytest.approx(math.log(2) - math.log(0.75))


def test_label_smoothing_is_for_training_alone() -> None:
    """Smoothing .2 of two classes: .9 · -ln(3/4) + .1 · -ln(1/4)."""
    heads = torch.tensor([[[math.log(3), 0.0]]])
    module = system(heads, objective=CrossEntropy(label_smoothing=0.2))
    assert module.train().loss(heads, torch.tensor([0])).item() == pytest.approx(
        -0.9 * math.log(0.75) - 0.1 * math.log(0.25)
    )
    assert module.eval().loss(heads, torch.tensor([0])).item() == pytest.approx(-math.log(0.75))


def test_views_are_averaged_before_softmax() -> None:
    """Two clips of two views, in the order clip 0 view 0, clip 0 view 1, clip 1 view 0 …"""
    heads = torch.tensor([[[4.0, 0.0], [0.0, 2.0], [0.0, 6.0], [2.0, 0.0]]]).repeat(2, 1, 1)
    per_head, combined = system(heads)(clip(2, 2))
    assert per_head.shape == (2, 2, 2)
    assert combined.tolist() == [[2.0, 1.0], [1.0, 3.0]]


def run(folder: Path, *overrides: str):
    return build_run(compose_config([*SMALL, "logger=csv", *overrides]), folder)


def test_a_moving_average_is_what_is_validated_and_tested(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TWOSTREAM_CACHE", str(tmp_path / "cache"))
    parts = run(tmp_path, "ema=0.9", "epochs=2")
    parts.trainer.fit(parts.system, parts.data)
    best = parts.trainer.checkpoint_callback.best_model_path
    checkpoint = torch.load(best, weights_only=True)
    name = "network.fusions.conv5.conv.weight"
    assert not torch.equal(checkpoint["state_dict"][name], checkpoint["current_model_state"][name])
    parts.system.load_weights(best)
    assert torch.equal(parts.system.state_dict()[name], checkpoint["state_dict"][name])
    [tested] = parts.trainer.validate(parts.system, parts.data, verbose=False)
    assert tested["val/top1"] == pytest.approx(float(parts.trainer.checkpoint_callback.best_model_score))


def test_frozen_stages_stay_as_they_are_statistics_included(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TWOSTREAM_CACHE", str(tmp_path / "cache"))
    start = run(tmp_path / "start", "epochs=1")
    start.trainer.fit(start.system, start.data)
    trained = start.trainer.checkpoint_callback.best_model_path
    parts = run(tmp_path, "train_from=fusion", "epochs=1", f"backbone.weights={trained}")
    before = {name: value.clone() for name, value in parts.system.network.state_dict().items()}
    parts.trainer.fit(parts.system, parts.data)
    after = parts.system.network.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(name.startswith("fusions.conv5") for name in moved)
    assert any(name.startswith("rgb.backbone.stages.fc8") for name in moved)
    assert not any(".stages.conv" in name for name in moved)


@pytest.mark.long
@pytest.mark.parametrize(
    "overrides", [["schedule=plateau", "schedule.warmup_epochs=1"], ["validation_fraction=0"], ["precision=bf16-mixed"]]
)
def test_other_ways_to_train(overrides, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TWOSTREAM_CACHE", str(tmp_path / "cache"))
    parts = run(tmp_path, "epochs=1", *overrides)
    parts.trainer.fit(parts.system, parts.data)
    parts.system.load_weights(parts.trainer.checkpoint_callback.best_model_path)
    [metrics] = parts.trainer.test(parts.system, parts.data, verbose=False)
    assert math.isfinite(metrics["test/loss"])
    assert parts.trainer.test(parts.system, parts.data, verbose=False) == [metrics]  # metrics remember nothing
