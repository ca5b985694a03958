"""Wiring: exact parameter counts of the paper's configurations, where gradients go, what averages what."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from twostream.config.compose import compose_config
from twostream.config.network import build_network
from twostream.metrics import ranks
from twostream.metrics.score_fusion import fuse
from twostream.metrics.scores import Scores
from twostream.models.attention import NonLocal
from twostream.models.backbone import resnet18, tiny, vgg16, vgg_m
from twostream.models.fusion import (
    BilinearFusion,
    ConcatFusion,
    ConvFusion,
    CrossAttentionFusion,
    MaxFusion,
    SumFusion,
    UpconvAlign,
    WeightedFusion,
    ZeroPadAlign,
)
from twostream.models.network import OverClip, SingleStreamNetwork, Tower, TwoStreamNetwork
from twostream.models.network.description import count_parameters
from twostream.models.network.late import LateFusion
from twostream.models.network.maps import Maps, equal_times
from twostream.models.network.tower import run_stage
from twostream.models.pooling import GAP
from twostream.models.temporal import Conv3d, Pool2d, Pool3d
from twostream.options.streams import Stream, column, diff, flow, rgb

VGGM, VGG16 = partial(vgg_m, weights=None), partial(vgg16, weights=None)


OF_TOWERS = {"pooling", "image_size", "attention_after"}


def two_stream(num_classes: int = 101, *, backbone=VGGM, flow_backbone=None, **options) -> TwoStreamNetwork:
    """On the meta device: parameters without memory."""
    defaults = {"fusion": ConvFusion, "temporal": Pool3d, "align": ZeroPadAlign}
    backbones = {"rgb": backbone, "flow": flow_backbone or backbone}
    of_towers = {name: options.pop(name) for name in OF_TOWERS & {*options}}

    def tower(stream: str) -> Tower:
        return Tower(described(stream), backbones[stream], num_classes=num_classes, **of_towers)

    with torch.device("meta"):
        return TwoStreamNetwork(tower=tower, **{**defaults, **options})


PAPER_COUNTS = [  # PAPER 1.10: configuration, parameters for 101 and for 51 classes
    ({"fusion": SumFusion, "layer": "softmax"}, 181_335_594, 181_130_694),
    ({"fusion": SumFusion, "layer": "conv5"}, 97_236_421, 97_133_971),
    ({"fusion": MaxFusion, "layer": "conv5"}, 97_236_421, 97_133_971),
    ({"fusion": ConcatFusion, "layer": "conv5"}, 172_733_893, 172_631_443),
    ({"layer": "conv5"}, 97_761_221, 97_658_771),
    ({"layer": "conv2"}, 91_467_973, 91_365_523),
    ({"layer": "conv3"}, 93_041_605, 92_939_155),
    ({"layer": "conv4"}, 95_401_413, 95_298_963),
    ({"layer": ["conv5", "fc8"]}, 181_860_394, 181_655_494),
    ({"layer": "conv5", "two_towers": True}, 181_860_394, 181_655_494),
    ({"layer": ["conv3", "conv5", "fc6"]}, 207_346_117, 207_243_667),
    ({"temporal": Conv3d, "two_towers": True}, 195_491_882, 195_286_982),
    ({"temporal": Conv3d}, 111_392_709, 111_290_259),
    ({"backbone": VGG16, "fusion": SumFusion, "layer": "softmax"}, 269_358_474, 268_948_774),
    ({"backbone": VGG16, "fusion": SumFusion}, 149_398_821, 149_193_971),
    ({"backbone": VGG16}, 149_923_621, 149_718_771),
    ({"backbone": VGG16, "temporal": Conv3d, "two_towers": True}, 283_514_762, 283_105_062),
    ({"backbone": VGG16, "temporal": Conv3d}, 163_555_109, 163_350_259),
    (
        {"backbone": VGG16, "flow_backbone": VGGM, "fusion": SumFusion, "layer": "softmax"},
        225_382_122,
        225_074_822,
    ),
    (
        {"backbone": VGG16, "flow_backbone": VGGM, "temporal": Conv3d, "two_towers": True},
        239_538_410,
        239_231_110,
    ),
    ({"backbone": VGG16, "flow_backbone": VGGM, "temporal": Conv3d}, 155_439_237, 155_234_387),
]


@pytest.mark.parametrize(("options", "ucf101", "hmdb51"), PAPER_COUNTS)
def test_parameter_counts_of_the_paper(options, ucf101: int, hmdb51: int) -> None:
    assert count_parameters(two_stream(101, **options)) == ucf101
    assert count_parameters(two_stream(51, **options)) == hmdb51


def test_bilinear_keeps_both_conv_stacks_and_one_linear_classifier() -> None:
    """PAPER 1.10: 13,137,248 in the conv stacks; the classifier takes 512 × 512 products."""
    network = two_stream(101, fusion=BilinearFusion, pooling=GAP)
    assert count_parameters(network) == 13_137_248 + (512 * 512 + 1) * 101


def test_concat_with_3d_convolution_is_conv_fusion_with_3d_convolution() -> None:
    """The 3-D filter contains the 1×1 filter (paper, section 3.4)."""
    one, other = (two_stream(temporal=Conv3d, fusion=f) for f in (ConcatFusion, ConvFusion))
    assert [p.shape for p in one.parameters()] == [p.shape for p in other.parameters()]


TINY = partial(tiny, dropout=0.0)


def described(stream: str, length: int = 10) -> Stream:
    return rgb() if stream == "rgb" else flow(length)


def tiny_tower(stream: str, backbone=TINY, **options) -> Tower:
    return Tower(described(stream, 2), backbone, num_classes=7, image_size=32, **options)


def tiny_network(tower=tiny_tower, **options) -> TwoStreamNetwork:
    torch.manual_seed(0)
    defaults = {"fusion": ConvFusion, "temporal": Pool3d, "align": ZeroPadAlign}
    return TwoStreamNetwork(tower=tower, **{**defaults, **options}).eval()


def clips(n: int = 2, t: int = 3, side: int = 32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    rgb = torch.randint(0, 256, (n, t, 3, side, side), generator=generator, dtype=torch.uint8)
    flow = torch.randint(-127, 128, (n, t, 4, side, side), generator=generator, dtype=torch.int8)
    return rgb, flow


def has_gradient(module: nn.Module) -> bool:
    return any(p.grad is not None and bool(p.grad.abs().max() > 0) for p in module.parameters())


STAGES = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc8", "softmax")


@pytest.mark.parametrize("layer", STAGES)
@pytest.mark.parametrize("fusion", [SumFusion, MaxFusion, ConcatFusion, ConvFusion, BilinearFusion])
@pytest.mark.parametrize("temporal", [Pool2d, Pool3d, Conv3d])
def test_every_cell_of_an_ablation_scores_or_says_why_not(layer: str, fusion, temporal) -> None:
    late_vector = layer in ("fc8", "softmax") and fusion in (ConcatFusion, BilinearFusion)
    if late_vector or (fusion is BilinearFusion and temporal is Conv3d):
        with pytest.raises(ValueError, match="choose"):
            tiny_network(layer=layer, fusion=fusion, temporal=temporal)
        return
    network = tiny_network(layer=layer, fusion=fusion, temporal=temporal)
    heads = network(*clips())
    learned_late = layer == "softmax" and fusion is ConvFusion
    assert heads.shape == (3 if learned_late else 2 if layer == "softmax" else 1, 2, 7)
    assert network.combine(heads).shape == (2, 7)
    assert heads.isfinite().all()


@pytest.mark.parametrize("layer", ["conv1", "conv3", "conv5", "fc8"])
def test_conv_fusion_starts_as_sum_fusion(layer: str) -> None:
    """[I; I] on ReLU maps is exactly the sum (PAPER 1.4): the whole networks agree."""
    sum_network, conv_network = (tiny_network(layer=layer, fusion=fusion) for fusion in (SumFusion, ConvFusion))
    conv_network.load_state_dict(sum_network.state_dict(), strict=False)
    torch.testing.assert_close(conv_network(*clips()), sum_network(*clips()), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("order", ["block", "interleaved"])
@pytest.mark.parametrize("layer", ["conv2", "conv5", ["conv2", "conv4"]])
def test_concat_starts_as_sum_fusion_in_both_orders(layer, order: str) -> None:
    """The filter after the concatenation is [W, W] (PAPER 5, claim 3)."""
    sum_network = tiny_network(layer=layer, fusion=SumFusion)
    torch.manual_seed(0)
    concat_network = tiny_network(layer=layer, fusion=partial(ConcatFusion, order=order))
    rgb, flow = clips(t=1)  # over time, the maximum of each half is not the maximum of the sum
    torch.testing.assert_close(concat_network(rgb, flow), sum_network(rgb, flow), rtol=1e-4, atol=1e-5)


def test_late_fusion_is_the_mean_of_probabilities() -> None:
    network = tiny_network(fusion=SumFusion, layer="softmax")
    heads = network(*clips())
    expected = heads.softmax(-1).mean(0)
    torch.testing.assert_close(network.combine(heads).exp(), expected)
    maximum = tiny_network(fusion=MaxFusion, layer="softmax")
    larger = heads.softmax(-1).amax(0)
    torch.testing.assert_close(maximum.combine(heads).exp(), larger / larger.sum(-1, keepdim=True))


def test_learned_late_fusion_sends_no_gradient_into_the_towers() -> None:
    network = tiny_network(fusion=ConvFusion, layer="softmax")
    network(*clips())[2].sum().backward()
    assert not any(has_gradient(tower) for tower in (network.rgb, network.flow))
    assert network.late.fusion.conv.weight.grad is not None


LATE = {
    "sum": (SumFusion, lambda p, q: np.logaddexp(p, q)),
    "max": (MaxFusion, np.maximum),
    "weighted": (partial(WeightedFusion, weights=(1, 1.5)), lambda p, q: np.logaddexp(p, np.log(1.5) + q)),
    "learned": (partial(WeightedFusion, weights=(1, 1.5), learned=True), lambda p, q: np.logaddexp(p, np.log(1.5) + q)),
    "conv": (ConvFusion, lambda p, q: np.logaddexp(p, q)),
}


@pytest.mark.parametrize("name", LATE)
def test_late_fusion_of_very_confident_scores(name: str) -> None:
    """By NumPy's float64: probabilities down to 1e-130 keep their order. A filter sees them down to 1e-38."""
    make, formula = LATE[name]
    late = LateFusion(make(101, 101), 101)
    heads = (30 if name != "conv" else 8) * torch.randn(2, 400, 101)
    logs = [head - np.logaddexp.reduce(head, axis=1, keepdims=True) for head in heads.double().numpy()]
    fused = formula(*logs)
    exact = fused - np.logaddexp.reduce(fused, axis=1, keepdims=True)
    heads.requires_grad_()
    found = late.combine(late(heads))
    np.testing.assert_allclose(found.detach().numpy(), exact, rtol=1e-6, atol=2e-5)
    labels = np.random.default_rng(0).integers(101, size=400)
    assert np.array_equal(ranks(found.detach().numpy(), labels), ranks(exact, labels))
    found.gather(1, torch.from_numpy(labels)[:, None]).sum().backward()
    trained = [heads] if not late.learned else list(late.parameters())
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in trained)


