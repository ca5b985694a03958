"""Every network can learn: each backbone, each kind of network, each pooling in conf/, on eight clips.

What is tried follows from the files in conf/. Dropout is off (eight clips are to be learnt by heart), weights are
random, batch normalisation uses the batch. Every day: each backbone (but the largest) and each pooling once, over all
kinds; `slow`: each backbone with each pooling, and so each of both with each kind; `matrix`: all of them with all.
"""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path

import pytest
import torch
from learning import (
    BACKBONES,
    CLASSES,
    KINDS,
    POOLINGS,
    Learning,
    clips,
    configuration,
    farthest_loss,
    has_fully_connected,
    learn,
)

from twostream.config.network import build_network

SINGLE = ("rgb", "flow")
VIDEO = ("r3d_18", "mc3_18", "r2plus1d_18", "swin3d_t", "swin3d_s", "swin3d_b", "mvit_v2_s")
LARGE = ("resnet50", "resnet101", *VIDEO)  # seconds each: `slow` alone
TRANSFORMER, WHOLE = "timm:test_vit", "timm:test_vit_relpos"
WITHOUT_MAPS = ("rgb", "flow", "late")  # kinds of network that need no map


def sample() -> list[tuple[str, str, str]]:
    """(backbone, kind, pooling): the smallest network takes all poolings and kinds in turn, others one stream."""
    kinds = list(KINDS)
    poolings = [("tiny", kinds[i % len(kinds)], pooling) for i, pooling in enumerate(POOLINGS)]
    own = {
        backbone: "gap" if has_fully_connected(backbone) else "native"
        for backbone in BACKBONES
        if backbone not in LARGE
    }
    return [*poolings, *((name, SINGLE[i % 2], pooling) for i, (name, pooling) in enumerate(own.items()))]


def pairs() -> list[tuple[str, str, str]]:
    """Each backbone with each pooling; so that each of both meets each kind."""
    kinds = list(KINDS)
    return [
        (backbone, kinds[(i + j) % len(kinds)], pooling)
        for i, backbone in enumerate(BACKBONES)
        for j, pooling in enumerate(POOLINGS)
    ]


def check(result: Learning) -> None:
    assert not result.failures, "; ".join(result.failures)


@pytest.mark.parametrize(("backbone", "kind", "pooling"), sample())
def test_networks_of_each_backbone_kind_and_pooling_learn(backbone: str, kind: str, pooling: str) -> None:
    check(learn(backbone, kind, pooling, side=32))


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_learn(kind: str) -> None:
    check(learn(TRANSFORMER, kind, "native", side=32))


@pytest.mark.slow
@pytest.mark.parametrize("pooling", POOLINGS)
def test_transformers_learn_with_each_pooling(pooling: str) -> None:
    check(learn(TRANSFORMER, "fused", pooling))


@pytest.mark.slow
@pytest.mark.parametrize("kind", WITHOUT_MAPS)
def test_whole_networks_learn(kind: str) -> None:
    check(learn(WHOLE, kind, "native", side=160))


def test_the_sample_is_of_everything() -> None:
    for position, names in enumerate((BACKBONES, KINDS, POOLINGS)):
        assert {cell[position] for cell in sample()} == set(names) - set(LARGE)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_first_loss_on_real_features_is_that_of_chance(pooling: str, real_data: Path) -> None:
    weights = real_data / "weights" / "squeezenet1_0_from_deep_compression.pth"
    cfg = configuration("squeezenet1_0", "rgb", pooling, 64)
    cfg.backbone.weights = str(weights)
    rgb, flow, label = clips(64)
    with torch.no_grad():
        heads = build_network(cfg, CLASSES)(rgb, flow)
    assert farthest_loss(heads, label) == pytest.approx(math.log(CLASSES), rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "kind", "pooling"), pairs())
def test_each_pair_learns(backbone: str, kind: str, pooling: str) -> None:
    check(learn(backbone, kind, pooling))


@pytest.mark.matrix
@pytest.mark.parametrize(("backbone", "kind", "pooling"), list(product(BACKBONES, KINDS, POOLINGS)))
def test_everything_learns(backbone: str, kind: str, pooling: str) -> None:
    check(learn(backbone, kind, pooling))
