"""Spatial fusion: the checks that every operator passes, then formulas and the numbers of PAPER 1.4 and section 5.

Formulas of the bilinear operators are in test_fusion_bilinear.py, of the alignments in test_fusion_align.py.
"""

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
    CrossAttentionFusion,
    Fusion,
    GatedFusion,
    MaxFusion,
    MultiLevelFusion,
    PyramidFusion,
    ResidualFusion,
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
    "cross_attention": (lambda: CrossAttentionFusion(4, 4, heads=2, dimension=3), MAP, MAP),
    "cross_attention_first": (lambda: CrossAttentionFusion(4, 4, queries="first", heads=1, dimension=3), MAP, MAP),
    "gated": (lambda: GatedFusion(4, 4), MAP, MAP),
    "gated_position": (lambda: GatedFusion(4, 4, per="position"), MAP, MAP),
    "residual": (lambda: ResidualFusion(4, 4), MAP, MAP),
    "residual_multiply": (lambda: ResidualFusion(4, 4, operation="multiply"), MAP, MAP),
    "weighted": (lambda: WeightedFusion(4, 4, weights=(1.0, 2.0)), MAP, MAP),
    "weighted_learned": (lambda: WeightedFusion(4, 4, learned=True), MAP, MAP),
    "multilevel": (lambda: TwoLevels(MultiLevelFusion([4, 4], [4, 4])), MAP, MAP),
    "pyramid": (lambda: TwoLevels(PyramidFusion([4, 4], [4, 4], channels=3)), MAP, MAP),
    "zero_pad": (lambda: AlignedSum(ZeroPadAlign((2, 3, 3), (2, 4, 4))), (2, 2, 3, 3), (2, 2, 4, 4)),
    "zero_pad_project": (
        lambda: AlignedSum(ZeroPadAlign((2, 3, 3), (3, 4, 4), channels="project")),
        (2, 2, 3, 3),
        (2, 3, 4, 4),
    ),
    "upconv_project": (
        lambda: AlignedSum(UpconvAlign((2, 4, 4), (3, 2, 2), channels="project")),
        (2, 2, 4, 4),
        (2, 3, 2, 2),
    ),
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
    assert set(family.__all__) - {"Align", "Fusion"} <= made


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


@pytest.mark.shows("formula", SumFusion, MaxFusion)
def test_sum_and_max_formula() -> None:
    rgb, flow = torch.randn(MAP), torch.randn(MAP)
    a, b = rgb.double(), flow.double()
    check_formula(SumFusion(4, 4)(rgb, flow), a + b)
    check_formula(MaxFusion(4, 4)(rgb, flow), torch.where(a > b, a, b))


@pytest.mark.shows("numbers", SumFusion, MaxFusion)
def test_max_plus_min_is_sum() -> None:
    rgb, flow = torch.randn(MAP), torch.randn(MAP)
    largest, smallest = MaxFusion(4, 4)(rgb, flow), -MaxFusion(4, 4)(-rgb, -flow)
    torch.testing.assert_close(largest + smallest, SumFusion(4, 4)(rgb, flow), rtol=0, atol=1e-6)


@pytest.mark.shows("formula", ConcatFusion)
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


@pytest.mark.shows("numbers", ConcatFusion)
def test_sum_is_a_special_concat() -> None:
    rgb, flow = torch.randn(MAP), torch.randn(MAP)
    weight = torch.randn(6, 4, 1, 1)
    concat = F.conv2d(ConcatFusion(4, 4)(rgb, flow), torch.cat((weight, weight), dim=1))
    torch.testing.assert_close(concat, F.conv2d(SumFusion(4, 4)(rgb, flow), weight))


@pytest.mark.parametrize(
    "make", [SumFusion, MaxFusion, AttentionFusion, ConvFusion, WeightedFusion, GatedFusion, CrossAttentionFusion]
)
def test_unequal_channels_are_an_error(make: type[Fusion]) -> None:
    with pytest.raises(ValueError, match=r"rgb has 4 and flow 3.*choose align.channels=project, or fusion=concat"):
        make(4, 3)


