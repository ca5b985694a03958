"""Spatial fusion: every operator against its formula, and the numbers of PAPER 1.4, 2.6 and section 5."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from layer_checks import (
    awake,
    check_autocast,
    check_compile,
    check_formula,
    check_gradient,
    check_state_dict,
)
from torch import Tensor, nn

from twostream.models import fusion as family
from twostream.models.fusion import (
    AttentionFusion,
    BilinearFusion,
    CompactBilinearFusion,
    ConcatFusion,
    ConvFusion,
    Fusion,
    MaxFusion,
    MultiLevelFusion,
    PyramidFusion,
    SumFusion,
    UpconvAlign,
    WeightedFusion,
    ZeroPadAlign,
)


class AlignedSum(nn.Module):
    """An alignment as a layer with one output."""

    def __init__(self, align: nn.Module) -> None:
        super().__init__()
        self.align = align

    def forward(self, rgb: Tensor, flow: Tensor) -> Tensor:
        rgb, flow = self.align(rgb, flow)
        return rgb + 2 * flow


class TwoLevels(nn.Module):
    """A fusion of two stages as a layer of two maps: the second stage has half the sides."""

    def __init__(self, fusion: MultiLevelFusion) -> None:
        super().__init__()
        self.fusion = fusion

    def forward(self, rgb: Tensor, flow: Tensor) -> Tensor:
        levels = self.fusion([rgb, F.avg_pool2d(rgb, 2)], [flow, F.avg_pool2d(flow, 2)])
        return torch.cat([level.flatten(1) for level in levels], dim=1)


# name: (how it is made, rgb shape, flow shape)
MAP = (2, 4, 2, 3)
LAYERS = {
    "sum": (lambda: SumFusion(4, 4), MAP, MAP),
    "max": (lambda: MaxFusion(4, 4), MAP, MAP),
    "concat": (lambda: ConcatFusion(4, 4), MAP, MAP),
    "concat_unequal": (lambda: ConcatFusion(4, 3), MAP, (2, 3, 2, 3)),
    "concat_interleaved": (lambda: ConcatFusion(4, 4, order="interleaved"), MAP, MAP),
    "conv": (lambda: ConvFusion(4, 4), MAP, MAP),
    "conv_interleaved": (lambda: ConvFusion(4, 4, init="weighted", order="interleaved"), MAP, MAP),
    "conv_unequal": (lambda: ConvFusion(4, 3, init="kaiming", relu=False), MAP, (2, 3, 2, 3)),
    "bilinear": (lambda: BilinearFusion(4, 3), MAP, (2, 3, 2, 3)),
    "compact_bilinear": (lambda: CompactBilinearFusion(4, 3, dimension=7), MAP, (2, 3, 2, 3)),
    "compact_bilinear_vectors": (
        lambda: CompactBilinearFusion(5, 5, dimension=7),
        (2, 5, 1, 1),
        (2, 5, 1, 1),
    ),
    "attention": (lambda: AttentionFusion(4, 4, reduction=2), MAP, MAP),
    "weighted": (lambda: WeightedFusion(4, 4, weights=(1, 2)), MAP, MAP),
    "weighted_learned": (lambda: WeightedFusion(4, 4, learned=True), MAP, MAP),
    "multilevel": (lambda: TwoLevels(MultiLevelFusion([4, 4], [4, 4])), MAP, MAP),
    "pyramid": (lambda: TwoLevels(PyramidFusion([4, 4], [4, 4], channels=3)), MAP, MAP),
    "zero_pad": (lambda: AlignedSum(ZeroPadAlign()), (2, 2, 3, 3), (2, 2, 4, 4)),
    "upconv": (
        lambda: AlignedSum(UpconvAlign((2, 3, 3), (2, 7, 4))),
        (2, 2, 3, 3),
        (2, 2, 7, 4),
    ),
}
every_layer = pytest.mark.parametrize("name", LAYERS)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def build(name: str) -> tuple[nn.Module, Tensor, Tensor]:
    make, rgb_shape, flow_shape = LAYERS[name]
    return awake(make()), torch.randn(rgb_shape), torch.randn(flow_shape)


def test_every_class_is_checked() -> None:
    made = {type(part).__name__ for make, _, _ in LAYERS.values() for part in make().modules()}
    assert set(family.__all__) - {"Fusion"} <= made


@every_layer
def test_gradient(name: str) -> None:
    check_gradient(*build(name))


@every_layer
def test_autocast(name: str) -> None:
    check_autocast(*build(name))


@every_layer
def test_compile(name: str) -> None:
    check_compile(*build(name))


@every_layer
def test_state_dict(name: str) -> None:
    _, rgb, flow = build(name)
    check_state_dict(LAYERS[name][0], rgb, flow)


@every_layer
def test_meta_device_gives_the_shape(name: str) -> None:
    layer, rgb, flow = build(name)
    with torch.device("meta"):
        ghost = LAYERS[name][0]()
    assert ghost(rgb.to("meta"), flow.to("meta")).shape == layer(rgb, flow).shape


@pytest.mark.parametrize("name", [name for name, (make, _, _) in LAYERS.items() if isinstance(make(), Fusion)])
def test_out_channels_is_what_comes_out(name: str) -> None:
    layer, rgb, flow = build(name)
    assert layer(rgb, flow).shape[1] == layer.out_channels


# ---- sum, max, concat ----


def test_sum_and_max_formula() -> None:
    rgb, flow = torch.randn(MAP), torch.randn(MAP)
    a, b = rgb.double(), flow.double()
    check_formula(SumFusion(4, 4)(rgb, flow), a + b)
    check_formula(MaxFusion(4, 4)(rgb, flow), torch.where(a > b, a, b))


def test_max_plus_min_is_sum() -> None:
    rgb, flow = torch.randn(MAP), torch.randn(MAP)
    largest, smallest = MaxFusion(4, 4)(rgb, flow), -MaxFusion(4, 4)(-rgb, -flow)
    torch.testing.assert_close(largest + smallest, SumFusion(4, 4)(rgb, flow), rtol=0, atol=1e-6)


def test_concat_orders() -> None:
    rgb = torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1)
    flow = torch.tensor([10.0, 20.0, 30.0]).view(1, 3, 1, 1)
    assert ConcatFusion(3, 3)(rgb, flow).flatten().tolist() == [1, 2, 3, 10, 20, 30]
    interleaved = ConcatFusion(3, 3, order="interleaved")(rgb, flow)
    assert interleaved.flatten().tolist() == [10, 1, 20, 2, 30, 3]  # even channels flow, odd rgb


def test_concat_order_only_permutes_the_weights_of_what_follows() -> None:
    rgb, flow = torch.randn(MAP), torch.randn(MAP)
    weight = torch.randn(6, 8, 3, 3)
    permuted = torch.empty_like(weight)
    permuted[:, 0::2], permuted[:, 1::2] = weight[:, 4:], weight[:, :4]
    block = F.conv2d(ConcatFusion(4, 4)(rgb, flow), weight, padding=1)
    interleaved = F.conv2d(ConcatFusion(4, 4, order="interleaved")(rgb, flow), permuted, padding=1)
    torch.testing.assert_close(interleaved, block)


def test_sum_is_a_special_concat() -> None:
    rgb, flow = torch.randn(MAP), torch.randn(MAP)
    weight = torch.randn(6, 4, 1, 1)
    concat = F.conv2d(ConcatFusion(4, 4)(rgb, flow), torch.cat((weight, weight), dim=1))
    torch.testing.assert_close(concat, F.conv2d(SumFusion(4, 4)(rgb, flow), weight))


@pytest.mark.parametrize("make", [SumFusion, MaxFusion, AttentionFusion, ConvFusion, WeightedFusion])
def test_unequal_channels_are_an_error(make: type[Fusion]) -> None:
    with pytest.raises(ValueError, match=r"rgb has 4 and flow 3.*choose fusion=concat"):
        make(4, 3)


def test_unknown_words_are_errors_with_choices() -> None:
    with pytest.raises(ValueError, match=r"order='mixed'.*block, interleaved"):
        ConcatFusion(4, 4, order="mixed")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"order='interleaved'.*rgb has 4 and flow 3"):
        ConcatFusion(4, 3, order="interleaved")
    with pytest.raises(ValueError, match=r"init='zero'.*sum, weighted, rgb, flow, kaiming, gaussian"):
        ConvFusion(4, 4, init="zero")  # type: ignore[arg-type]


# ---- conv ----


@pytest.mark.parametrize("order", ["block", "interleaved"])
def test_conv_formula(order: str) -> None:
    layer = awake(ConvFusion(4, 4, order=order, relu=True))  # type: ignore[arg-type]
    rgb, flow = torch.randn(MAP), torch.randn(MAP)
    weight, bias = layer.conv.weight.double()[:, :, 0, 0], layer.conv.bias.double()
    for_rgb, for_flow = (weight[:, :4], weight[:, 4:]) if order == "block" else (weight[:, 1::2], weight[:, 0::2])
    expected = torch.einsum("oc,nchw->nohw", for_rgb, rgb.double())
    expected += torch.einsum("oc,nchw->nohw", for_flow, flow.double()) + bias[:, None, None]
    check_formula(layer(rgb, flow), expected.clamp(min=0))


@pytest.mark.parametrize("order", ["block", "interleaved"])
def test_conv_of_stacked_identities_is_exactly_sum(order: str) -> None:
    rgb, flow = torch.rand(2, 64, 5, 5), torch.rand(2, 64, 5, 5)
    fused = ConvFusion(64, 64, order=order)(rgb, flow)  # type: ignore[arg-type]
    assert (fused - SumFusion(64, 64)(rgb, flow)).abs().max() == 0


def test_conv_weights_of_the_other_order_are_wrong() -> None:
    rgb, flow = torch.randn(2, 64, 5, 5), torch.randn(2, 64, 5, 5)
    block, interleaved = (ConvFusion(64, 64, order=o, relu=False) for o in ("block", "interleaved"))
    interleaved.load_state_dict(block.state_dict())
    assert (interleaved(rgb, flow) - rgb - flow).abs().max() > 3


@pytest.mark.parametrize("order", ["block", "interleaved"])
@pytest.mark.parametrize(
    ("init", "rgb_share", "flow_share"),
    [("sum", 1, 1), ("weighted", 0.25, 0.75), ("rgb", 1, 0), ("flow", 0, 1)],
)
def test_conv_identity_inits(init: str, rgb_share: float, flow_share: float, order: str) -> None:
    rgb, flow = torch.rand(MAP), torch.rand(MAP)
    with_relu, without = (ConvFusion(4, 4, init=init, order=order, relu=relu) for relu in (True, False))
    torch.testing.assert_close(with_relu(rgb, flow), rgb_share * rgb + flow_share * flow)
    assert torch.equal(with_relu(rgb, flow), without(rgb, flow))  # at the start, on ReLU outputs


@pytest.mark.parametrize(("init", "std"), [("kaiming", math.sqrt(2 / 128)), ("gaussian", 0.01)])
def test_conv_random_inits(init: str, std: float) -> None:
    layer = ConvFusion(128, 128, init=init)  # type: ignore[arg-type]
    assert layer.conv.weight.std().item() == pytest.approx(std, rel=0.03)
    assert layer.conv.weight.mean().abs() < 0.05 * std
    assert layer.conv.bias.abs().max() == 0


@pytest.mark.parametrize(("channels", "count"), [(512, 524_800), (256, 131_328), (4096, 33_558_528)])
def test_conv_parameter_count(channels: int, count: int) -> None:
    with torch.device("meta"):
        layer = ConvFusion(channels, channels)
    assert sum(p.numel() for p in layer.parameters()) == count


def test_conv_for_scores_keeps_negative_values() -> None:
    rgb, flow = torch.full((1, 4, 1, 1), -1.0), torch.full((1, 4, 1, 1), -2.0)
    layer = ConvFusion(4, 4, init="weighted", order="interleaved")
    assert layer(rgb, flow).flatten().tolist() == [0] * 4
    assert layer.for_scores()(rgb, flow).flatten().tolist() == [-1.75] * 4
    assert SumFusion(4, 4).for_scores()(rgb, flow).flatten().tolist() == [-3] * 4


def test_conv_before_conv3d_is_its_concatenation() -> None:
    rgb, flow = torch.randn(MAP), torch.randn(MAP)
    stacked = ConvFusion(4, 4, order="interleaved").before_conv3d()
    assert stacked.out_channels == 8
    assert torch.equal(stacked(rgb, flow), ConcatFusion(4, 4, order="interleaved")(rgb, flow))
    layer = MaxFusion(4, 4)
    assert layer.before_conv3d() is layer


# ---- bilinear ----


def outer_products(rgb: Tensor, flow: Tensor) -> Tensor:
    """The definition, one location after the other, in float64: (n, a, b)."""
    total = torch.zeros(rgb.shape[0], rgb.shape[1], flow.shape[1], dtype=torch.float64)
    for i in range(rgb.shape[2]):
        for j in range(rgb.shape[3]):
            total += rgb[:, :, i, j, None].double() * flow[:, None, :, i, j].double()
    return total


def normalised(z: Tensor, eps: float = 1e-5) -> Tensor:
    s = torch.where(z > 0, 1.0, torch.where(z < 0, -1.0, 0.0)) * (z.abs() + eps).sqrt()
    return s / s.square().sum(dim=1, keepdim=True).sqrt()


def test_bilinear_formula() -> None:
    rgb, flow = torch.randn(2, 6, 4, 5), torch.randn(2, 7, 4, 5)
    expected = normalised(outer_products(rgb, flow).flatten(1))[:, :, None, None]
    check_formula(BilinearFusion(6, 7)(rgb, flow), expected)


def test_bilinear_by_hand() -> None:
    rgb = torch.tensor([[1.0, 2.0], [0.0, 3.0]]).view(1, 2, 1, 2)  # channel 0 is 1, 2; channel 1 is 0, 3
    flow = torch.tensor([[4.0, 1.0], [-1.0, 0.0]]).view(1, 2, 1, 2)
    # products (6, -1; 3, 0): the roots have squares 6, 1, 3, 0 that sum to 10
    expected = torch.tensor([6 / 10, -1 / 10, 3 / 10, 0]).double()
    expected = expected.sign() * expected.abs().sqrt()
    torch.testing.assert_close(BilinearFusion(2, 2)(rgb, flow).flatten().double(), expected, atol=1e-5, rtol=0)


def test_bilinear_size_norm_and_order_of_locations() -> None:
    with torch.device("meta"):
        assert BilinearFusion(512, 512).out_channels == 262_144
    rgb, flow = torch.randn(2, 6, 4, 4), torch.randn(2, 6, 4, 4)
    fused = BilinearFusion(6, 6)(rgb, flow)
    torch.testing.assert_close(fused.flatten(1).norm(dim=1), torch.ones(2))
    mixed = torch.randperm(16)
    rgb, flow = (x.flatten(2)[:, :, mixed].unflatten(2, (4, 4)) for x in (rgb, flow))
    torch.testing.assert_close(BilinearFusion(6, 6)(rgb, flow), fused)
    # correspondence counts: other pairs of locations give another vector
    shifted = BilinearFusion(6, 6)(rgb, flow.roll(1, dims=3))
    assert (shifted - fused).abs().max() > 0.05


@pytest.mark.parametrize("make", [BilinearFusion, CompactBilinearFusion])
def test_bilinear_of_dead_streams_is_zero_with_finite_gradients(make: type[Fusion]) -> None:
    rgb, flow = torch.zeros(1, 4, 3, 3, requires_grad=True), torch.rand(1, 4, 3, 3, requires_grad=True)
    fused = make(4, 4)(rgb, flow)
    fused.sum().backward()
    assert fused.abs().max() == 0
    assert rgb.grad.isfinite().all()
    assert flow.grad.isfinite().all()


@pytest.mark.parametrize("make", [BilinearFusion, CompactBilinearFusion])
def test_bilinear_does_not_overflow_half_precision(make: type[Fusion]) -> None:
    rgb, flow = torch.full((1, 4, 14, 14), 300.0).half(), torch.full((1, 4, 14, 14), 300.0).half()
    with torch.autocast("cpu", dtype=torch.float16):  # 196 * 300^2 = 1.8e7, the largest float16 is 65504
        fused = make(4, 4)(rgb, flow).float()
    assert fused.norm().item() == pytest.approx(1, abs=1e-3)


# ---- compact bilinear ----


def direct_sketch(layer: CompactBilinearFusion, rgb: Tensor, flow: Tensor) -> Tensor:
    """Each channel pair into bin (h1 + h2) mod d with sign s1 s2, by a double loop in float64."""
    products, hashes = outer_products(rgb, flow), layer.sketch
    sketch = torch.zeros(len(rgb), layer.out_channels, dtype=torch.float64)
    for i in range(rgb.shape[1]):
        for j in range(flow.shape[1]):
            bin_ = (int(hashes.hash_a[i]) + int(hashes.hash_b[j])) % layer.out_channels
            sketch[:, bin_] += hashes.sign_a[i].double() * hashes.sign_b[j].double() * products[:, i, j]
    return sketch


@pytest.mark.parametrize("dimension", [16, 127, 128])  # odd sizes lose a number in a careless inverse FFT
@pytest.mark.parametrize("size", [(10, 11), (1, 1)])  # where the matrix is smaller, where the FFT is
def test_compact_bilinear_formula(dimension: int, size: tuple[int, int]) -> None:
    layer = CompactBilinearFusion(40, 40, dimension=dimension)
    rgb, flow = torch.randn(2, 40, *size), torch.randn(2, 40, *size)
    expected = direct_sketch(layer, rgb, flow)
    check_formula(layer.sketch(rgb, flow), expected)
    check_formula(layer(rgb, flow), normalised(expected)[:, :, None, None])


def test_compact_bilinear_is_unbiased_over_hashes() -> None:
    xa, xb, ya, yb = (torch.rand(1, 6, 1, 1) for _ in range(4))
    products = []
    for seed in range(1000):
        sketch = CompactBilinearFusion(6, 6, dimension=32, seed=seed).sketch
        products.append((sketch(xa, xb) * sketch(ya, yb)).sum())
    products = torch.stack(products)
    expected = (xa * ya).sum() * (xb * yb).sum()
    error = products.std() / math.sqrt(len(products))
    assert abs(products.mean() - expected) < 4 * error
    assert error < 0.1 * expected


def test_compact_bilinear_hashes_travel_in_the_state_dict() -> None:
    rgb, flow = torch.randn(2, 5, 3, 3), torch.randn(2, 5, 3, 3)
    first, second = (CompactBilinearFusion(5, 5, dimension=64, seed=seed) for seed in (1, 2))
    assert not torch.allclose(first(rgb, flow), second(rgb, flow))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(rgb, flow), second(rgb, flow))
    assert not list(first.parameters())  # never trained


# ---- attention ----


def test_attention_formula() -> None:
    layer = awake(AttentionFusion(6, 6, reduction=2))
    rgb, flow = torch.randn(2, 6, 3, 4), torch.randn(2, 6, 3, 4)

    def gate(module: nn.Module, x: Tensor) -> Tensor:
        w1, b1, w2, b2 = (p.double() for p in module.parameters())
        hidden = (x.double().sum(dim=(2, 3)) / 12 @ w1.T + b1).clamp(min=0)
        return (1 / (1 + (-(hidden @ w2.T + b2)).exp()))[:, :, None, None]

    expected = rgb.double() * gate(layer.gate_for_rgb, flow) + flow.double() * gate(layer.gate_for_flow, rgb)
    check_formula(layer(rgb, flow), expected)


def test_attention_with_a_zero_gate_is_half_the_sum() -> None:
    layer = AttentionFusion(8, 8)
    rgb, flow = torch.rand(2, 8, 3, 3), torch.rand(2, 8, 3, 3)
    fused = layer(rgb, flow)
    assert ((fused > 0) & (fused < rgb + flow)).all()  # gates lie in (0, 1)
    for gate in (layer.gate_for_rgb, layer.gate_for_flow):
        nn.init.zeros_(gate.expand.weight)
        nn.init.zeros_(gate.expand.bias)
    torch.testing.assert_close(layer(rgb, flow), (rgb + flow) / 2)


def test_attention_gates_see_the_other_stream_only() -> None:
    layer = awake(AttentionFusion(8, 8))
    rgb, nothing = torch.randn(2, 8, 3, 3), torch.zeros(2, 8, 3, 3)
    # a gate that saw rgb would not let it pass linearly
    torch.testing.assert_close(layer(3 * rgb, nothing), 3 * layer(rgb, nothing))


@pytest.mark.parametrize(("channels", "count"), [(512, 2 * 33_312), (8, 2 * (8 + 1 + 8 + 8))])
def test_attention_parameter_count(channels: int, count: int) -> None:
    assert sum(p.numel() for p in AttentionFusion(channels, channels).parameters()) == count


# ---- weighted mean ----


@pytest.mark.parametrize(("weights", "mean"), [((1, 1), 5.0), ((1, 1.5), 5.6), ((1, 2), 6.0)])
@pytest.mark.parametrize("learned", [False, True])
def test_weighted_by_hand(weights: tuple[float, float], mean: float, learned: bool) -> None:
    layer = WeightedFusion(3, 3, weights=weights, learned=learned)
    fused = layer(torch.full((1, 3, 1, 1), 2.0), torch.full((1, 3, 1, 1), 8.0))
    torch.testing.assert_close(fused, torch.full((1, 3, 1, 1), mean))
    assert len(list(layer.parameters())) == learned


def test_weighted_formula() -> None:
    layer, rgb, flow = build("weighted_learned")
    a, b = layer.log_weights.double().exp()
    check_formula(layer(rgb, flow), (a * rgb.double() + b * flow.double()) / (a + b))


@pytest.mark.parametrize("weights", [(1, 0), (1, -1), (1, 1, 1)])
def test_weights_must_be_two_positive_numbers(weights: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="two positive numbers"):
        WeightedFusion(3, 3, weights=weights)


# ---- several levels ----


def test_multilevel_fuses_each_level() -> None:
    layer = MultiLevelFusion([2, 3], [2, 3], level=SumFusion)
    rgb, flow = ([torch.randn(1, 2, 4, 4), torch.randn(1, 3, 2, 2)] for _ in range(2))
    for fused, a, b in zip(layer(rgb, flow), rgb, flow, strict=True):
        assert torch.equal(fused, a + b)
    assert layer.out_channels == [2, 3]
    with pytest.raises(ValueError, match=r"BilinearFusion.*choose sum, max, concat or conv"):
        MultiLevelFusion([2], [2], level=BilinearFusion)


def test_pyramid_formula() -> None:
    layer = awake(PyramidFusion([2, 3, 4], [2, 3, 4], level=SumFusion, channels=5))
    shapes = [(2, 2, 8, 6), (2, 3, 4, 3), (2, 4, 2, 3)]
    rgb, flow = ([torch.randn(shape) for shape in shapes] for _ in range(2))

    def lateral(level: int) -> Tensor:
        weight, bias = (p.double() for p in layer.lateral[level].parameters())
        fused = rgb[level].double() + flow[level].double()
        return torch.einsum("oc,nchw->nohw", weight[:, :, 0, 0], fused) + bias[:, None, None]

    middle = lateral(1) + lateral(2).repeat_interleave(2, dim=2)  # 2 x 3 -> 4 x 3
    finest = lateral(0) + middle.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    padded = torch.zeros(2, 5, 10, 8, dtype=torch.float64)
    padded[:, :, 1:9, 1:7] = finest
    weight, bias = (p.double() for p in layer.smooth.parameters())
    smooth = bias[:, None, None].expand(2, 5, 8, 6).clone()
    for i in range(3):
        for j in range(3):
            smooth += torch.einsum("oc,nchw->nohw", weight[:, :, i, j], padded[:, :, i : i + 8, j : j + 6])
    (actual,) = layer(rgb, flow)
    check_formula(actual, smooth.clamp(min=0))


# ---- alignment ----


def test_zero_pad_at_bottom_and_right_drops_the_gradient_there() -> None:
    rgb = torch.rand(1, 2, 14, 14, requires_grad=True)
    flow = torch.rand(1, 2, 13, 13, requires_grad=True)
    same, padded = ZeroPadAlign()(rgb, flow)
    assert torch.equal(same, rgb)
    assert padded.shape == rgb.shape
    assert torch.equal(padded[:, :, :13, :13], flow)
    assert padded[:, :, 13].abs().max() == 0
    assert padded[:, :, :, 13].abs().max() == 0
    upstream = torch.rand_like(padded)
    (padded * upstream).sum().backward()
    assert torch.equal(flow.grad, upstream[:, :, :13, :13])


def test_zero_pad_takes_the_larger_side_of_each_axis() -> None:
    rgb, flow = ZeroPadAlign()(torch.ones(1, 1, 2, 5), torch.ones(1, 3, 4, 3))
    assert (rgb.shape, flow.shape) == ((1, 1, 4, 5), (1, 3, 4, 5))
    assert (rgb.sum(), flow.sum()) == (10, 36)


@pytest.mark.parametrize("large", [14, 13, 28, 26, 27, 29, 56])
@pytest.mark.parametrize("rgb_is_smaller", [True, False])
def test_upconv_reaches_the_larger_map(large: int, rgb_is_smaller: bool) -> None:
    shapes = [(1, 13, 13), (1, large, large + 1)]
    shapes = shapes if rgb_is_smaller else shapes[::-1]
    rgb, flow = UpconvAlign(*shapes)(*(torch.ones(1, *shape) for shape in shapes))
    assert rgb.shape == flow.shape == (1, 1, large, large + 1)
    small = rgb if rgb_is_smaller else flow
    margin = 2 * large // 13  # bilinear: a constant map stays constant away from the border
    torch.testing.assert_close(small[:, :, margin:-margin, margin:-margin].unique(), torch.ones(1))


def test_upconv_13_to_14_starts_as_midpoints() -> None:
    row = torch.arange(13.0).expand(1, 1, 13, 13)
    _, grown = UpconvAlign((1, 14, 14), (1, 13, 13))(torch.zeros(1, 1, 14, 14), row)
    torch.testing.assert_close(grown[0, 0, 5, 1:13], torch.arange(12) + 0.5)
    torch.testing.assert_close(grown[0, 0, 0], grown[0, 0, 5] / 2)  # outside of the map is 0


def test_upconv_14_to_28_starts_as_bilinear_interpolation() -> None:
    x = torch.rand(2, 3, 14, 14)
    _, grown = UpconvAlign((3, 28, 28), (3, 14, 14))(torch.zeros(2, 3, 28, 28), x)
    expected = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(grown[:, :, 1:-1, 1:-1], expected[:, :, 1:-1, 1:-1])


def test_upconv_formula() -> None:
    align = awake(UpconvAlign((2, 3, 3), (3, 7, 4)))  # strides 2 and 1, padding 1 and 0, kernel 5 and 2
    x = torch.randn(2, 2, 3, 3)
    weight, bias = align.upconv_rgb.weight.double(), align.upconv_rgb.bias.double()
    assert weight.shape == (2, 2, 5, 2)
    full = torch.zeros(2, 2, 9, 4, dtype=torch.float64)
    for i in range(3):
        for j in range(3):  # each cell stamps the kernel at stride times its position
            stamp = torch.einsum("nc,cokl->nokl", x[:, :, i, j].double(), weight)
            full[:, :, 2 * i : 2 * i + 5, j : j + 2] += stamp
    expected = full[:, :, 1:8] + bias[:, None, None]
    check_formula(align(x, torch.zeros(2, 3, 7, 4))[0], expected)


def test_upconv_at_other_sizes_pads_the_remainder() -> None:
    align = UpconvAlign((1, 28, 28), (1, 14, 14))
    rgb, flow = align(torch.ones(1, 1, 31, 31), torch.ones(1, 1, 15, 15))
    assert rgb.shape == flow.shape == (1, 1, 31, 31)
    assert flow[:, :, 30].abs().max() == 0
    assert flow[0, 0, 1:29, 1:29].unique().tolist() == [1]


def test_upconv_of_equal_maps_is_nothing_and_of_crossed_maps_an_error() -> None:
    align = UpconvAlign((3, 5, 5), (4, 5, 5))
    assert not list(align.parameters())
    rgb, flow = torch.rand(1, 3, 5, 5), torch.rand(1, 4, 5, 5)
    assert all(torch.equal(a, b) for a, b in zip(align(rgb, flow), (rgb, flow), strict=True))
    with pytest.raises(ValueError, match=r"\(5, 9\) \(rgb\) and \(6, 8\) \(flow\).*choose ZeroPadAlign"):
        UpconvAlign((3, 5, 9), (3, 6, 8))
