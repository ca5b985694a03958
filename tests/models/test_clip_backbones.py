"""Networks that read clips: torchvision's own maps and scores, inflated 2-D networks, and towers made of them."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from twostream.config.compose import compose_config
from twostream.config.network import build_network
from twostream.config.protocol_views import scores_frame_by_frame
from twostream.explain import grad_cam, maps_to_explain
from twostream.export.graph import load_onnx, load_pt2, scorer, write_onnx, write_pt2
from twostream.models.backbone import (
    Backbone,
    googlenet,
    load_weights,
    mc3_18,
    mvit_v2_s,
    r2plus1d_18,
    r3d_18,
    resnet18,
    resnet34,
    resnet50,
    resnet101,
    s3d,
    swin3d_b,
    swin3d_s,
    swin3d_t,
    tiny,
)
from twostream.models.memory_order import channels_last
from twostream.models.network.maps import Maps
from twostream.models.network.parts import towers
from twostream.models.network.tower import run_stage

RESNET = ("stem", "layer1", "layer2", "layer3", "layer4")
SWIN = ("swin3d_t", "swin3d_s", "swin3d_b")
ENDS = {  # the modules of torchvision behind which conv1 … conv5 end
    "r3d_18": RESNET,
    "mc3_18": RESNET,
    "r2plus1d_18": RESNET,
    "s3d": ("features.0", "features.3", "features.6", "features.12", "features.15"),
    "mvit_v2_s": ("conv_proj", "blocks.0", "blocks.2", "blocks.13", "blocks.14"),
    **dict.fromkeys(SWIN, ("pos_drop", "features.0", "features.2", "features.4", "norm")),
}
MAKE = {"r3d_18": r3d_18, "mc3_18": mc3_18, "r2plus1d_18": r2plus1d_18, "s3d": s3d}
MAKE |= {"swin3d_t": swin3d_t, "swin3d_s": swin3d_s, "swin3d_b": swin3d_b, "mvit_v2_s": mvit_v2_s}
LARGE = ("swin3d_s", "swin3d_b")  # as swin3d_t, and more of it: seconds each
CONV = ("conv1", "conv2", "conv3", "conv4", "conv5")
CLIP = ["sampling=clip", "sampling.num_frames=8", "flow.length=1", "transform.size=32"]
every_network = pytest.mark.parametrize("name", MAKE)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def on_meta(make: Any, in_channels: int = 3, num_classes: int = 400, **options: Any) -> Backbone:
    with torch.device("meta"):
        return make(in_channels, num_classes, **options)


def models() -> Any:
    return pytest.importorskip("torchvision").models


def awake(network: nn.Module) -> Any:
    """A network whose running means and variances are those of some training, in evaluation."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    return network.eval()


@torch.no_grad()
def maps_of(backbone: Backbone, clips: Tensor) -> list[Tensor]:
    """(n, t, c, h, w) after each of conv1 … conv5."""
    found, maps = [], Maps(clips)
    for name in CONV:
        maps = run_stage(backbone.stages[name], maps)
        found.append(maps.maps)
    return found


def as_maps(output: Any) -> Tensor:
    """(n, t, c, h, w) of what a module of torchvision returns: (n, c, t, h, w), (n, t, h, w, c), or tokens."""
    if isinstance(output, tuple):
        return output[0][:, 1:].unflatten(1, output[1]).permute(0, 1, 4, 2, 3)  # without the class token
    return output.transpose(1, 2) if output.shape[3] == output.shape[4] else output.permute(0, 1, 4, 2, 3)


@every_network
def test_as_many_parameters_as_torchvision_says(name: str) -> None:
    meta = models().get_model_weights(name).KINETICS400_V1.meta
    assert count(on_meta(MAKE[name])) == meta["num_params"]


