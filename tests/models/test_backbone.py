"""Stages, sizes and parameter counts of the published networks; widening, heads, fully convolutional testing."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn

from twostream.models.backbone import (
    Backbone,
    FullyConnected,
    googlenet,
    load_weights,
    resnet18,
    resnet34,
    resnet50,
    squeezenet1_0,
    timm,
    tiny,
    vgg16,
    vgg16_bn,
    vgg_m,
)
from twostream.models.pooling import GMP
from twostream.models.stages import STAGES

OPTIONS = sorted((Path(__file__).parents[2] / "conf" / "backbone").glob("*.yaml"))


def option(path: Path) -> Any:
    if path.stem == "timm":
        pytest.importorskip("timm")
    return instantiate(OmegaConf.merge(OmegaConf.load(path), {"weights": None}))


def on_meta(make: Any, in_channels: int = 3, num_classes: int = 101, **options: Any) -> Backbone:
    with torch.device("meta"):
        return make(in_channels, num_classes, **options)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def maps(backbone: Backbone, size: int, in_channels: int = 3) -> dict[str, tuple[int, ...]]:
    """Shape (c, h, w) of each stage's output, on the meta device; of images, or of clips of 16 frames."""
    x = torch.zeros(1, *(16,) * reads_clips(backbone), in_channels, size, size, device="meta")
    shapes, tokens = {}, None
    for name, stage in backbone.eval().stages.items():
        is_flat = x.ndim == 5 and not getattr(stage, "over_clip", False)
        if getattr(stage, "carries_tokens", False):
            x, tokens = stage(x, tokens)
        else:
            x = stage(x.flatten(0, 1) if is_flat else x)
        shapes[name] = tuple(x.shape[-3:])
    return shapes


def reads_clips(backbone: Backbone) -> bool:
    return any(getattr(stage, "over_clip", False) for stage in backbone.stages.values())


# Every option


@pytest.mark.long
@pytest.mark.parametrize("path", OPTIONS, ids=lambda path: path.stem)
def test_stages_channels_and_strides_are_what_is_said(path: Path) -> None:
    backbone = on_meta(option(path), in_channels=20, num_classes=51)
    assert all(parameter.is_meta for parameter in backbone.parameters())
    names = list(backbone.stages)
    assert names == [name for name in STAGES if name in names] == list(backbone.channels) == list(backbone.strides)
    assert {"conv2", "conv3", "conv4", "conv5", "fc8"} <= set(names)
    at_224, at_448 = maps(backbone, 224, 20), maps(backbone, 448, 20)
    for name, (channels, height, width) in at_224.items():
        assert backbone.channels[name] == channels
        if at_448[name][1] > 1:  # twice the size: 224 / stride more cells, whatever the borders do
            assert at_448[name][1] - height == at_448[name][2] - width == 224 / backbone.strides[name]
    assert backbone.channels["fc8"] == 51
    assert at_224["fc8"] == (51, 1, 1)
    time = (16,) * reads_clips(backbone)
    assert backbone(torch.zeros(2, *time, 20, 448, 448, device="meta")).shape == (2, 51)


@pytest.mark.parametrize("path", OPTIONS, ids=lambda path: path.stem)
def test_dropout_is_one_value(path: Path) -> None:
    layers = on_meta(option(path), dropout=0.85).stages.modules()
    probabilities = {layer.p for layer in layers if type(layer) is nn.Dropout}
    assert probabilities <= {0.85, 0.0}
    assert 0.85 in probabilities


def test_input_statistics() -> None:
    vgg = on_meta(vgg16)
    assert vgg.mean == pytest.approx([0.485 * 255, 0.456 * 255, 0.406 * 255])
    assert vgg.std == pytest.approx([0.229 * 255, 0.224 * 255, 0.225 * 255])
    assert vgg.flow_std == pytest.approx(sum(vgg.std) / 3, abs=0.005)
    paper = on_meta(vgg_m)
    assert (paper.mean, paper.std, paper.flow_std) == ((123.68, 116.779, 103.939), (1, 1, 1), 1)
    small = on_meta(tiny)
    assert (0 - small.mean[0]) / small.std[0] == -1
    assert (255 - small.mean[0]) / small.std[0] == 1
    assert 3 * 127 / 20 / small.flow_std == pytest.approx(1, abs=0.01)  # 3 pixels, the embedded set's speed