def test_unknown_words_are_errors_with_choices() -> None:
    with pytest.raises(ValueError, match=r"order='mixed'.*block, interleaved"):
        ConcatFusion(4, 4, order="mixed")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"order='interleaved'.*rgb has 4 and flow 3"):
        ConcatFusion(4, 3, order="interleaved")
    with pytest.raises(ValueError, match=r"init='zero'.*sum, weighted, rgb, flow, kaiming, gaussian"):
        ConvFusion(4, 4, init="zero")  # type: ignore[arg-type]


# ---- conv ----


@pytest.mark.shows("formula", ConvFusion)
@pytest.mark.parametrize("order", ["block", "interleaved"])
def test_conv_formula(order: str) -> None:
    layer = awake(ConvFusion(4, 4, order=order, relu=True))  # type: ignore[arg-type]
    rgb, flow = torch.randn(MAP), torch.randn(MAP)
    weight, bias = layer.conv.weight.double()[:, :, 0, 0], layer.conv.bias.double()
    for_rgb, for_flow = (weight[:, :4], weight[:, 4:]) if order == "block" else (weight[:, 1::2], weight[:, 0::2])
    expected = torch.einsum("oc,nchw->nohw", for_rgb, rgb.double())
    expected += torch.einsum("oc,nchw->nohw", for_flow, flow.double()) + bias[:, None, None]
    check_formula(layer(rgb, flow), expected.clamp(min=0))


@pytest.mark.shows("numbers", ConvFusion)
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


@pytest.mark.shows("numbers", ConvFusion)
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


# ---- attention ----


@pytest.mark.shows("formula", AttentionFusion)
def test_attention_formula() -> None:
    layer = awake(AttentionFusion(6, 6, reduction=2))
    rgb, flow = torch.randn(2, 6, 3, 4), torch.randn(2, 6, 3, 4)

    def gate(module: nn.Module, x: Tensor) -> Tensor:
        w1, b1, w2, b2 = (p.double() for p in module.parameters())
        hidden = (x.double().sum(dim=(2, 3)) / 12 @ w1.T + b1).clamp(min=0)
        return (1 / (1 + (-(hidden @ w2.T + b2)).exp()))[:, :, None, None]

    expected = rgb.double() * gate(layer.gate_for_rgb, flow) + flow.double() * gate(layer.gate_for_flow, rgb)
    check_formula(layer(rgb, flow), expected)


@pytest.mark.shows("numbers", AttentionFusion)
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


@pytest.mark.shows("numbers", AttentionFusion)
@pytest.mark.parametrize(("channels", "count"), [(512, 2 * 33_312), (8, 2 * (8 + 1 + 8 + 8))])
def test_attention_parameter_count(channels: int, count: int) -> None:
    assert sum(p.numel() for p in AttentionFusion(channels, channels).parameters()) == count


# ---- gates that see both streams ----


@pytest.mark.shows("formula", GatedFusion)
@pytest.mark.parametrize("per", ["channel", "position"])
def test_gated_formula(per: str) -> None:
    layer = awake(GatedFusion(4, 4, per=per))  # type: ignore[arg-type]
    rgb, flow = torch.randn(MAP), torch.randn(MAP)
    a, b = rgb.double(), flow.double()
    both = torch.cat((a, b), dim=1)
    if per == "channel":
        both = both.sum(dim=(2, 3), keepdim=True) / 6
    weight, bias = layer.gate.weight.double()[:, :, 0, 0], layer.gate.bias.double()
    gate = 1 / (1 + (-torch.einsum("gc,nchw->nghw", weight, both) - bias[:, None, None]).exp())
    assert gate.shape == ((2, 4, 1, 1) if per == "channel" else (2, 1, 2, 3))
    check_formula(layer(rgb, flow), gate * a + (1 - gate) * b)