@pytest.mark.long
@pytest.mark.parametrize(
    "name", [name if name not in LARGE else pytest.param(name, marks=pytest.mark.slow) for name in MAKE]
)
def test_maps_and_scores_are_those_of_torchvisions_own_forward_pass(name: str) -> None:
    torch.manual_seed(0)
    theirs = awake(models().get_model(name, num_classes=7))
    seen: dict[str, Tensor] = {}
    for end in ENDS[name]:
        theirs.get_submodule(end).register_forward_hook(
            lambda _, __, out, end=end: seen.update({end: out if isinstance(out, tuple) else out.clone()})
        )
    ours = MAKE[name](3, 7).eval()
    assert set(ours.source_names) == set(ours.state_dict())
    report = load_weights(ours, theirs.state_dict())
    assert (report.adapted, report.random, report.unused) == ((), (), ())
    clips = torch.randn(1, 16, 3, 224, 224) if name in ("s3d", "mvit_v2_s") else torch.randn(2, 6, 3, 64, 64)
    with torch.no_grad():
        scores = theirs(clips.transpose(1, 2))
    for stage, end, maps in zip(CONV, ENDS[name], maps_of(ours, clips), strict=True):
        expected = as_maps(seen[end])
        assert (maps - expected).abs().max() <= 1e-5 * expected.abs().max(), stage
        assert maps.shape[2] == ours.channels[stage]
        assert clips.shape[-1] / maps.shape[-1] == ours.strides[stage]
    torch.testing.assert_close(ours(clips), scores, rtol=1e-5, atol=1e-5)


@pytest.mark.long
@every_network
def test_the_input_is_normalised_as_torchvision_does_it(name: str) -> None:
    frames = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    preset = models().get_model_weights(name).KINETICS400_V1.transforms(crop_size=(32, 32), resize_size=(32, 32))
    network: Any = build_network(compose_config([*CLIP, f"backbone={name}"]), 5, meta=True)
    backbone = network.rgb.backbone
    ours = (frames - torch.tensor(backbone.mean).view(-1, 1, 1)) / torch.tensor(backbone.std).view(-1, 1, 1)
    torch.testing.assert_close(ours, preset(frames).transpose(0, 1), rtol=1e-5, atol=1e-5)
    assert backbone.flow_std == pytest.approx(sum(backbone.std) / 3)
    assert list(backbone.urls) == ["kinetics"] + ["kinetics_imagenet22k"] * (name == "swin3d_b")