# Numbers of PAPER 1.1, 1.2, 1.10 and of torchvision


@pytest.mark.parametrize(
    ("make", "in_channels", "num_classes", "parameters"),
    [
        (vgg_m, 3, 101, 90_627_813),
        (vgg_m, 3, 51, 90_525_363),
        (vgg_m, 20, 101, 90_707_781),
        (vgg_m, 20, 51, 90_605_331),
        (vgg_m, 3, 1000, 92_469_864),
        (vgg16, 3, 101, 134_674_341),
        (vgg16, 3, 51, 134_469_491),
        (vgg16, 20, 101, 134_684_133),
        (vgg16, 20, 51, 134_479_283),
        (vgg16, 3, 1000, 138_357_544),
        (vgg16_bn, 3, 1000, 138_365_992),
        (resnet18, 3, 1000, 11_689_512),
        (resnet34, 3, 1000, 21_797_672),
        (resnet50, 3, 1000, 25_557_032),
        (squeezenet1_0, 3, 1000, 1_248_424),
        (googlenet, 3, 1000, 6_624_904),
    ],
)
def test_parameters(make: Any, in_channels: int, num_classes: int, parameters: int) -> None:
    assert count(on_meta(make, in_channels, num_classes)) == parameters


def test_parameters_of_the_stages() -> None:
    spatial, temporal = on_meta(vgg_m), on_meta(vgg_m, 20)
    assert {name: count(stage) for name, stage in spatial.stages.items()} == {
        "conv1": 14_208,
        "conv2": 614_656,
        "conv3": 1_180_160,
        "conv4": 2_359_808,
        "conv5": 2_359_808,
        "fc6": 75_501_568,
        "fc7": 8_390_656,
        "fc8": 206_949,
    }
    assert count(temporal.stages["conv1"]) == 94_176
    assert count(on_meta(vgg_m, num_classes=51).stages["fc8"]) == 104_499
    deep = on_meta(vgg16)
    assert {name: count(stage) for name, stage in deep.stages.items()} == {
        "conv1": 1_792 + 36_928,
        "conv2": 73_856 + 147_584,
        "conv3": 295_168 + 2 * 590_080,
        "conv4": 1_180_160 + 2 * 2_359_808,
        "conv5": 3 * 2_359_808,
        "fc6": 102_764_544,
        "fc7": 16_781_312,
        "fc8": 413_797,
    }
    assert count(on_meta(vgg16, 20).stages["conv1"]) == 11_584 + 36_928


def test_map_sizes() -> None:
    backbone = on_meta(vgg_m)
    x, sides = torch.zeros(1, 3, 224, 224, device="meta"), []
    for stage in backbone.eval().stages.values():
        for layer in stage:
            x = layer(x)
            if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
                sides.append(x.shape[-1])
    # conv1, pool1, conv2, pool2 (12 if rounded down, which fc6 would take for 6 just as well), conv3-5, pool5, fc6-8
    assert sides == [109, 54, 26, 13, 13, 13, 13, 6, 1, 1, 1]
    vgg = maps(on_meta(vgg16), 224)
    assert [vgg[name][1] for name in vgg] == [224, 112, 56, 28, 14, 1, 1, 1]
    pool5 = on_meta(vgg16).stages["fc6"][0]
    assert pool5(torch.zeros(1, 512, 14, 14, device="meta")).shape[-2:] == (7, 7)
    squeeze = maps(on_meta(squeezenet1_0), 224)
    assert [squeeze[name] for name in squeeze if name != "fc8"] == [
        (96, 109, 109),
        (256, 54, 54),
        (384, 27, 27),
        (512, 27, 27),
        (512, 13, 13),
    ]
    small = maps(on_meta(tiny), 64)
    assert [small[name][1] for name in small] == [32, 16, 16, 8, 8, 1]