@pytest.mark.shows("numbers", GatedFusion)
@pytest.mark.parametrize("per", ["channel", "position"])
def test_gated_starts_as_the_mean_and_learns_at_once(per: str) -> None:
    layer = GatedFusion(4, 4, per=per)  # type: ignore[arg-type]
    rgb, flow = torch.randn(MAP), torch.randn(MAP)
    fused = layer(rgb, flow)
    torch.testing.assert_close(fused, (rgb + flow) / 2)
    fused.square().sum().backward()
    assert all(parameter.grad.any() for parameter in layer.parameters())


@pytest.mark.shows("numbers", GatedFusion)
def test_gated_by_hand() -> None:
    """Gates of sigmoid(ln 3) = 3/4."""
    layer = GatedFusion(1, 1)
    with torch.no_grad():
        layer.gate.weight.copy_(torch.tensor([2.0, -1.0]).view(1, 2, 1, 1))
        layer.gate.bias.fill_(math.log(3) - 2 * 3 + 8)
    rgb, flow = torch.tensor([1.0, 5.0]).view(1, 1, 1, 2), torch.tensor([8.0, 8.0]).view(1, 1, 1, 2)  # means 3 and 8
    torch.testing.assert_close(layer(rgb, flow).flatten(), torch.tensor([0.75 * 1 + 2, 0.75 * 5 + 2]))
    with pytest.raises(ValueError, match="per='pixel': choose from channel, position"):
        GatedFusion(1, 1, per="pixel")  # type: ignore[arg-type]


@pytest.mark.parametrize("per", ["channel", "position"])
def test_gated_of_probabilities_and_of_their_logs(per: str) -> None:
    layer = awake(GatedFusion(4, 4, per=per))  # type: ignore[arg-type]
    rgb, flow = (torch.randn(3, 4, 1, 1).log_softmax(1) for _ in range(2))
    torch.testing.assert_close(layer.of_logs(rgb, flow), layer(rgb.exp(), flow.exp()).log())
    tiny = layer.of_logs(torch.full((1, 4, 1, 1), -1000.0), torch.full((1, 4, 1, 1), -1000.0))
    torch.testing.assert_close(tiny, torch.full((1, 4, 1, 1), -1000.0))


@pytest.mark.shows("numbers", GatedFusion)
@pytest.mark.parametrize(("per", "count"), [("channel", 2 * 512 * 512 + 512), ("position", 2 * 512 + 1)])
def test_gated_parameter_count(per: str, count: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in GatedFusion(512, 512, per=per).parameters()) == count  # type: ignore[arg-type]


# ---- attention of one stream to the other ----


def asked(module: nn.Module, asking: Tensor, other: Tensor) -> Tensor:
    """One attention, written out in float64."""
    x, z = asking.double().flatten(2).mT, other.double().flatten(2).mT
    query, both, weight, bias = (p.double() for p in module.parameters())
    key, value = both.chunk(2)
    size = len(query) // module.heads
    found = []
    for head in range(module.heads):
        q, k, v = (y @ w[head * size : (head + 1) * size].T for y, w in ((x, query), (z, key), (z, value)))
        logits = torch.einsum("nid,njd->nij", q, k) / math.sqrt(size)
        weights = logits.exp() / logits.exp().sum(2, keepdim=True)
        found.append(torch.einsum("nij,njd->nid", weights, v))
    return (torch.cat(found, 2) @ weight.T + bias).mT.reshape(asking.shape)


@pytest.mark.shows("formula", CrossAttentionFusion)
@pytest.mark.parametrize("queries", ["both", "first", "second"])
@pytest.mark.parametrize("heads", [1, 3])
def test_cross_attention_formula(queries: str, heads: int) -> None:
    layer = awake(CrossAttentionFusion(4, 4, queries=queries, heads=heads, dimension=2))  # type: ignore[arg-type]
    rgb, flow = torch.randn(MAP), torch.randn(MAP)
    expected = rgb.double() + flow.double()
    if queries != "second":
        expected = expected + asked(layer.asking.first, rgb, flow)
    if queries != "first":
        expected = expected + asked(layer.asking.second, flow, rgb)
    check_formula(layer(rgb, flow), expected)