def test_googlenet_gets_what_its_published_weights_were_trained_on() -> None:
    theirs = awake(models().googlenet(num_classes=5, aux_logits=False, init_weights=False, transform_input=True))
    ours = on_meta(googlenet, 3, 5).to_empty(device="cpu").eval()
    load_weights(ours, theirs.state_dict())
    frames = torch.randint(0, 256, (2, 3, 64, 64)).float()
    mean, std = (255 * torch.tensor(value).view(-1, 1, 1) for value in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        expected = theirs((frames - mean) / std)
        torch.testing.assert_close(ours((frames - 127.5) / 127.5), expected, rtol=1e-4, atol=1e-5)


# Inflated 2-D networks


@pytest.mark.long
@pytest.mark.parametrize("frames", [4, 9])
@pytest.mark.parametrize("make", [tiny, resnet18, resnet50, googlenet])
def test_a_video_of_one_frame_gives_exactly_the_maps_of_the_2_d_network(make: Any, frames: int) -> None:
    torch.manual_seed(0)
    flat, deep = awake(make(3, 7)), make(3, 7, inflate=True).eval()
    report = load_weights(deep, flat.state_dict())
    assert (report.adapted, report.random, report.unused) == ((), (), ())
    image = torch.randn(2, 3, 64, 64)
    found = maps_of(deep, image[:, None].expand(-1, frames, -1, -1, -1))
    with torch.no_grad():
        expected = image
        for stage, maps in zip(CONV, found, strict=True):
            expected = flat.stages[stage](expected)
            assert (maps - expected[:, None]).abs().max() <= 1e-5 * expected.abs().max(), stage
        scores = flat(image)
        assert (deep(image[:, None].expand(-1, frames, -1, -1, -1)) - scores).abs().max() <= 1e-5 * scores.abs().max()


def test_an_inflated_network_sees_in_which_order_frames_come() -> None:
    torch.manual_seed(0)
    deep = resnet18(3, 7, inflate=True).eval()
    clips = torch.randn(1, 8, 3, 32, 32)
    assert [tuple(maps.shape[1:3]) for maps in maps_of(deep, clips)] == [(4, 64), (4, 64), (4, 128), (2, 256), (1, 512)]
    with torch.no_grad():
        assert not torch.allclose(deep(clips), deep(clips.flip(1)), rtol=1e-3)


def test_a_clip_of_i3d_has_the_parameters_that_its_paper_rounds_to_25_million() -> None:
    rgb, flow = (on_meta(googlenet, channels, 400, inflate=True) for channels in (3, 2))
    assert count(rgb) + count(flow) == pytest.approx(25e6, rel=0.02)
    flat = on_meta(googlenet)
    assert count(rgb) - count(flat) == sum(
        2 * w.numel() if w.shape[-1] == 3 else 6 * w.numel() if w.shape[-1] == 7 else 0
        for w in flat.parameters()
        if w.ndim == 4
    )


@pytest.mark.parametrize("make", [resnet34, resnet101])
def test_every_resnet_can_be_inflated(make: Any) -> None:
    flat, deep = on_meta(make), on_meta(make, inflate=True)
    assert deep(torch.zeros(2, 16, 3, 64, 64, device="meta")).shape == (2, 400)
    assert list(deep.state_dict()) == list(flat.state_dict())
    assert deep.source_names == flat.source_names


def test_weights_of_a_2_d_network_are_repeated_over_time_for_flow_too() -> None:
    torch.manual_seed(0)
    flat = resnet18(3, 7)
    deep = on_meta(resnet18, 2, 7, inflate=True).to_empty(device="cpu")
    report = load_weights(deep, flat.state_dict())
    assert report.adapted == ("stages.conv1.0.weight",)
    filters = deep.first[1].weight
    assert filters.shape == (64, 2, 7, 7, 7)
    torch.testing.assert_close(filters[:, 1].sum(1), flat.first[1].weight.mean(1))
    torch.testing.assert_close(filters[:, 0, 2], flat.first[1].weight.mean(1) / 7)


# In a network


@pytest.mark.long
@pytest.mark.parametrize("order", ["block", "interleaved"])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (r3d_18, "conv2"),
        (r3d_18, "conv4"),
        (r2plus1d_18, "conv2"),
        (r2plus1d_18, "conv5"),
        (s3d, "conv2"),
        (swin3d_t, "conv2"),
        (swin3d_t, "conv5"),
        (swin3d_t, "fc8"),
        (partial(resnet18, inflate=True), "conv3"),
    ],
)
def test_a_widened_stage_of_the_concatenation_equals_the_stage_of_the_sum(make: Any, name: str, order: str) -> None:
    torch.manual_seed(0)
    backbone = make(3, 7).double().eval()
    stage = backbone.stages[name]
    if isinstance(stage[0], nn.MaxPool3d):  # after which both are added
        backbone.stages[name] = stage = type(stage)(*list(stage)[1:])
    names = list(backbone.stages)
    channels = backbone.channels[names[names.index(name) - 1]]
    a, b = torch.randn(2, 1, *(4,) * (name != "fc8"), channels, 8, 8, dtype=torch.float64)
    expected = stage(a + b)
    backbone.widen(name, 2 * channels, order=order)
    both = torch.cat([a, b], -3) if order == "block" else torch.stack([b, a], -3).flatten(-4, -3)
    torch.testing.assert_close(backbone.stages[name](both), expected)


def test_a_clip_of_one_frame_is_refused_before_anything_is_built() -> None:
    with pytest.raises(ValueError, match=r"clips of one frame show r3d_18 no motion; choose sampling=clip \(sampl"):
        build_network(compose_config(["backbone=r3d_18"]), 5, meta=True)
    with pytest.raises(ValueError, match=r"size=64: too small an image, or too few frames \(4\) for stage conv5"):
        build_network(compose_config(["backbone=s3d", "sampling=clip", "sampling.num_frames=4"]), 5, meta=True)


