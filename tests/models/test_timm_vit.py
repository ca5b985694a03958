"""Vision transformers of timm in stages, with the tokens beside their maps; classifiers of timm as a whole."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from twostream.config.compose import compose_config
from twostream.config.network import build_network, check_effects, describe_config
from twostream.explain import grad_cam, maps_to_explain
from twostream.models.backbone import timm
from twostream.models.network import Tower
from twostream.models.network.heads import classifiers
from twostream.options.streams import rgb as rgb_stream
from twostream.training.optimizers import parameter_groups, roles

library = pytest.importorskip("timm")

NETWORKS = {  # one of each kind: (tokens beside the map, stride, how many blocks each of conv2 … conv5 has)
    "test_vit": (1, 16, [1, 2, 1, 2]),  # class token
    "test_vit2": (1, 16, [2, 2, 2, 2]),  # a register, mean of patches
    "test_vit3": (1, 16, [2, 2, 2, 3]),  # attention pooling that sees the register, too
    "deit_tiny_patch16_224": (1, 16, [3, 3, 3, 3]),
    "vit_tiny_r_s16_p8_224": (1, 32, [3, 3, 3, 3]),  # convolutions before the patches
    "vit_pwee_patch16_reg1_gap_256": (1, 16, [4, 4, 4, 4]),  # parallel attention and layers
    "eva02_tiny_patch14_224": (1, 14, [3, 3, 3, 3]),  # Eva: rotary position embeddings
    "vit_tiny_patch16_dinov3_qkvb": (5, 16, [3, 3, 3, 3]),  # Eva: registers, nothing but rotary ones
}
SMALL = ["backbone=timm", "backbone.name=test_vit", "transform.size=48", "flow.length=2", "temporal=pool2d"]
CONVOLUTIONAL = ("conv1", "conv2", "conv3", "conv4", "conv5")


def pair(name: str, classes: int = 7, channels: int = 3) -> tuple[Any, Any]:
    """The library's network and ours, of the same random weights, none of which is zero."""
    torch.manual_seed(0)
    theirs = library.create_model(name, num_classes=classes, in_chans=channels).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    ours = timm(channels, classes, name=name).eval()
    values = theirs.state_dict()
    assert sorted(ours.source_names.values()) == sorted(values)
    ours.load_state_dict({name: values[source] for name, source in ours.source_names.items()})
    return theirs, ours


def sequence(map_: Tensor, tokens: Tensor | None) -> Tensor:
    patches = map_.flatten(2).transpose(1, 2)
    return patches if tokens is None else torch.cat((tokens, patches), 1)


def check_same(actual: Tensor, expected: Tensor) -> None:
    assert (actual - expected).abs().max() <= 1e-5 * expected.abs().max()


# Stages


@pytest.mark.long
@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_maps_tokens_and_scores_are_those_of_the_library(name: str) -> None:
    theirs, ours = pair(name)
    count, stride, groups = NETWORKS[name]
    seen: list[Tensor] = []
    for block in theirs.blocks:
        block.register_forward_hook(lambda _, __, output: seen.append(output))
    assert [len(ours.stages[stage].blocks) for stage in CONVOLUTIONAL[1:]] == groups
    side = theirs.pretrained_cfg["input_size"][-1]
    image = torch.randn(2, 3, side, side)
    expected = theirs(image)
    map_, tokens, done = image, None, 0
    for stage in CONVOLUTIONAL:
        map_, tokens = ours.stages[stage](map_, tokens)
        assert tokens.shape[1] == count
        assert map_.shape[1:] == (ours.channels[stage], side // stride, side // stride)
        assert ours.strides[stage] == stride
        if stage != "conv1":
            done += len(ours.stages[stage].blocks)
            check_same(sequence(map_, tokens), seen[done - 1])
    scores, left = ours.stages["fc8"](map_, tokens)
    check_same(scores[:, :, 0, 0], expected)
    check_same(ours(image), expected)
    assert left is None
    assert done == len(theirs.blocks)


@pytest.mark.long
@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_images_of_another_size_as_the_library_resamples_positions(name: str) -> None:
    theirs, ours = pair(name)
    height, width = 4 * NETWORKS[name][1], 6 * NETWORKS[name][1]
    other = library.create_model(name, num_classes=7, img_size=(height, width)).eval()
    filtered = dict(theirs.state_dict())
    if theirs.pos_embed is not None:
        theirs.set_input_size((height, width))
        filtered["pos_embed"] = theirs.pos_embed
    other.load_state_dict(filtered)
    image = torch.randn(1, 3, height, width)
    check_same(ours(image), other(image))


@pytest.mark.parametrize("name", ["test_vit", "eva02_tiny_patch14_224"])
def test_as_many_parameters_as_the_library_counts(name: str) -> None:
    with torch.device("meta"):
        theirs, ours = library.create_model(name, num_classes=101, in_chans=20), timm(20, 101, name=name)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())