@pytest.mark.shows("numbers", CrossAttentionFusion)
@pytest.mark.parametrize("queries", ["both", "first", "second"])
def test_cross_attention_starts_as_the_sum_and_learns_all_from_the_second_step_on(queries: str) -> None:
    layer = CrossAttentionFusion(4, 4, queries=queries, heads=2, dimension=3)  # type: ignore[arg-type]
    rgb, flow = torch.randn(MAP), torch.randn(MAP)
    assert torch.equal(layer(rgb, flow), rgb + flow)
    optimizer, reached = torch.optim.SGD(layer.parameters(), lr=0.1), []
    for _ in range(2):
        optimizer.zero_grad()
        layer(rgb, flow).square().sum().backward()
        reached.append({name.split(".", 2)[2] for name, p in layer.named_parameters() if p.grad.any()})
        optimizer.step()
    assert reached == [{"out.weight", "out.bias"}, {"out.weight", "out.bias", "query.weight", "key_value.weight"}]


@pytest.mark.shows("numbers", CrossAttentionFusion)
def test_cross_attention_by_hand() -> None:
    """Two positions; the logits of the first are 0 and ln 3, those of the second, whose query is 0, are equal."""
    layer = CrossAttentionFusion(1, 1, queries="first", heads=1, dimension=1)
    with torch.no_grad():
        for parameter, value in zip(
            layer.parameters(), ([[1.0]], [[math.log(3)], [10.0]], [[1.0]], [100.0]), strict=True
        ):
            parameter.copy_(torch.tensor(value))
    rgb, flow = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2), torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)
    torch.testing.assert_close(layer(rgb, flow).flatten(), torch.tensor([1 + 0 + 7.5 + 100, 0 + 1 + 5 + 100]))


def test_cross_attention_does_not_know_where_a_position_lies() -> None:
    layer = awake(CrossAttentionFusion(4, 4, dimension=8))
    rgb, flow = torch.randn(2, 4, 1, 6), torch.randn(2, 4, 1, 6)
    order, other = torch.randperm(6), torch.randperm(6)
    attended = layer(rgb, flow) - rgb - flow
    # each stream's own order only reorders its answers: with queries of one stream, those of the other do not matter
    first = awake(CrossAttentionFusion(4, 4, queries="first", dimension=8))
    found, moved = first(rgb, flow) - rgb - flow, first(rgb[..., order], flow[..., other])
    torch.testing.assert_close(moved - rgb[..., order] - flow[..., other], found[..., order])
    together = layer(rgb[..., order], flow[..., order]) - (rgb + flow)[..., order]
    torch.testing.assert_close(together, attended[..., order])


@pytest.mark.shows("numbers", CrossAttentionFusion)
@pytest.mark.parametrize(("queries", "times"), [("both", 2), ("first", 1), ("second", 1)])
def test_cross_attention_parameter_count(queries: str, times: int) -> None:
    layer = CrossAttentionFusion(512, 512, queries=queries)  # type: ignore[arg-type]
    assert sum(p.numel() for p in layer.parameters()) == times * (4 * 128 * 512 + 512)


def test_wrong_options_of_cross_attention() -> None:
    with pytest.raises(ValueError, match="queries='flow': choose from both, first, second"):
        CrossAttentionFusion(4, 4, queries="flow")  # type: ignore[arg-type]


# ---- what enters a residual unit; the units are in test_residual.py ----


@pytest.mark.shows("formula", ResidualFusion)
def test_residual_formula() -> None:
    rgb, flow = torch.randn(MAP), torch.randn(MAP)
    a, b = rgb.double(), torch.where(flow > 0, flow, 0).double()
    check_formula(ResidualFusion(4, 4)(rgb, flow), a + b)
    check_formula(ResidualFusion(4, 4, operation="multiply")(rgb, flow), a * b)


