"""Layers of 2-D networks that were inflated: hand-computed numbers, formulas, and what every layer must pass."""

from __future__ import annotations

import pytest
import torch
from layer_checks import awake, check_autocast, check_compile, check_formula, check_gradient, check_state_dict
from torch import Tensor, nn

from twostream.models.backbone.over_time import ClipStage, InflatedConv

BOTH = (ClipStage, InflatedConv)


def stage(*, stride: int = 1) -> ClipStage:
    """A stage of one 3×3×3 filter over clips of two channels."""
    return ClipStage(InflatedConv(nn.Conv2d(2, 3, 3, stride, padding=1), time_stride=stride))


def clips() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(2, 4, 2, 3, 3)  # n t c h w


@pytest.mark.shows("numbers", *BOTH)
def test_a_filter_over_repeated_ends_by_hand() -> None:
    """Before the first and behind the last frame these are repeated: 1 · before + 10 · now + 100 · after."""
    for stride, expected in ((1, [211, 321, 332]), (2, [211, 332])):
        filters = InflatedConv(nn.Conv2d(1, 1, 3, stride, padding=1, bias=False), time_stride=stride)
        with torch.no_grad():
            filters.weight.zero_()
            filters.weight[0, 0, :, 1, 1] = torch.tensor([1.0, 10.0, 100.0])
        found = ClipStage(filters)(torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1, 1))
        assert found.flatten().tolist() == expected


@pytest.mark.shows("formula", *BOTH)
@pytest.mark.parametrize("stride", [1, 2])
def test_inflated_formula(stride: int) -> None:
    layer, maps = awake(stage(stride=stride)), clips()
    filters = layer[0]
    padded = torch.zeros(2, 6, 2, 5, 5, dtype=torch.float64)
    padded[:, 1:5, :, 1:4, 1:4] = maps.double()
    padded[:, 0], padded[:, 5] = padded[:, 1], padded[:, 4]
    expected = filters.bias.double()[:, None, None].expand(2, 4, 3, 3, 3).clone()
    for i in range(3):
        for y in range(3):
            for x in range(3):
                window = padded[:, i : i + 4, :, y : y + 3, x : x + 3]
                expected += torch.einsum("oc,ntchw->ntohw", filters.weight[:, :, i, y, x].double(), window)
    check_formula(layer(maps), expected[:, ::stride, :, ::stride, ::stride])


@pytest.mark.shows("gradient", *BOTH)
def test_gradient() -> None:
    check_gradient(awake(stage(stride=2)), clips())


@pytest.mark.shows("autocast", *BOTH)
def test_autocast() -> None:
    check_autocast(awake(stage()), clips())


@pytest.mark.shows("compile", *BOTH)
def test_compile() -> None:
    check_compile(awake(stage()), clips())


@pytest.mark.shows("state_dict", *BOTH)
def test_state_dict() -> None:
    check_state_dict(stage, clips())