@pytest.mark.parametrize(("make", "weights"), [(SumFusion, (1, 1)), (LATE["weighted"][0], (1, 1.5))])
def test_late_fusion_is_what_fusing_files_of_probabilities_is(make: partial, weights: tuple[float, float]) -> None:
    heads = 30 * torch.randn(2, 50, 7)
    described: dict[str, Any] = {"protocol": "train", "checkpoint": "", "data": "a", "split": 1, "part": "test"}
    ids, classes = tuple(f"{i:02}" for i in range(50)), tuple("abcdefg")
    files = [Scores(ids, np.zeros(50, int), head.numpy(), classes, **described) for head in heads]
    fused = fuse(files, weights, softmax=True, names=["rgb", "flow"])
    np.testing.assert_allclose(LateFusion(make(7, 7), 7).combine(heads).numpy(), fused.logits, rtol=1e-6, atol=1e-5)


def test_a_late_filter_that_leaves_less_than_nothing_has_a_finite_gradient() -> None:
    late = LateFusion(ConvFusion(3, 3), 3)
    with torch.no_grad():
        late.fusion.conv.weight.neg_()
    late.combine(late(torch.zeros(2, 1, 3)))[0, 0].backward()
    assert late.fusion.conv.weight.grad.isfinite().all()


def test_two_towers_average_scores_before_softmax_and_keep_their_losses_apart() -> None:
    """The kept tower's classifier does not see the fused loss (PAPER 5, claim 12)."""
    network = tiny_network(two_towers=True)
    heads = network(*clips())
    assert heads.shape == (2, 2, 7)
    torch.testing.assert_close(network.combine(heads), (heads[0] + heads[1]) / 2)
    heads[0].sum().backward()
    assert not has_gradient(network.flow.stages["fc8"])
    assert has_gradient(network.flow.stages["conv1"])


