"""Reading a network at its layers: what each name means, in numbers."""

from __future__ import annotations

import pytest
import torch

from twostream.config.compose import compose_config
from twostream.config.features import blank_clip
from twostream.config.network import build_network
from twostream.models.network.heads import classifiers
from twostream.models.network.reading import averaged, check_layer, parameters_below, read, readable

CLASSES = 4


def made(*overrides: str):
    chunks = [] if "sampling=clip" in overrides else ["sampling.num_chunks=2"]
    cfg = compose_config([*chunks, *overrides])
    torch.manual_seed(0)
    network = build_network(cfg, CLASSES).eval()
    return network, [torch.randint(0, 255, x.shape).float() for x in blank_clip(cfg, network)]


@pytest.mark.long
@pytest.mark.parametrize(
    "overrides",
    [
        ("streams=rgb",),
        ("fusion=sum", "layer=softmax"),
        ("fusion=conv", "layer=[conv3,fc8]"),
        ("fusion=bilinear",),
        ("fusion=multilevel", "layer=[conv3,conv5]"),
        ("fusion=pyramid", "layer=[conv3,conv5]", "fusion.channels=8"),
        ("fusion=residual", "layer=[conv2,conv5]", "two_towers=true", "backbone=resnet18"),
        ("temporal=conv3d",),
        ("pooling=actionvlad", "pooling.clusters=4", "streams=rgb"),
        ("attention=nonlocal", "attention_over=clip"),
        ("backbone.inflate=true", "sampling=clip", "sampling.num_frames=4"),
        ("backbone=vgg16", "backbone.width=0.0625", "transform.size=224"),
    ],
    ids=" ".join,
)
@torch.no_grad()
def test_every_layer_of_every_kind_of_network_can_be_read(overrides: tuple[str, ...]) -> None:
    network, clip = made(*overrides)
    two_clips = [torch.cat([x, x + 1]) for x in clip]
    for layer in readable(network):
        found = read(network, layer, two_clips)
        for vectors in found.values():
            assert vectors.shape[0] == 2
            assert vectors.dtype == torch.float64
            assert vectors.isfinite().all()
        assert found.keys() == readable(network)[layer].keys()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


@torch.no_grad()
def test_names_by_hand() -> None:
    """Towers are gone through stage by stage: conv3 of each, their sum, and conv5 of the first, which has seen it."""
    network, (rgb, flow) = made("fusion=sum", "layer=conv3")
    a, b = network.rgb.enter(rgb), network.flow.enter(flow)
    for name in ("conv1", "conv2", "conv3"):
        a, b = network.rgb.stage(name, a), network.flow.stage(name, b)
    assert torch.equal(read(network, "rgb.conv3", (rgb, flow))["rgb"], a.maps.double().mean((1, 3, 4)))
    both = read(network, "conv3", (rgb, flow))
    assert list(both) == ["rgb", "flow"]
    assert torch.allclose(both["flow"], b.maps.double().mean((1, 3, 4)))
    assert torch.allclose(read(network, "fused", (rgb, flow))["fused"], both["rgb"] + both["flow"])
    assert list(read(network, "conv5", (rgb, flow))) == ["rgb"], "the flow tower ends at the fusion"
    a = a.with_map(a.maps + b.maps)
    for name in ("conv4", "conv5"):
        a = network.rgb.stage(name, a)
    assert torch.allclose(read(network, "conv5", (rgb, flow))["rgb"], a.maps.double().mean((1, 3, 4)))


@torch.no_grad()
def test_a_linear_classifier_of_the_head_gives_the_scores() -> None:
    for overrides in (
        ("streams=flow",),
        ("fusion=conv", "two_towers=true"),
        ("fusion=multilevel", "layer=[conv3,conv5]"),
    ):
        network, clip = made(*overrides)
        found, layers = read(network, "head", clip), classifiers(network)
        scores = torch.stack(
            [x @ layers[name].weight.flatten(1).double().T + layers[name].bias.double() for name, x in found.items()]
        )
        assert torch.allclose(scores.float(), network(*clip), atol=1e-5)


def test_a_layer_that_is_not_there_is_told_which_are() -> None:
    network, _ = made("streams=rgb")
    with pytest.raises(
        ValueError, match=r"^--layer fused: this network has none; choose from rgb\.conv1, .*, conv5, fc8, head$"
    ):
        check_layer(network, "fused")
    check_layer(network, "rgb.conv5")


def test_which_parameters_a_layer_depends_on() -> None:
    network, clip = made("fusion=conv", "layer=conv3")
    below = parameters_below(network, "flow.conv2", clip)
    assert {name.rsplit(".", 2)[0] for name in below} == {"flow.backbone.stages.conv1", "flow.backbone.stages.conv2"}
    fused = parameters_below(network, "fused", clip)
    assert "fusions.conv3.conv.weight" in fused
    assert not [name for name in fused if "conv4" in name or "fc8" in name]
    assert parameters_below(network, "fc8", clip) == {name for name, _ in network.named_parameters()}


def test_means_of_maps_over_time() -> None:
    maps = torch.randn(2, 3, 5, 4, 4)
    expected = maps.double().mean((1, 3, 4))
    assert torch.allclose(averaged(maps, 2), expected)
    assert torch.allclose(averaged(maps.flatten(0, 1), 2), expected)
    assert torch.allclose(averaged(maps[..., 0, 0].flatten(0, 1), 2), maps[..., 0, 0].double().mean(1))
