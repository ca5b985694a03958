"""What inspect's pictures say: what a layer was before training."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from twostream.cli.work.inspect import draw_weights, starts_of
from twostream.config.compose import compose_config
from twostream.config.network import build_network
from twostream.config.streams import streams_in
from twostream.explain import pictures


@pytest.fixture
def titles(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """{name of a file: the title of its picture}."""
    found: dict[str, str] = {}
    monkeypatch.setattr(pictures, "save_figure", lambda figure, path: found.update({path.name: figure.get_suptitle()}))
    return found


def draw(folder: Path, *overrides: str) -> None:
    cfg = compose_config(["transform.size=64", *overrides])
    run: Any = SimpleNamespace(folder=folder, cfg=cfg)
    draw_weights(build_network(cfg, 4), streams_in(cfg), folder, starts=starts_of(run))


def test_every_picture_says_what_its_layer_was(tmp_path: Path, titles: dict[str, str]) -> None:
    weights = {"rgb": "runs/frames/checkpoints/best.ckpt", "flow": "/w/net.pth, first layer averaged over colours"}
    (tmp_path / "results.json").write_text(json.dumps({"metrics": {}, "weights": weights}))
    draw(tmp_path, "fusion=conv", "fusion.init=weighted")
    assert titles["rgb_filters.png"].startswith("Filters that read RGB: all ")
    assert titles["rgb_filters.png"].endswith("strongest first\nbefore training: the run frames")
    assert titles["flow_filters.png"].endswith("\nbefore training: net.pth, first layer averaged over colours")
    assert titles["fusion_fusions.conv5.png"] == (
        "How the layer fusions.conv5 mixes RGB and flow\nbefore training: 0.25 RGB + 0.75 flow"
    )


def test_an_old_run_says_what_its_configuration_knows(tmp_path: Path, titles: dict[str, str]) -> None:
    (tmp_path / "results.json").write_text(json.dumps({"metrics": {}}))
    draw(tmp_path, "streams=flow", "temporal=conv3d", "temporal.init=kaiming")
    assert titles["flow_filters.png"].endswith("\nbefore training: random values")
    assert titles["over_time.png"].endswith("\nbefore training: random values")