def test_flow_tower_ends_at_the_last_fused_layer() -> None:
    assert list(tiny_network(layer="conv3").flow.stages) == ["conv1", "conv2", "conv3"]
    assert list(tiny_network(layer=["conv2", "conv4"]).flow.stages)[-1] == "conv4"
    assert "fc8" in tiny_network(layer=["conv2", "fc8"]).flow.stages


def test_pool2d_averages_per_frame_scores_and_pool3d_takes_maxima() -> None:
    """One chunk: both are the same. Three equal chunks: still the same, for neither sees an order."""
    rgb, flow = clips(t=1)
    one, other = (tiny_network(temporal=temporal) for temporal in (Pool2d, Pool3d))
    torch.testing.assert_close(one(rgb, flow), other(rgb, flow))
    thrice = rgb.repeat(1, 3, 1, 1, 1), flow.repeat(1, 3, 1, 1, 1)
    torch.testing.assert_close(one(*thrice), other(rgb, flow))
    torch.testing.assert_close(other(*thrice), other(rgb, flow))
    rgb, flow = clips(t=3)
    frames = torch.stack([one(rgb[:, [k]], flow[:, [k]]) for k in range(3)])
    torch.testing.assert_close(one(rgb, flow), frames.mean(0))


@pytest.mark.parametrize("temporal", [Pool2d, Pool3d])
def test_pooling_is_blind_to_order_and_conv3d_is_not(temporal) -> None:
    rgb, flow = clips(t=3)
    backwards = rgb.flip(1), flow.flip(1)
    blind = tiny_network(temporal=temporal)
    torch.testing.assert_close(blind(rgb, flow), blind(*backwards))
    seeing = tiny_network(temporal=partial(Conv3d, init="kaiming"))
    assert not torch.allclose(seeing(rgb, flow), seeing(*backwards), atol=1e-4)


