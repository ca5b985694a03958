"""The list of a network's parts, by which optimizers, descriptions, exports and explanations find them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from twostream.config.compose import compose_config
from twostream.config.network import build_network
from twostream.models.network.parts import parts, towers
from twostream.training.optimizers import roles


def network_of(*overrides: str) -> Any:
    return build_network(compose_config(["transform.size=64", *overrides]), 4, meta=True)


def test_parts_come_in_the_order_in_which_data_pass_through_them() -> None:
    found = [part[:4] for part in parts(network_of("layer=[conv4,conv5]", "attention=se"))]
    assert found[-11:] == [
        ("align.conv4", "align", "", "conv4"),
        ("fusions.conv4", "fusion", "", "conv4"),
        ("rgb.backbone.stages.conv5", "stage", "rgb", "conv5"),
        ("flow.backbone.stages.conv5", "stage", "flow", "conv5"),
        ("rgb.attention.conv5", "attention", "rgb", "conv5"),
        ("flow.attention.conv5", "attention", "flow", "conv5"),
        ("align.conv5", "align", "", "conv5"),
        ("fusions.conv5", "fusion", "", "conv5"),
        ("rgb.temporal.conv5", "temporal", "rgb", "conv5"),
        ("rgb.backbone.stages.fc8", "stage", "rgb", "fc8"),
        ("late", "late", "", "softmax"),
    ]


def test_a_head_and_its_temporal_fusion_are_parts() -> None:
    network = network_of("fusion=multilevel", "layer=[conv3,conv5]", "temporal=conv3d")
    assert [part[:4] for part in parts(network)][-6:] == [
        ("fusion", "fusion", "", ""),
        ("heads.0.temporal", "temporal", "", ""),
        ("heads.0", "head", "", ""),
        ("heads.1.temporal", "temporal", "", ""),
        ("heads.1", "head", "", ""),
        ("late", "late", "", "softmax"),
    ]
    assert {role for name, role in roles(network).items() if ".temporal." in name} == {"fusion"}
    assert {role for name, role in roles(network).items() if ".classifier." in name} == {"head"}


@pytest.mark.parametrize(
    "overrides",
    [
        ["temporal=conv3d", "two_towers=true"],
        ["layer=[conv1,conv3,fc8]", "attention=nonlocal", "attention_after=[conv2,conv5]"],
        ["fusion=pyramid", "layer=[conv3,conv5]", "temporal=conv3d", "pooling=netvlad"],
        ["layer=softmax", "pooling=netvlad"],
        ["backbone@flow_backbone=resnet18", "flow_backbone.weights=null", "align=upconv", "fusion=concat"],
        ["streams=flow", "temporal=conv3d"],
    ],
    ids="-".join,
)
def test_every_parameter_is_in_one_part(overrides: list[str]) -> None:
    network = network_of(*overrides)
    assert all(part.module is network.get_submodule(part.name) for part in parts(network))
    whole = [part for part in parts(network) if not (part.role == "temporal" and part.stage == "")]  # those of heads
    times = Counter(name for part in whole for name, _ in part.module.named_parameters(prefix=part.name))
    assert times == dict.fromkeys(dict(network.named_parameters()), 1)


def test_towers_by_stream() -> None:
    both, flow = network_of(), network_of("streams=flow")
    assert towers(both) == {"rgb": both.rgb, "flow": both.flow}
    assert towers(flow) == {"flow": flow.flow}