def test_published_weights_are_those_of_kinetics() -> None:
    with pytest.raises(ValueError, match=r"weights='imagenet': there are none for r3d_18 .* backbone.weights=kinetics"):
        on_meta(r3d_18, weights="imagenet")
    with pytest.raises(
        ValueError, match=r"weights='kinetics': there are none for resnet18 .* backbone.weights=imagenet"
    ):
        on_meta(resnet18, weights="kinetics")
    assert on_meta(r3d_18, weights="kinetics").report is None  # nothing is downloaded for shapes


def test_a_network_of_clips_does_not_score_frame_by_frame() -> None:
    words = [*CLIP, "temporal=pool2d", "streams=rgb"]
    assert not scores_frame_by_frame(build_network(compose_config([*words, "backbone=r3d_18"]), 5, meta=True))
    assert scores_frame_by_frame(build_network(compose_config([*words, "backbone=resnet18"]), 5, meta=True))


def built(*words: str, classes: int = 5, meta: bool = False) -> Any:
    torch.manual_seed(0)
    return build_network(compose_config([*CLIP, *words]), classes, meta=meta)


def clips(count: int = 2) -> tuple[Tensor, Tensor]:
    """RGB frames and one field a frame."""
    random = torch.Generator().manual_seed(1)
    rgb = torch.randint(0, 256, (count, 8, 3, 32, 32), generator=random, dtype=torch.uint8)
    return rgb, torch.randint(-127, 128, (count, 8, 2, 32, 32), generator=random, dtype=torch.int8)


FUSIONS = ("sum", "max", "concat", "conv", "bilinear", "compact_bilinear", "attention", "weighted")


@pytest.mark.long
@pytest.mark.parametrize(("fusion", "layer"), [(fusion, CONV[i % 5]) for i, fusion in enumerate(FUSIONS)])
def test_every_stage_can_be_fused_by_every_fusion(fusion: str, layer: str) -> None:
    network = built("backbone=r2plus1d_18", f"fusion={fusion}", f"layer={layer}", meta=True)
    rgb, flow = (frames.to("meta") for frames in clips())
    assert network(rgb, flow).shape == (1, 2, 5)


@pytest.mark.long
@pytest.mark.parametrize("temporal", ["pool2d", "pool3d", "conv3d"])
@pytest.mark.parametrize("flow", ["tiny", "swin3d_t", "mvit_v2_s", "googlenet"])
def test_networks_of_frames_and_of_clips_are_fused_though_their_maps_differ_in_time(flow: str, temporal: str) -> None:
    words = [f"backbone@flow_backbone={flow}", f"temporal={temporal}", "layer=conv4", "align.channels=project"]
    words += ["flow_backbone.inflate=true"] * (flow == "googlenet")
    network = built("backbone=r3d_18", *words, meta=True)
    rgb, fields = (frames.to("meta") for frames in clips())
    assert network(rgb, fields).shape == (1, 2, 5)