@pytest.mark.shows("numbers", ResidualFusion)
def test_residual_by_hand() -> None:
    rgb, flow = torch.tensor([2.0, 2.0, -3.0]).view(1, 1, 1, 3), torch.tensor([5.0, -5.0, 1.0]).view(1, 1, 1, 3)
    assert ResidualFusion(1, 1)(rgb, flow).flatten().tolist() == [7, 2, -2]
    assert ResidualFusion(1, 1, operation="multiply")(rgb, flow).flatten().tolist() == [10, 0, -3]
    assert torch.equal(ResidualFusion(1, 1)(rgb, torch.zeros_like(rgb)), rgb)
    assert torch.equal(ResidualFusion(1, 1, operation="multiply")(rgb, torch.ones_like(rgb)), rgb)
    with pytest.raises(ValueError, match="operation='max': choose from add, multiply"):
        ResidualFusion(1, 1, operation="max")  # type: ignore[arg-type]


# ---- weighted mean ----


@pytest.mark.shows("numbers", WeightedFusion)
@pytest.mark.parametrize(("weights", "mean"), [((1.0, 1.0), 5.0), ((1.0, 1.5), 5.6), ((1.0, 2.0), 6.0)])
@pytest.mark.parametrize("learned", [False, True])
def test_weighted_by_hand(weights: tuple[float, float], mean: float, learned: bool) -> None:
    layer = WeightedFusion(3, 3, weights=weights, learned=learned)
    fused = layer(torch.full((1, 3, 1, 1), 2.0), torch.full((1, 3, 1, 1), 8.0))
    torch.testing.assert_close(fused, torch.full((1, 3, 1, 1), mean))
    assert len(list(layer.parameters())) == learned


@pytest.mark.shows("formula", WeightedFusion)
def test_weighted_formula() -> None:
    layer, rgb, flow = build("weighted_learned")
    a, b = layer.log_weights.double().exp()
    check_formula(layer(rgb, flow), (a * rgb.double() + b * flow.double()) / (a + b))


@pytest.mark.parametrize("weights", [(1.0, 0.0), (1.0, -1.0), (1.0, 1.0, 1.0)])
def test_weights_must_be_two_positive_numbers(weights: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="two positive numbers"):
        WeightedFusion(3, 3, weights=weights)


# ---- several levels ----


@pytest.mark.shows("formula", MultiLevelFusion)
def test_multilevel_fuses_each_level() -> None:
    layer = MultiLevelFusion([2, 3], [2, 3], level=SumFusion)
    rgb, flow = ([torch.randn(1, 2, 4, 4), torch.randn(1, 3, 2, 2)] for _ in range(2))
    for fused, a, b in zip(layer(rgb, flow), rgb, flow, strict=True):
        assert torch.equal(fused, a + b)
    assert layer.out_channels == [2, 3]
    with pytest.raises(ValueError, match=r"BilinearFusion.*choose sum, max, concat or conv"):
        MultiLevelFusion([2], [2], level=BilinearFusion)


@pytest.mark.shows("formula", PyramidFusion)
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


@pytest.mark.shows("numbers", MultiLevelFusion)
def test_multilevel_by_hand() -> None:
    layer = MultiLevelFusion([1, 1], [1, 1], level=MaxFusion)
    fine, coarse = layer([torch.tensor([[[[1.0, 5.0]]]]), torch.ones(1, 1, 1, 1)], [torch.full((1, 1, 1, 2), 3.0)] * 2)
    assert fine.tolist() == [[[[3.0, 5.0]]]]
    assert coarse.tolist() == [[[[3.0, 3.0]]]]


@pytest.mark.shows("numbers", PyramidFusion)
def test_pyramid_by_hand() -> None:
    """Lateral filters 1 and 10 and no smoothing: every cell is the rectified 1·fine + 10·coarse."""
    layer = PyramidFusion([1, 1], [1, 1], level=SumFusion, channels=1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        layer.lateral[0].weight.fill_(1)
        layer.lateral[1].weight.fill_(10)
        layer.smooth.weight[0, 0, 1, 1] = 1
    fine = torch.tensor([[[[1.0, 2.0, 3.0, -50.0]]]])
    coarse = torch.tensor([[[[0.5, 2.0]]]])
    [fused] = layer([fine, coarse], [torch.zeros_like(fine), coarse])  # coarse: rgb + flow = 1, 4
    assert fused.tolist() == [[[[11.0, 12.0, 43.0, 0.0]]]]