@pytest.mark.parametrize("name", ["conv3", "fc8"])
@torch.no_grad()
def test_a_widened_stage_starts_as_that_of_the_sum(name: str) -> None:
    _, ours = pair("test_vit")
    ours.double()
    a, b = torch.randn(2, 2, 64, 3, 3, dtype=torch.float64)
    tokens = torch.randn(2, 1, 64, dtype=torch.float64)
    expected = ours.stages[name](a + b, tokens)
    ours.widen(name, 128)
    actual = ours.stages[name](torch.cat((a, b), 1), tokens)
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_patches_must_divide_the_image() -> None:
    with pytest.raises(ValueError, match=r"size=60: stage conv1 takes images of another size .*divisible by patch siz"):
        Tower(rgb_stream(), partial(timm, name="test_vit"), num_classes=3, image_size=60)


# Networks of two streams, against the library's blocks called one by one


def network(*overrides: str) -> Any:
    torch.manual_seed(0)
    found = build_network(compose_config([*SMALL, *overrides]), 5).eval()
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return found


def clips() -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(1)
    rgb = torch.randint(0, 256, (2, 3, 3, 48, 48), generator=random, dtype=torch.uint8)
    return rgb, torch.randint(-99, 99, (2, 3, 4, 48, 48), generator=random, dtype=torch.int8)


def original(tower: Any, channels: int) -> Any:
    """The library's network with the values of a tower."""
    theirs = library.create_model("test_vit", num_classes=5, in_chans=channels, dynamic_img_size=True).eval()
    own, names = tower.backbone.state_dict(), tower.backbone.source_names
    assert not theirs.load_state_dict({names[k]: v for k, v in own.items() if k in names}, strict=False).unexpected_keys
    return theirs


def tokens_after(theirs: Any, tower: Any, frames: Tensor, blocks: int) -> Tensor:
    """All tokens (n·t, 1 + 9, c) after the first `blocks` blocks."""
    x = theirs.norm_pre(theirs._pos_embed(theirs.patch_embed(tower.input(frames.flatten(0, 1)))))
    return theirs.blocks[:blocks](x)


@torch.no_grad()
def test_a_fused_map_goes_back_among_the_tokens() -> None:
    ours = network("layer=conv3", "fusion=sum")
    rgb, flow = clips()
    first, second = original(ours.rgb, 3), original(ours.flow, 4)
    x = tokens_after(first, ours.rgb, rgb, 3)
    x[:, 1:] += tokens_after(second, ours.flow, flow, 3)[:, 1:]  # not the class token
    expected = first.forward_head(first.norm(first.blocks[3:](x))).unflatten(0, (2, 3)).mean(1)
    check_same(ours(rgb, flow)[0], expected)


@torch.no_grad()
def test_after_a_fusion_at_conv5_the_mean_of_the_patches_is_classified() -> None:
    ours = network("layer=conv5", "fusion=sum")
    rgb, flow = clips()
    first, second = original(ours.rgb, 3), original(ours.flow, 4)
    patches = (tokens_after(first, ours.rgb, rgb, 6) + tokens_after(second, ours.flow, flow, 6))[:, 1:]
    expected = first.head(first.norm(patches).mean(1)).unflatten(0, (2, 3)).mean(1)
    check_same(ours(rgb, flow)[0], expected)


@torch.no_grad()
def test_the_class_token_is_pooled_over_time_as_the_map_is() -> None:
    ours = network("streams=rgb", "temporal=pool3d")
    rgb, flow = clips()
    theirs = original(ours.rgb, 3)
    most = tokens_after(theirs, ours.rgb, rgb, 6).unflatten(0, (2, 3)).amax(1)
    check_same(ours(rgb, flow)[0], theirs.forward_head(theirs.norm(most)))


@torch.no_grad()
def test_a_pooling_follows_the_last_norm() -> None:
    ours = network("streams=rgb", "pooling=gmp")
    rgb, flow = clips()
    theirs = original(ours.rgb, 3)
    theirs.norm.load_state_dict(ours.rgb.backbone.stages["fc8"][0][0].norm.state_dict())
    largest = theirs.norm(tokens_after(theirs, ours.rgb, rgb, 6)[:, 1:]).amax(1)
    layer = ours.rgb.backbone.classifier
    expected = nn.functional.linear(largest, layer.weight[:, :, 0, 0], layer.bias)
    check_same(ours(rgb, flow)[0], expected.unflatten(0, (2, 3)).mean(1))