def test_without_temporal_fusion_scores_are_torchvisions_own() -> None:
    network = awake(built("backbone=mc3_18", "streams=rgb", "temporal=pool2d"))
    backbone, (rgb, _) = network.rgb.backbone, clips()
    theirs = models().get_model("mc3_18", num_classes=5).eval()
    own = backbone.state_dict()
    theirs.load_state_dict(
        {name: own[ours].view_as(theirs.state_dict()[name]) for ours, name in backbone.source_names.items()}
    )
    mean, std = (torch.tensor(value).view(-1, 1, 1) for value in (backbone.mean, backbone.std))
    with torch.no_grad():
        expected = theirs(((rgb - mean) / std).transpose(1, 2))
        torch.testing.assert_close(network(rgb)[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.long
def test_channels_last_and_checkpointing_change_no_number() -> None:
    network = built("backbone=mc3_18", "layer=conv3", "fusion=concat", "dropout.rgb=0").double().train()
    others = [copy.deepcopy(network), channels_last(copy.deepcopy(network))]
    for tower in towers(others[0]).values():
        tower.checkpointing = True
    heads = network(*clips())
    heads.square().sum().backward()
    for other in others:
        found = other(*clips())
        found.square().sum().backward()
        torch.testing.assert_close(found, heads, rtol=1e-6, atol=1e-9)
        gradients = dict(other.named_parameters())
        for name, weight in network.named_parameters():
            torch.testing.assert_close(gradients[name].grad, weight.grad, rtol=1e-4, atol=1e-7)
    assert torch.equal(
        others[0].rgb.stages["conv4"][0].conv1[1].running_mean, network.rgb.stages["conv4"][0].conv1[1].running_mean
    )


def test_grad_cam_has_a_map_for_each_frame() -> None:
    network = built("backbone=r3d_18", "layer=conv4").eval()
    rgb, flow = clips()
    _, maps = grad_cam(network, maps_to_explain(network), (rgb.float(), flow.float()))
    assert {name: map_.shape[:2] for name, map_ in maps.items()} == dict.fromkeys(("rgb", "flow", "fused"), (2, 8))
    assert torch.equal(maps["flow"][:, 0], maps["flow"][:, 3])  # conv4 has two times: each stands for four frames
    assert not torch.equal(maps["flow"][:, 3], maps["flow"][:, 4])


@pytest.mark.long
@pytest.mark.parametrize(
    "words",
    [
        ["backbone=mc3_18"],
        ["backbone=resnet18", "backbone.inflate=true"],
        pytest.param(["backbone=swin3d_t"], marks=pytest.mark.slow),
        pytest.param(["backbone=mvit_v2_s"], marks=pytest.mark.slow),  # minutes
    ],
)
@pytest.mark.parametrize(("write", "load", "end"), [(write_pt2, load_pt2, "pt2"), (write_onnx, load_onnx, "onnx")])
def test_an_exported_network_of_clips_gives_the_same_scores(words, write, load, end: str, tmp_path: Path) -> None:
    if end == "onnx":
        pytest.importorskip("onnxruntime")
    network = awake(built(*words, "streams=rgb", "temporal=pool2d"))
    with torch.no_grad():
        network.rgb.backbone.classifier.weight.normal_()
    write(scorer(network), {"rgb": clips(2)[0]}, tmp_path / f"model.{end}")
    predict = load(tmp_path / f"model.{end}")
    for count in (1, 3):
        rgb, flow = clips(count)
        with torch.no_grad():
            score = network.combine(network(rgb, flow))
        assert (predict({"rgb": rgb}) - score).abs().max() <= 1e-5 * score.abs().max()


@pytest.mark.long
def test_what_is_fused_behind_the_last_conv_stage_of_a_transformer_reaches_its_scores() -> None:
    network = awake(built("backbone=mvit_v2_s", "temporal=pool2d", "fusion=concat"))
    with torch.no_grad():
        network.rgb.backbone.classifier.weight.normal_()
        rgb, flow = clips(1)
        assert not torch.allclose(network(rgb, flow), network(rgb, -flow), rtol=1e-3)


@pytest.mark.long
@pytest.mark.parametrize("words", [["backbone=s3d"], ["backbone.inflate=true"], ["backbone=mvit_v2_s"]])
def test_on_a_cpu_filters_over_time_get_the_gradients_of_float32_under_autocast(words: list[str]) -> None:
    """PyTorch's own, in bfloat16, are other numbers in each call, often NaN."""
    network = built(*words, "streams=rgb", "temporal=pool2d", "dropout.rgb=0").eval()
    with torch.no_grad():
        network.rgb.backbone.classifier.weight.normal_()
    rgb, _ = clips()
    gradients = []
    for autocast in (False, True):
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            network(rgb).float().square().sum().backward()
        gradients.append(network.rgb.backbone.first[1].weight.grad.clone())
    assert (gradients[1] - gradients[0]).norm() < 0.3 * gradients[0].norm()  # bfloat16 has 8 bits
