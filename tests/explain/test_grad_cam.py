"""Grad-CAM against the formula worked out by hand, and the right maps of every kind of network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from twostream.config.compose import compose_config
from twostream.config.network import build_network
from twostream.explain import activation_map, grad_cam, maps_to_explain


class ByHand(nn.Module):
    """Both streams' pixels weighed by channel and place: all gradients are known."""

    def __init__(self) -> None:
        super().__init__()
        self.rgb, self.flow = nn.Identity(), nn.Identity()
        self.weights = torch.tensor([[[1.0, 3.0], [-2.0, -4.0]], [[0.0, 2.0], [5.0, 1.0]]]).double()  # class, c, w

    def forward(self, rgb, flow):
        a, b = self.rgb(rgb.flatten(0, 1)), self.flow(flow.flatten(0, 1))
        first, second = ((x * self.weights[:, None, :, None]).sum((2, 3, 4)) for x in (a, b))
        return torch.stack([head.T.unflatten(0, rgb.shape[:2]).sum(1) for head in (first, second)])

    def combine(self, heads):
        return heads.mean(0)


def test_grad_cam_is_its_formula() -> None:
    network = ByHand()
    rgb = torch.tensor([1.0, 2.0, 1.0, -1.0]).double().view(1, 1, 2, 1, 2)
    flow = torch.tensor([0.0, 1.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0]).double().view(1, 2, 2, 1, 2)
    layers = {"rgb": network.rgb, "flow": network.flow}
    heads, maps = grad_cam(network, layers, [rgb.expand(1, 2, 2, 1, 2), flow], label=torch.tensor([0]))
    # rgb, class 0, each frame: 1·1 + 3·2 - 2·1 + 4·1 = 9; flow: 3·1 + 1·2 = 5; class 1: 2·2 + 5 - 1 = 8, and 2
    assert heads[:, 0].tolist() == [[18, 16], [5, 2]]
    # the mean of two heads: half of the gradients (1, 3) and (-2, -4), so the channels weigh 1 and -1.5
    assert maps["rgb"][0].tolist() == [[[0, 3.5]], [[0, 3.5]]]  # 1 - 1.5 = -.5 -> 0; 2 + 1.5
    assert maps["flow"][0].tolist() == [[[0, 1]], [[2, 0]]]


def test_without_a_label_the_best_class_is_explained() -> None:
    network = ByHand()
    rgb, flow = torch.ones(2, 1, 2, 1, 2).double(), torch.zeros(2, 1, 2, 1, 2).double()
    rgb[1] *= -1  # its scores are -(-2) and -8
    layers = {"rgb": network.rgb}
    _, maps = grad_cam(network, layers, [rgb, flow])
    assert maps["rgb"].tolist() == grad_cam(network, layers, [rgb, flow], label=torch.tensor([1, 0]))[1]["rgb"].tolist()
    assert maps["rgb"][0].tolist() == [[[2, 2]]], "class 1: weights (0 + 2)/4 and (5 + 1)/4 of ones"


def test_a_channel_weighs_the_same_in_all_frames_of_a_clip() -> None:
    maps, gradient = torch.ones(2, 2, 1, 1, 1), torch.tensor([4.0, -2.0, 1.0, 1.0]).view(2, 2, 1, 1, 1)
    assert activation_map(maps, gradient).tolist() == [[[[1]], [[1]]], [[[1]], [[1]]]]


RESIDUAL = ("fusion=residual", "backbone=resnet18", "backbone.weights=null", "two_towers=true")
SIZE = ["transform.size=64", "sampling.num_chunks=2", "sampling=segments"]


@pytest.mark.long
@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        ([], {"rgb": "rgb.attention.conv5", "flow": "flow.attention.conv5", "fused": "fusions.conv5"}),
        (["layer=conv3"], {"rgb": "rgb.backbone.stages.conv3", "fused": "rgb.attention.conv5"}),
        (["layer=[conv3,conv5]", "two_towers=true"], {"rgb": "rgb.backbone.stages.conv3", "fused": "fusions.conv5"}),
        (["attention=se"], {"rgb": "rgb.attention.conv5", "flow": "flow.attention.conv5", "fused": "fusions.conv5"}),
        (["temporal=conv3d"], {"flow": "flow.attention.conv5", "fused": "fusions.conv5"}),
        (["fusion=sum", "layer=softmax"], {"rgb": "rgb.attention.conv5", "fused": None}),
        (["fusion=sum", "layer=fc8"], {"flow": "flow.attention.conv5", "fused": None}),
        (["fusion=bilinear"], {"rgb": "rgb.attention.conv5", "fused": None}),
        (["fusion=multilevel", "layer=[conv4,conv5]"], {"rgb": "rgb.attention.conv5", "fused": "fusion"}),
        (["fusion=pyramid", "layer=[conv3,conv5]"], {"flow": "flow.attention.conv5", "fused": "fusion"}),
        (["streams=flow"], {"rgb": None, "flow": "flow.attention.conv5", "fused": None}),
        (["pooling=actionvlad"], {"fused": "fusions.conv5"}),
        (["attention=nonlocal", "attention_over=clip"], {"rgb": "rgb.attention.conv5"}),
        (["train_from=fc8"], {"fused": "fusions.conv5"}),
        (
            [*RESIDUAL, "layer=conv5"],
            {"rgb": "rgb.backbone.stages.conv4", "flow": "flow.attention.conv5", "fused": "rgb.attention.conv5"},
        ),
        (
            [*RESIDUAL, "layer=[conv3,conv5]", "fusion.both_ways=true", "attention_after=[]"],
            {"rgb": "rgb.backbone.stages.conv2", "fused": "rgb.backbone.stages.conv5"},
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_the_maps_of_every_kind_of_network(overrides: list[str], names: dict[str, str | None]) -> None:
    torch.manual_seed(0)
    network = build_network(compose_config([*SIZE, *overrides]), 3).eval()
    network.requires_grad_("train_from=fc8" not in overrides)
    layers = maps_to_explain(network)
    where = {module: name for name, module in network.named_modules()}
    found = {name: where[module] for name, module in layers.items()}
    assert {name: found.get(name) for name in names} == names
    both = {"rgb": torch.randint(0, 255, (2, 2, 3, 64, 64)), "flow": torch.randint(-9, 9, (2, 2, 10, 64, 64))}
    streams = [both[name] for name in network.streams]
    heads, maps = grad_cam(network, layers, streams)
    with torch.no_grad():
        assert torch.allclose(heads, network(*streams), atol=1e-6)
    for map_ in maps.values():
        assert map_.shape[:2] == (2, 2)
        assert map_.min() >= 0
    assert max(map_.max() for map_ in maps.values()) > 0
    alone = grad_cam(network, layers, [frames[1:] for frames in streams])[1]
    for name, map_ in maps.items():
        assert torch.allclose(map_[1:], alone[name], atol=1e-5), "clips do not know each other"