def test_train_from_fusion_freezes_exactly_what_lies_below() -> None:
    network = tiny_network(layer="conv4", two_towers=True)
    for module in network.modules_below("fusion"):
        module.requires_grad_(False)
    trained = {name for name, p in network.named_parameters() if p.requires_grad}
    assert any(name.startswith("fusions.conv4") for name in trained)
    for tower in ("rgb", "flow"):
        stages = {name.split(".")[3] for name in trained if name.startswith(f"{tower}.")}
        assert stages == {"conv5", "fc8"}
    network(*clips()).sum().backward()
    assert not has_gradient(network.rgb.stages["conv4"])
    assert has_gradient(network.rgb.stages["conv5"])
    assert network.modules_below("all") == []
    with pytest.raises(ValueError, match="late fusion"):
        tiny_network(layer="softmax", fusion=SumFusion).modules_below("fusion")
    with pytest.raises(ValueError, match=r"train_from='conv9'.*choose from all, fusion, conv1"):
        network.modules_below("conv9")


def test_unequal_maps_are_aligned() -> None:
    """VGG-16 has 14 × 14 after conv5, VGG-M 13 × 13."""
    for align, size in ((ZeroPadAlign, 0), (UpconvAlign, 512 * 512 * 2 * 2 + 512)):
        network = two_stream(backbone=VGG16, flow_backbone=VGGM, align=align)
        assert sum(p.numel() for p in network.align.parameters()) == size
        rgb, flow = (torch.zeros(1, 1, c, 224, 224, device="meta") for c in (3, 20))
        assert network(rgb, flow).shape == (1, 1, 101)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": "conv9"}, r"layer='conv9': no such stage here; choose from conv1, .*, fc8, softmax"),
        (
            {"layer": ["conv5", "conv3"]},
            r"layer=\['conv5', 'conv3'\]: name each layer once, from input to output",
        ),
        ({"layer": ["conv3", "conv3"]}, "name each layer once"),
        ({"layer": []}, "layer=''"),
        (
            {"layer": "fc6", "backbone": partial(resnet18, weights=None)},
            "layer='fc6': .* conv5, fc8, softmax",
        ),
        ({"fusion": BilinearFusion}, "fc6, fc7 cannot follow; choose"),
        ({"fusion": BilinearFusion, "layer": "fc6"}, "choose one of conv1, conv2"),
        ({"fusion": BilinearFusion, "layer": ["conv3", "conv5"], "pooling": GAP}, "choose one of conv1"),
        ({"fusion": ConcatFusion, "layer": "fc8"}, "202 channels .* 101 classes"),
        *(
            (
                {"fusion": CrossAttentionFusion, "layer": layer},
                f"layer='{layer}': CrossAttentionFusion compares positions",
            )
            for layer in ("fc6", "fc8", "softmax")
        ),
        ({"layer": "fc6", "pooling": GAP}, "layer='fc6': .* conv5, fc8, softmax"),
        ({"image_size": 64}, "size=64: too small an image for stage fc6"),
        ({"attention_after": ["conv7"]}, "attention_after='conv7': choose from conv1"),
        ({"flow_backbone": partial(resnet18, weights=None), "fusion": SumFusion, "layer": "conv2"}, "64"),
    ],
)
def test_what_cannot_be_built_is_one_clear_error(options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        two_stream(**options)


@pytest.mark.parametrize("stream", ["rgb", "flow"])
def test_single_stream_uses_one_input_only(stream: str) -> None:
    torch.manual_seed(0)
    network = SingleStreamNetwork(stream, tower=tiny_tower, temporal=Pool3d).eval()
    frames = clips()[stream == "flow"]
    torch.testing.assert_close(network(frames, torch.zeros(2, 3, 0, 32, 32)), network(frames))
    assert network(frames).shape == (1, 2, 7)
    assert {name.split(".")[0] for name, _ in network.named_parameters()} == {stream}


def test_single_stream_towers_have_the_names_of_the_two_stream_network() -> None:
    """So that a fused network starts from single-stream checkpoints."""
    single = SingleStreamNetwork("flow", tower=tiny_tower, temporal=Pool3d)
    both = tiny_network(two_towers=True)
    assert set(single.state_dict()) <= set(both.state_dict())


@pytest.mark.long
def test_correspondence_needs_fusion_at_a_convolutional_layer() -> None:
    """The paper's core claim (PAPER 5) on a toy: the label is the pattern in the cell that moves."""

    class Towers(nn.Module):
        def __init__(self, fused: bool) -> None:
            super().__init__()
            self.a, self.b = (
                nn.Sequential(nn.Conv2d(c, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 4, 4), nn.ReLU())
                for c in (3, 2)
            )
            self.fusion = ConvFusion(16, 16) if fused else None
            self.heads = nn.ModuleList(
                nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4)) for _ in range(2)
            )

        def forward(self, rgb: Tensor, flow: Tensor) -> Tensor:
            a, b = self.a(rgb), self.b(flow)
            if self.fusion is not None:
                return self.heads[0](self.fusion(a, b))
            return self.heads[0](a) + self.heads[1](b)

    patterns = torch.rand(4, 3, 4, 4, generator=torch.Generator().manual_seed(0))

    def batch(n: int, generator: torch.Generator, shuffle: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        order = torch.stack([torch.randperm(4, generator=generator) for _ in range(n)])
        cell = torch.randint(4, (n,), generator=generator)
        label = order[torch.arange(n), cell]
        if shuffle:
            cell = torch.randint(4, (n,), generator=generator)
        cells = patterns[order].view(n, 2, 2, 3, 4, 4).permute(0, 3, 1, 4, 2, 5).reshape(n, 3, 8, 8)
        moving = torch.nn.functional.one_hot(cell, 4).float().view(n, 1, 2, 2)
        moving = moving.repeat_interleave(4, 2).repeat_interleave(4, 3).expand(n, 2, 8, 8)
        noise = 0.1 * torch.randn(n, 5, 8, 8, generator=generator)
        return cells + noise[:, :3], moving + noise[:, 3:], label

    def accuracy(fused: bool, shuffle: bool = False) -> float:
        torch.manual_seed(0)
        model, generator = Towers(fused), torch.Generator().manual_seed(1)
        optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
        for _ in range(300):
            rgb, flow, label = batch(64, generator)
            loss = torch.nn.functional.cross_entropy(model(rgb, flow), label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        rgb, flow, label = batch(1000, generator, shuffle)
        return float((model(rgb, flow).argmax(1) == label).float().mean())

    assert accuracy(fused=True) >= 0.95
    assert accuracy(fused=True, shuffle=True) <= 0.35
    assert accuracy(fused=False) <= 0.35


def test_attention_over_a_clip_sees_other_frames_and_over_frames_does_not() -> None:
    def reach(over_clip: bool) -> list[bool]:
        def make(channels: int) -> nn.Module:
            layer = NonLocal(channels)
            nn.init.normal_(layer.out.weight)
            return OverClip(layer) if over_clip else layer

        attended = partial(tiny_tower, backbone=tiny, attention=make, attention_after=("conv4",))
        tower = SingleStreamNetwork("rgb", tower=attended, temporal=Pool2d).eval().rgb
        maps = torch.rand(1, 3, 32, 8, 8)
        changed = maps.clone()
        changed[:, 2] += 1
        difference = tower.stage("conv4", Maps(changed)).maps - tower.stage("conv4", Maps(maps)).maps
        return [bool(difference[0, frame].abs().max() > 1e-6) for frame in range(3)]

    torch.manual_seed(0)
    assert reach(over_clip=False) == [False, False, True]
    assert reach(over_clip=True) == [True, True, True]


class EveryOther(nn.Module):
    """A stage that is given whole clips and keeps every other frame, doubled."""

    over_clip = True

    def forward(self, maps: Tensor) -> Tensor:
        return 2 * maps[:, ::2]


class Counting(nn.Module):
    """A stage with a token beside the map, which is the mean of all maps that it has seen."""

    carries_tokens = True

    def forward(self, maps: Tensor, tokens: Tensor | None) -> tuple[Tensor, Tensor]:
        mean = maps.mean(dim=(2, 3))[:, None]
        return maps + 1, mean if tokens is None else tokens + mean


@pytest.mark.parametrize("twice", [False, True])
def test_stages_see_frames_or_clips_and_carry_tokens_beside_the_map(twice) -> None:
    maps = Maps(torch.arange(8.0).view(2, 4, 1, 1, 1).requires_grad_())
    assert run_stage(EveryOther(), maps, twice=twice).maps.flatten().tolist() == [0, 4, 8, 12]
    seen = run_stage(Counting(), run_stage(Counting(), maps, twice=twice), twice=twice)
    assert seen.maps.flatten().tolist() == [2, 3, 4, 5, 6, 7, 8, 9]
    assert seen.tokens is not None
    assert seen.tokens.shape == (2, 4, 1, 1)
    assert seen.tokens.flatten().tolist() == [1, 3, 5, 7, 9, 11, 13, 15]  # x + (x + 1)


def test_maps_of_unequal_length_are_averaged_to_the_shorter_one() -> None:
    long = torch.tensor([1.0, 3, 5, 9, 11]).view(1, 5, 1, 1, 1)
    averaged, short = equal_times(long, torch.zeros(1, 2, 3, 1, 1))
    assert averaged.flatten().tolist() == [3, pytest.approx(25 / 3)]  # frames 0-2, frames 2-4
    assert short.shape == (1, 2, 3, 1, 1)


def test_towers_have_the_names_of_their_streams_and_may_differ_in_time() -> None:
    def tower(stream: str) -> Tower:
        made = Tower(Stream(stream, "frames", channels=4, std=1.0), tiny, num_classes=3, image_size=32)
        if stream == "depth":
            made.stages["conv4"] = Shortened(made.stages["conv4"])
        return made

    network = TwoStreamNetwork(
        tower=tower, fusion=SumFusion, temporal=Pool3d, align=ZeroPadAlign, streams=("depth", "flow")
    ).eval()
    assert {name.split(".")[0] for name in network.state_dict()} == {"depth", "flow"}
    heads = network(torch.rand(2, 4, 4, 32, 32), torch.rand(2, 4, 4, 32, 32))
    assert heads.shape == (1, 2, 3)


class Shortened(nn.Module):
    """A stage of 2-D maps that then keeps every other frame of a clip."""

    over_clip = True

    def __init__(self, stage: nn.Module) -> None:
        super().__init__()
        self.stage = stage

    def forward(self, maps: Tensor) -> Tensor:
        return self.stage(maps.flatten(0, 1)).unflatten(0, maps.shape[:2])[:, ::2]


@pytest.mark.parametrize(
    ("stream", "mean", "std"),
    [
        (rgb(), [127.5] * 3, [127.5] * 3),
        (flow(2), [0.0] * 4, [19.0] * 4),
        (flow(1, std=5.0), [0.0] * 2, [5.0] * 2),
        (diff(2), [0.0] * 6, [255.0] * 6),
        (column("depth"), [127.5] * 3, [127.5] * 3),
        (column("depth", colour="grey", mean=10.0, std=40.0), [10.0], [40.0]),
    ],
)
def test_a_tower_normalises_by_its_stream(stream: Stream, mean: list[float], std: list[float]) -> None:
    tower = Tower(stream, TINY, num_classes=3, image_size=32)
    assert tower.input.mean.flatten().tolist() == mean
    assert tower.input.std.flatten().tolist() == std
    assert tower.backbone.first[1].in_channels == stream.channels


@pytest.mark.parametrize(("first_layer", "factor"), [("summed", 3.0), ("averaged", 1.0)])
def test_a_grey_column_starts_from_published_filters(tmp_path, first_layer: str, factor: float) -> None:
    """Summed: a grey picture gives what its three equal colours would, up to the statistics."""
    published = tiny(in_channels=3, num_classes=3)
    torch.save(published.state_dict(), tmp_path / "rgb.pth")
    backbone = partial(tiny, weights=str(tmp_path / "rgb.pth"))
    tower = Tower(column("depth", colour="grey", first_layer=first_layer), backbone, num_classes=3, image_size=32)
    expected = factor * published.first[1].weight.mean(1, keepdim=True)
    torch.testing.assert_close(tower.backbone.first[1].weight, expected)


def test_a_stream_may_not_be_called_as_a_part_of_networks() -> None:
    for name in ("type", "half", "meet", "combine"):
        with pytest.raises(ValueError, match="a network has an attribute of this name"):
            build_network(compose_config(["data=folder", "data.csv=x.csv", f"streams=[rgb,{name}]"]), 3)
    with pytest.raises(ValueError, match="name each stream once"):
        build_network(compose_config(["streams=[rgb,rgb]"]), 3)