def test_receptive_field_and_stride_of_vgg_m() -> None:
    fields, field, step = [], 1, 1
    layers = [layer for name, stage in on_meta(vgg_m).stages.items() if "conv" in name for layer in stage]
    for layer in layers:
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            kernel, stride = (v[0] if isinstance(v, tuple) else v for v in (layer.kernel_size, layer.stride))
            field, step = field + (kernel - 1) * step, step * stride
            fields.append(field)
    assert fields == [7, 11, 27, 43, 75, 107, 139]
    assert step == 16


def test_response_normalisation_of_vgg_m() -> None:
    norm = on_meta(vgg_m).stages["conv2"][0]
    x = torch.tensor([100.0, 200, 300, 400, 500]).view(1, 5, 1, 1)
    # channel 0 sees channels 0..2: 2 + 1e-4 * (1 + 4 + 9) * 1e4 = 16, and 16^.75 = 8
    assert norm(x)[0, 0].item() == pytest.approx(100 / 8)
    assert norm(x)[0, 2].item() == pytest.approx(300 / 57**0.75)  # all five: 2 + 55


def test_norm2_is_left_out_of_the_flow_network() -> None:
    def norms(in_channels: int, **options: Any) -> list[str]:
        stages = on_meta(vgg_m, in_channels, **options).stages
        return [name for name in stages if any(isinstance(part, nn.LocalResponseNorm) for part in stages[name])]

    assert norms(3) == ["conv2", "conv3"]
    assert norms(20) == ["conv2"]
    assert norms(20, norm2=True) == ["conv2", "conv3"]
    assert norms(3, norm2=False) == ["conv2"]


# Values


@pytest.mark.parametrize("name", ["vgg16", "resnet18", "squeezenet1_0", "googlenet"])
def test_same_scores_as_torchvision(name: str) -> None:
    models = pytest.importorskip("torchvision").models
    torch.manual_seed(0)
    options = {"init_weights": False} if name in ("vgg16", "googlenet") else {}
    options |= {"aux_logits": False} if name == "googlenet" else {}
    theirs = models.get_model(name, num_classes=10, **options).eval()
    published = {"relu": True} if name == "squeezenet1_0" else {}
    ours = on_meta(globals()[name], num_classes=10, **published).to_empty(device="cpu").eval()
    report = load_weights(ours, theirs.state_dict())
    assert (report.adapted, report.random, report.unused) == ((), (), ())
    image = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(ours(image), theirs(image), rtol=1e-4, atol=1e-6)


def test_squeezenets_scores_are_the_published_ones_but_for_the_relu() -> None:
    torch.manual_seed(0)
    linear, published = squeezenet1_0(3, 10).eval(), squeezenet1_0(3, 10, relu=True).eval()
    published.load_state_dict(linear.state_dict())  # the weights fit both
    maps: list[torch.Tensor] = []
    linear.classifier.register_forward_hook(lambda _, __, out: maps.append(out))
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        scores = linear(image)
        torch.testing.assert_close(published(image), maps[0].relu().mean(dim=(2, 3)))
    torch.testing.assert_close(scores, maps[0].mean(dim=(2, 3)))
    assert scores.min() < 0 <= published(image).min()


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("make", [squeezenet1_0, partial(timm, name="resnet10t")], ids=["squeezenet1_0", "timm"])
def test_new_classes_on_trained_layers_of_any_scale_begin_equally_likely(make, pooled: bool, tmp_path: Path) -> None:
    if isinstance(make, partial):
        pytest.importorskip("timm")
    trained = make(3, 5)
    torch.save(trained.state_dict(), tmp_path / "weights.pth")
    backbone = make(3, 4, weights=str(tmp_path / "weights.pth"))
    if pooled:
        backbone.replace_head(GMP(512), 512, 4)
    assert not backbone.classifier.weight.any()
    assert torch.equal(backbone.first[1].weight, trained.first[1].weight)
    same = make(3, 5, weights=str(tmp_path / "weights.pth"))  # of the same classes: loaded
    assert torch.equal(same.classifier.weight, trained.classifier.weight)


