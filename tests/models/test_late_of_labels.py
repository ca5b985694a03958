"""layer=softmax of several labels a video: sigmoids are fused, class by class, by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from twostream.config.compose import compose_config
from twostream.config.network import build_network
from twostream.models.fusion import ConvFusion, GatedFusion, MaxFusion, SumFusion, WeightedFusion
from twostream.models.network.late import LateFusion


def heads(*streams: list[float]) -> Tensor:
    """Scores of one video whose sigmoids are these."""
    return torch.logit(torch.tensor(streams))[:, None]


def late(fusion) -> LateFusion:
    return LateFusion(fusion, 3, multi=True)


def test_sum_is_the_mean_of_sigmoids() -> None:
    combined = late(SumFusion(2, 2)).combine(heads([0.75, 0.1, 0.5], [0.2, 0.3, 0.5]))
    assert combined.sigmoid()[0].tolist() == pytest.approx([0.475, 0.2, 0.5])


def test_weights_of_the_streams() -> None:
    combined = late(WeightedFusion(2, 2, weights=(1.0, 3.0))).combine(heads([0.75, 0.1, 0.5], [0.2, 0.3, 0.5]))
    assert combined.sigmoid()[0].tolist() == pytest.approx([(0.75 + 0.6) / 4, 0.25, 0.5])


def test_max_takes_the_surer_answer_to_each_question() -> None:
    """Yes .75 or .2, no .25 or .8: .75 against .8."""
    combined = late(MaxFusion(2, 2)).combine(heads([0.75, 0.1, 0.5], [0.2, 0.3, 0.5]))
    assert combined.sigmoid()[0].tolist() == pytest.approx([0.75 / 1.55, 0.3 / 1.2, 0.5])


@pytest.mark.parametrize("fusion", [ConvFusion, GatedFusion])
def test_learned_fusions_start_at_the_mean_and_have_a_head_of_their_own(fusion) -> None:
    fused = late(fusion(2, 2))
    scores = heads([0.75, 0.1, 0.5], [0.2, 0.3, 0.5])
    all_heads = fused(scores)
    assert all_heads.shape == (3, 1, 3)
    assert fused.combine(all_heads).sigmoid()[0].tolist() == pytest.approx([0.475, 0.2, 0.5])
    all_heads[2].sum().backward()
    assert all(parameter.grad is not None for parameter in fused.parameters())


def test_a_score_of_one_class_does_not_depend_on_the_others() -> None:
    """As it does where softmax is fused."""
    one, other = heads([0.75, 0.1, 0.5], [0.2, 0.3, 0.5]), heads([0.75, 0.9, 0.1], [0.2, 0.8, 0.9])
    fused = late(SumFusion(2, 2))
    assert fused.combine(one)[0, 0].item() == pytest.approx(fused.combine(other)[0, 0].item())
    alone = LateFusion(SumFusion(3, 3), 3)
    assert alone.combine(one)[0, 0].item() != pytest.approx(alone.combine(other)[0, 0].item())


def test_sigmoids_near_0_and_1_are_fused_without_losing_any() -> None:
    """(e^-80 + e^-90) / 2, and 1 - that."""
    low = math.log(math.exp(-80) + math.exp(-90)) - math.log(2)
    scores = torch.tensor([[[-80.0, 80.0, 0.0]], [[-90.0, 90.0, 0.0]]])
    assert late(SumFusion(2, 2)).combine(scores)[0].tolist() == pytest.approx([low, -low, 0.0])


SEVERAL = ["data=folder", "data.root=x", "data.labels=multi", "backbone=tiny", "weights=null", "transform.size=64"]


@pytest.mark.parametrize("fusion", ["sum", "max", "weighted", "conv", "gated"])
def test_networks_of_several_labels_fuse_sigmoids(fusion: str) -> None:
    cfg = compose_config([*SEVERAL, f"fusion={fusion}", "layer=softmax"])
    network: Any = build_network(cfg, 5, meta=True)
    assert network.late.multi
    out = network.combine(torch.zeros(3 if network.late.learned else 2, 4, 5, device="meta"))
    assert out.shape == (4, 5)


def test_other_layers_average_the_scores_of_heads() -> None:
    network: Any = build_network(compose_config([*SEVERAL, "layer=conv5", "two_towers=true"]), 2, meta=True)
    assert network.combine(torch.tensor([[[1.0, 4.0]], [[3.0, -2.0]]])).tolist() == [[2.0, 1.0]]