@pytest.mark.long
@pytest.mark.parametrize(
    ("overrides", "title"),
    [
        (["streams=rgb"], "class token"),
        (["layer=conv4"], "class token"),
        (["layer=conv5", "fusion=sum"], "mean of patches"),
        (["layer=conv5", "fusion=concat"], "mean of patches"),
        (["streams=rgb", "attention=se"], "mean of patches"),
        (["streams=rgb", "temporal=conv3d"], "mean of patches"),
        (["layer=conv5", "two_towers=true"], "mean of patches"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_info_says_what_is_classified(overrides: list[str], title: str) -> None:
    rows = describe_config(compose_config([*SMALL, *overrides]), 5).rows
    layers = {row.name: row.layer for row in rows if row.part == "rgb"}
    assert layers["conv1"] == "patch embedding"
    assert layers["conv2"] == "block 1 of 6"
    assert layers["conv5"] == "blocks 5-6 of 6"
    assert layers["fc8"] == title
    flow = {row.name: row.layer for row in rows if row.part == "flow"}
    assert flow.get("fc8", "class token") == "class token"  # a second tower has its own


def test_a_concatenated_map_of_another_width_gets_a_norm_of_its_own() -> None:
    ours = network("layer=conv5", "fusion=concat", "pooling=gap")
    norm = ours.rgb.backbone.stages["fc8"][0][0].norm
    assert norm.normalized_shape == (128,)
    assert ours(*clips()).shape == (1, 2, 5)


@pytest.mark.parametrize(
    "overrides", [["streams=rgb"], ["layer=conv3"], ["layer=conv5"], ["streams=rgb", "pooling=gap"]]
)
def test_grad_cam_has_a_map_that_the_scores_depend_on(overrides: list[str]) -> None:
    ours = network(*overrides)
    rgb, flow = clips()
    _, maps = grad_cam(ours, maps_to_explain(ours), [rgb, flow])
    for map_ in maps.values():
        assert map_.shape == (2, 3, 3, 3)
        assert map_.max() > 0


@pytest.mark.long
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_every_parameter_gets_a_gradient_also_with_checkpointing(precision: torch.dtype) -> None:
    gradients = []
    for again in (False, True):
        ours = network("layer=conv3").train()
        for tower in (ours.rgb, ours.flow):
            tower.checkpointing = again
            for part in tower.modules():
                if isinstance(part, nn.Dropout):
                    part.p = 0.0
        with torch.autocast("cpu", dtype=precision, enabled=precision != torch.float32):
            ours(*clips()).float().square().sum().backward()
        assert [name for name, p in ours.named_parameters() if p.grad is None or not p.grad.any()] == []
        gradients.append({name: p.grad for name, p in ours.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


def test_roles_and_decay_of_the_parameters() -> None:
    ours = network("layer=softmax", "fusion=sum")
    found = roles(ours)
    assert {name for name, role in found.items() if role == "flow_conv1"} == {
        f"flow.backbone.stages.conv1.network.patch_embed.proj.{kind}" for kind in ("weight", "bias")
    }
    assert set(classifiers(ours)) == {f"{stream}.backbone.stages.fc8.network.head" for stream in ("rgb", "flow")}
    decayed = {
        id(p)
        for group in parameter_groups(ours, learning_rate=1, weight_decay=1)
        if group["weight_decay"]
        for p in group["params"]
    }
    kept = {name.rpartition(".")[2] for name, p in ours.named_parameters() if p.ndim > 1 and id(p) not in decayed}
    assert kept == {"cls_token", "pos_embed"}


# Weights


def test_a_file_of_the_library(tmp_path: Path) -> None:
    theirs, _ = pair("test_vit", classes=1000)
    values = theirs.state_dict()
    torch.save(values, tmp_path / "full.pth")
    flow: Any = timm(20, 7, name="test_vit", weights=str(tmp_path / "full.pth"))
    report = flow.report
    assert report is not None
    assert report.adapted == ("stages.conv1.network.patch_embed.proj.weight",)
    assert set(report.random) == {"stages.fc8.network.head.weight", "stages.fc8.network.head.bias"}
    torch.testing.assert_close(flow.first[1].weight[:, 19], values["patch_embed.proj.weight"].mean(1))
    assert torch.equal(flow.stages["conv5"].blocks[1].mlp.fc2.weight, values["blocks.5.mlp.fc2.weight"])
    assert not flow.classifier.weight.any()
    same = timm(3, 1000, name="test_vit", weights=str(tmp_path / "full.pth")).eval()
    image = torch.randn(1, 3, 160, 160)
    with torch.no_grad():
        check_same(same(image), theirs(image))
    deeper = {**values, "blocks.6.norm1.weight": torch.ones(64)}
    torch.save(deeper, tmp_path / "deeper.pth")
    with pytest.raises(ValueError, match=r"1 more tensors .* blocks\.6\.norm1\.weight; it belongs to another network"):
        timm(3, 7, name="test_vit", weights=str(tmp_path / "deeper.pth"))


@torch.no_grad()
def test_position_embeddings_of_a_file_for_another_size(tmp_path: Path) -> None:
    torch.manual_seed(0)
    large = library.create_model("test_vit", img_size=224).eval()  # 14×14 patches, not 10×10
    torch.save(large.state_dict(), tmp_path / "large.pth")
    ours = timm(3, 1000, name="test_vit", weights=str(tmp_path / "large.pth")).eval()
    large.set_input_size((160, 160))
    image = torch.randn(1, 3, 160, 160)
    check_same(ours(image), large(image))


def test_pretrained_weights_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    create: Any = library.create_model
    made: list[Any] = []

    def pretend(name: str, *, pretrained: bool = False, **options: Any) -> nn.Module:
        network = create(name, pretrained=False, **options)
        made.extend([network] if pretrained else [])
        return network

    monkeypatch.setattr(library, "create_model", pretend)
    copy: Any = timm(20, 7, name="test_vit", weights="imagenet")
    [donor] = made
    torch.testing.assert_close(copy.first[1].weight[:, 0], donor.patch_embed.proj.weight.mean(1))
    assert torch.equal(copy.stages["conv1"].network.pos_embed, donor.pos_embed)


# As a whole


@pytest.mark.parametrize("name", ["test_vit_relpos", "hrnet_w18_small", "mixer_s32_224"])
@torch.no_grad()
def test_what_is_not_a_chain_is_one_stage(name: str) -> None:
    theirs, ours = pair(name)
    assert list(ours.stages) == ["fc8"]
    side = theirs.pretrained_cfg["input_size"][-1]
    image = torch.randn(1, 3, side, side)
    check_same(ours(image), theirs(image))
    assert ours.classifier.weight.shape[0] == 7


def whole(*overrides: str) -> Any:
    config = compose_config(["backbone=timm", "backbone.name=test_vit_relpos", "transform.size=160", *overrides])
    network = build_network(config, 5, meta=True)
    return config, network


@pytest.mark.long
@pytest.mark.parametrize(
    "overrides", [["streams=rgb"], ["streams=flow"], ["layer=fc8", "fusion=sum"], ["layer=softmax", "fusion=sum"]]
)
def test_whole_networks_work_alone_and_fused_by_scores(overrides: list[str]) -> None:
    config, made = whole(*overrides)
    channels = {"rgb": 3, "flow": 2 * config.flow.length}
    shown = [torch.zeros(2, 3, channels[stream], 160, 160, device="meta") for stream in made.streams]
    assert made.combine(made(*shown)).shape == (2, 5)
    assert any("temporal" in line and "changes nothing" in line for line in check_effects(config, made))
    assert {name.rpartition(".")[2] for name in classifiers(made)} == {"head"}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["layer=conv3"], "layer='conv3': no such stage here; choose from fc8, softmax"),
        (["streams=rgb", "pooling=gap"], "pooling: timm/test_vit_relpos has no map to pool; choose pooling=native"),
        (["streams=rgb", "attention=se"], "attention_after='conv5': choose from fc8"),
        (["streams=rgb", "temporal=conv3d"], "temporal=conv3d: .* has no map to convolve; choose temporal=pool2d"),
    ],
)
def test_what_needs_a_map_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        whole(*overrides)


def test_several_classifiers_are_refused() -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=r"VisionTransformerDistilled of timm has 2 classifiers"):
        timm(3, 7, name="deit_tiny_distilled_patch16_224")


def test_a_file_for_a_whole_network(tmp_path: Path) -> None:
    theirs = library.create_model("test_vit_relpos", num_classes=1000)
    torch.save(theirs.state_dict(), tmp_path / "full.pth")
    flow = timm(20, 7, name="test_vit_relpos", weights=str(tmp_path / "full.pth"))
    assert flow.report is not None
    assert [name.split(".")[-2:] for name in flow.report.random] == [["head", "weight"], ["head", "bias"]]
    assert [name.split(".")[-3:] for name in flow.report.adapted] == [["patch_embed", "proj", "weight"]]
    half = {name: value for name, value in theirs.state_dict().items() if "blocks.1" not in name}
    torch.save(half, tmp_path / "half.pth")
    with pytest.raises(ValueError, match=r"does not fit timm/test_vit_relpos: .* tensors are missing"):
        timm(3, 7, name="test_vit_relpos", weights=str(tmp_path / "half.pth"))