def test_filters_of_a_network_that_does_not_divide_its_input_are_smaller() -> None:
    torch.manual_seed(0)
    backbone = vgg_m(3, 4)
    x = 57.63 * torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert backbone.stages["conv1"](x).square().mean().sqrt().item() == pytest.approx(1, rel=0.1)


def test_initial_values() -> None:
    with nan_where_uninitialised():
        torch.manual_seed(0)
        backbone = resnet18(20, 101)
        assert all(tensor.isfinite().all() for tensor in backbone.state_dict().values())
        torch.manual_seed(0)
        again = resnet18(20, 101)
    assert all(torch.equal(a, b) for a, b in zip(backbone.parameters(), again.parameters(), strict=True))
    second = backbone.stages["conv5"][1].conv2.weight
    assert second.std().item() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.01)
    head = backbone.classifier
    assert head.weight.std().item() == pytest.approx(0.01 / 2, rel=0.01)  # 512 inputs; .01 for 128 or fewer
    assert head.bias is not None
    assert not head.bias.any()
    norm = backbone.stages["conv1"][1]
    assert norm.weight.eq(1).all()
    assert norm.running_var.eq(1).all()


@contextmanager
def nan_where_uninitialised() -> Iterator[None]:
    """torch.empty gives NaN inside, so that a value that nobody set is seen."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@pytest.mark.parametrize("make", [tiny, squeezenet1_0, resnet18, googlenet])
def test_convolutional_stages_end_at_their_relu_and_no_stage_changes_its_input(make: Any) -> None:
    torch.manual_seed(0)
    backbone = make(3, 4).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for name, stage in backbone.stages.items():
            before, kept = x, x.clone()
            x = stage(x)
            assert torch.equal(before, kept), f"{name} works in place on the map that may be fused"
            assert not name.startswith("conv") or (x.min() >= 0 and (x == 0).any())


def test_a_fully_connected_layer_slides_over_larger_maps() -> None:
    torch.manual_seed(0)
    layer = FullyConnected(4, 5, 3).double()
    x = torch.randn(2, 4, 4, 5, dtype=torch.float64)
    y = layer(x)
    assert y.shape == (2, 5, 2, 3)
    linear = nn.functional.linear
    for row in range(2):
        for column in range(3):
            window = x[:, :, row : row + 3, column : column + 3]
            expected = linear(window.flatten(1), layer.weight.flatten(1), layer.bias)
            torch.testing.assert_close(y[:, :, row, column], expected)
            torch.testing.assert_close(layer(window)[:, :, 0, 0], expected)
            last = copy.deepcopy(layer).to(memory_format=torch.channels_last)
            torch.testing.assert_close(last(window)[:, :, 0, 0], expected)
    with pytest.raises(ValueError, match=r"over 3×3 cells got a map of 2×5.*larger images"):
        layer(x[:, :, :2])


def test_the_score_of_a_larger_map_is_the_mean_of_the_windows() -> None:
    torch.manual_seed(0)
    stages = {
        "conv5": nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()),
        "fc6": nn.Sequential(nn.MaxPool2d(3, 2), FullyConnected(4, 8, 6), nn.ReLU(), nn.Dropout(0.5)),
        "fc8": nn.Sequential(FullyConnected(8, 3)),
    }
    sizes = {"conv5": 4, "fc6": 8, "fc8": 3}
    backbone = Backbone("small", stages, channels=sizes, strides={"conv5": 1, "fc6": 2, "fc8": 2}).double().eval()
    x = torch.randn(2, 3, 15, 17, dtype=torch.float64)  # pooled to 7×8: 2×3 windows of 6×6, two pixels apart
    windows = [backbone(x[:, :, r : r + 13, c : c + 13]) for r in (0, 2) for c in (0, 2, 4)]
    torch.testing.assert_close(backbone(x), torch.stack(windows).mean(0))


# Widening


def fused(order: str, a: Tensor, b: Tensor) -> Tensor:
    """Concatenation as PAPER 1.4 has it: blocks [a, b], or flow on the even and RGB on the odd channels."""
    return torch.cat([a, b], 1) if order == "block" else torch.stack([b, a], 2).flatten(1, 2)


@pytest.mark.parametrize("order", ["block", "interleaved"])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (tiny, "conv2"),
        (tiny, "fc8"),
        (resnet18, "conv3"),
        (resnet18, "fc8"),
        (squeezenet1_0, "conv4"),
        (googlenet, "fc8"),
    ],
)
def test_a_widened_stage_of_the_concatenation_equals_the_stage_of_the_sum(make: Any, name: str, order: str) -> None:
    torch.manual_seed(0)
    backbone = make(3, 7).double().eval()
    before = list(backbone.stages)[list(backbone.stages).index(name) - 1]
    channels = backbone.channels[before]
    a, b = torch.randn(2, 2, channels, 9, 9, dtype=torch.float64)
    stage = backbone.stages[name]
    expected = stage(a + b)
    assert expected.std() > 0
    backbone.widen(name, 2 * channels, order=order)
    torch.testing.assert_close(stage(fused(order, a, b)), expected)
    other = "interleaved" if order == "block" else "block"
    assert not torch.allclose(stage(fused(other, a, b)), expected)  # the order matters


@pytest.mark.parametrize("order", ["block", "interleaved"])
@pytest.mark.parametrize(("make", "name"), [(resnet18, "conv2"), (squeezenet1_0, "conv5"), (googlenet, "conv2")])
def test_behind_a_max_pool_a_widened_stage_adds_what_was_pooled(make: Any, name: str, order: str) -> None:
    torch.manual_seed(0)
    backbone = make(3, 7).double().eval()
    stage = backbone.stages[name]
    pool, rest = stage[0], nn.Sequential(*stage[1:])
    before = list(backbone.stages)[list(backbone.stages).index(name) - 1]
    channels = backbone.channels[before]
    a, b = torch.randn(2, 2, channels, 9, 9, dtype=torch.float64)
    expected = rest(pool(a) + pool(b))
    backbone.widen(name, 2 * channels, order=order)
    torch.testing.assert_close(stage(fused(order, a, b)), expected)


def test_widening_adds_the_parameters_of_the_paper() -> None:
    backbone = on_meta(vgg_m)
    backbone.widen("fc6", 1024)
    assert count(backbone) - 90_627_813 == 75_497_472
    backbone.widen("fc6", 1024)  # it is as wide already
    assert count(backbone) - 90_627_813 == 75_497_472
    deep = on_meta(resnet50)
    before = count(deep)
    deep.widen("conv3", 512)
    assert count(deep) - before == 256 * 128 + 256 * 512  # the first 1×1 and the shortcut


def test_a_map_of_unequal_towers_repeats_the_filters_as_far_as_they_go() -> None:
    backbone = tiny(3, 7)
    filters = backbone.stages["conv3"][0].weight.detach().clone()
    backbone.widen("conv3", 48)  # 32 of one tower, 16 of the other
    torch.testing.assert_close(backbone.stages["conv3"][0].weight, torch.cat([filters, filters[:, :16]], 1))


@pytest.mark.parametrize(
    ("name", "channels", "order", "message"),
    [
        ("fc6", 128, "block", "layer='fc6': tiny has no such stage; choose from conv1, conv2, .*, fc8"),
        ("conv3", 64, "mixed", "order='mixed': choose from block, interleaved"),
        ("conv3", 31, "block", "tiny reads 32 channels here; 31 cannot replace them"),
        ("conv3", 48, "interleaved", "48 cannot replace them, a multiple of them could"),
    ],
)
def test_widening_refuses(name: str, channels: int, order: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        on_meta(tiny).widen(name, channels, order=order)


# Heads


def test_another_head() -> None:
    backbone = on_meta(vgg_m, dropout=0.7)
    backbone.replace_head(nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten()), 512, 51)
    assert list(backbone.stages) == ["conv1", "conv2", "conv3", "conv4", "conv5", "fc8"]
    assert count(backbone) == 6_528_640 + 512 * 51 + 51
    assert backbone.channels["fc8"] == 51
    assert "fc6" not in backbone.channels
    assert [layer.p for layer in backbone.modules() if isinstance(layer, nn.Dropout)] == [0.7]

    small = tiny(3, 4).double().eval()
    small.replace_head(nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten()), 64, 5)
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    features = x
    for name in ("conv1", "conv2", "conv3", "conv4", "conv5"):
        features = small.stages[name](features)
    weight = small.classifier.weight[:, :, 0, 0]
    assert weight.std().item() == pytest.approx(0.01, rel=0.2)
    torch.testing.assert_close(small(x), features.amax(dim=(2, 3)) @ weight.T)


# Optional libraries


def test_without_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    assert count(on_meta(vgg_m)) == 90_627_813
    assert tiny(3, 4)(torch.zeros(1, 3, 64, 64)).shape == (1, 4)
    with pytest.raises(
        ImportError, match=r"backbone=resnet18: torchvision cannot be imported.*choose from vgg_m, tiny"
    ):
        on_meta(resnet18)


def test_without_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r"backbone=timm needs timm .*: pip install -e .*\[timm\]"):
        on_meta(partial(timm, name="resnet18"))


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("resnet10t", ["conv1", "conv2", "conv3", "conv4", "conv5"]),
        ("mobilenetv3_small_050", ["conv1", "conv2", "conv3", "conv4", "conv5"]),
        ("convnext_atto", ["conv2", "conv3", "conv4", "conv5"]),
        ("test_mambaout", ["conv2", "conv3", "conv4", "conv5"]),  # works on n h w c inside
    ],
)
def test_timm_levels_are_the_stages(name: str, stages: list[str]) -> None:
    library = pytest.importorskip("timm")
    torch.manual_seed(0)
    backbone = timm(5, 7, name=name).eval()
    reference = library.create_model(name, features_only=True, in_chans=5).eval()
    own = backbone.state_dict()
    reference.load_state_dict({theirs: own[ours] for ours, theirs in backbone.source_names.items()})
    assert list(backbone.stages) == [*stages, "fc8"]
    x = y = torch.randn(1, 5, 96, 96)
    with torch.no_grad():
        for stage, expected in zip(stages, reference(x)[-len(stages) :], strict=True):
            y = backbone.stages[stage](y)
            nhwc = "NHWC" in str(getattr(reference, "output_fmt", ""))
            torch.testing.assert_close(y, expected.permute(0, 3, 1, 2) if nhwc else expected)
            assert (y.shape[1], 96 / y.shape[2]) == (backbone.channels[stage], backbone.strides[stage])
        assert backbone(x).shape == (1, 7)


def test_timm_refuses() -> None:
    pytest.importorskip("timm")
    with pytest.raises(ValueError, match=r"backbone.name='convnxt_tiny': timm has no such model.*convnext_tiny"):
        on_meta(partial(timm, name="convnxt_tiny"))


@pytest.mark.parametrize("order", ["block", "interleaved"])
@pytest.mark.parametrize(
    ("network", "name"), [("resnet10t", "conv3"), ("convnext_atto", "conv5"), ("resnet10t", "fc8")]
)
def test_a_widened_stage_of_timm_starts_as_that_of_the_sum(network: str, name: str, order: str) -> None:
    pytest.importorskip("timm")
    torch.manual_seed(0)
    backbone = timm(3, 7, name=network).double().eval()
    before = list(backbone.stages)[list(backbone.stages).index(name) - 1]
    channels = backbone.channels[before]
    a, b = torch.randn(2, 2, channels, 8, 8, dtype=torch.float64)
    expected = backbone.stages[name](a + b)
    backbone.widen(name, 2 * channels, order=order)
    torch.testing.assert_close(backbone.stages[name](fused(order, a, b)), expected)
