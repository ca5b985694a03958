"""Temporal fusion: every variant against its formula, and the numbers of PAPER 1.5, 1.6 and section 5."""

from __future__ import annotations

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

from twostream.models.temporal import Conv3d, Pool2d, Pool3d, Temporal

LAYERS = {
    "pool2d": lambda: Pool2d(4, 2),
    "pool3d": lambda: Pool3d(4, 2),
    "conv3d": lambda: Conv3d(4, 2),
    "conv3d_interleaved": lambda: Conv3d(4, 2, order="interleaved"),
    "conv3d_kaiming": lambda: Conv3d(4, 1, init="kaiming"),
}
every_layer = pytest.mark.parametrize("name", LAYERS)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def build(name: str) -> tuple[nn.Module, Tensor]:
    return awake(LAYERS[name]()), torch.randn(2, 3, 4, 3, 2)  # n t c h w


def test_every_class_is_checked() -> None:
    made = {type(make()) for make in LAYERS.values()}
    assert made == set(Temporal.__subclasses__())


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
    check_state_dict(LAYERS[name], build(name)[1])


@every_layer
def test_shape(name: str) -> None:
    layer, maps = build(name)
    steps = 3 if name == "pool2d" else 1
    assert layer(maps).shape == (2, steps, layer.out_channels, 3, 2)
    with torch.device("meta"):
        ghost = LAYERS[name]()
    assert ghost(maps.to("meta")).shape == layer(maps).shape


# ---- pooling ----


@pytest.mark.shows("formula", Pool2d)
@pytest.mark.shows("numbers", Pool2d)
def test_pool2d_leaves_time_alone() -> None:
    maps = torch.randn(2, 5, 3, 4, 4)
    assert torch.equal(Pool2d(3, 3)(maps), maps)


@pytest.mark.shows("formula", Pool3d)
def test_pool3d_formula() -> None:
    maps = torch.randn(2, 5, 3, 4, 4)
    expected = maps[:, 0].double()
    for t in range(1, 5):
        expected = torch.where(maps[:, t].double() > expected, maps[:, t].double(), expected)
    check_formula(Pool3d(3, 3)(maps), expected[:, None])


@pytest.mark.shows("numbers", Pool3d)
@pytest.mark.parametrize(("side", "kernel", "stride", "pooled"), [(14, 2, 2, 7), (13, 3, 2, 6)])  # VGG-16, VGG-M
def test_pool3d_with_the_following_2d_pool_is_3d_max_pooling(side: int, kernel: int, stride: int, pooled: int) -> None:
    ours = torch.randn(2, 5, 3, side, side, requires_grad=True)
    theirs = ours.detach().transpose(1, 2).clone().requires_grad_()  # (n, c, t, h, w)
    actual = F.max_pool2d(Pool3d(3, 3)(ours).squeeze(1), kernel, stride)
    cube = nn.MaxPool3d((5, kernel, kernel), stride=(2, stride, stride))  # the paper's, T 5 -> 1
    expected = cube(theirs)
    assert expected.shape == (2, 3, 1, pooled, pooled)
    assert torch.equal(actual, expected.squeeze(2))
    upstream = torch.rand_like(actual)
    actual.backward(upstream)
    expected.backward(upstream.unsqueeze(2))
    assert torch.equal(ours.grad, theirs.grad.transpose(1, 2))


@pytest.mark.shows("numbers", Pool3d)
def test_pool3d_of_one_step_is_that_step() -> None:
    maps = torch.randn(2, 1, 3, 4, 4)
    assert torch.equal(Pool3d(3, 3)(maps), maps)


def test_pool3d_ignores_order_and_conv3d_does_not() -> None:
    maps, mixed = torch.rand(1, 5, 4, 6, 6), torch.tensor([2, 0, 4, 1, 3])
    assert torch.equal(Pool3d(4, 4)(maps[:, mixed]), Pool3d(4, 4)(maps))
    layer = Conv3d(4, 2)
    assert (layer(maps[:, mixed]) - layer(maps)).abs().max() > 0.02


def test_pool3d_gives_the_gradient_to_one_of_equal_maxima() -> None:
    maps = torch.ones(1, 4, 1, 1, 1, requires_grad=True)
    Pool3d(1, 1)(maps).sum().backward()
    assert sorted(maps.grad.flatten().tolist()) == [0, 0, 0, 1]


def test_kept_tower_pools_only() -> None:
    assert type(Conv3d(8, 4).pooling_only()) is Pool3d
    for layer in (Pool2d(4, 4), Pool3d(4, 4)):
        assert layer.pooling_only() is layer


# ---- 3-D convolution ----


@pytest.mark.shows("formula", Conv3d)
def test_conv3d_formula() -> None:
    layer, maps = awake(Conv3d(4, 3, init="kaiming")), torch.randn(2, 3, 4, 5, 4)
    weight, bias = layer.conv.weight.double(), layer.conv.bias.double()
    padded = torch.zeros(2, 5, 4, 7, 6, dtype=torch.float64)
    padded[:, 1:4, :, 1:6, 1:5] = maps.double()
    total = bias[:, None, None].expand(2, 3, 3, 5, 4).clone()  # n t d h w
    for t in range(3):
        for i in range(3):
            for j in range(3):
                window = padded[:, t : t + 3, :, i : i + 5, j : j + 4]
                total += torch.einsum("dc,ntchw->ntdhw", weight[:, :, t, i, j], window)
    expected = total.clamp(min=0).amax(dim=1, keepdim=True)  # ReLU, then max, as the paper orders them
    check_formula(layer(maps), expected)


@pytest.mark.shows("numbers", Conv3d)
def test_conv3d_parameter_count() -> None:
    with torch.device("meta"):
        layer = Conv3d(1024, 512)
    assert sum(p.numel() for p in layer.parameters()) == 14_156_288


@pytest.mark.shows("numbers", Conv3d)
def test_conv3d_filter_numbers() -> None:
    weight = Conv3d(4, 2).conv.weight.detach()  # block order: rgb 0, 1, flow 0, 1
    cube = weight[0, 0] / 0.25
    assert cube.sum().item() == pytest.approx(1, abs=1e-6)
    numbers = [cube[1, 1, 1], cube[0, 1, 1], cube[0, 0, 1], cube[0, 0, 0]]  # centre, face, edge, corner
    assert [round(float(x), 4) for x in numbers] == [0.0923, 0.0560, 0.0339, 0.0206]
    torch.testing.assert_close(weight.sum(dim=(2, 3, 4)), torch.tensor([[0.25, 0, 0.75, 0], [0, 0.25, 0, 0.75]]))
    interleaved = Conv3d(4, 2, order="interleaved").conv.weight.detach()  # flow 0, rgb 0, flow 1, rgb 1
    assert torch.equal(interleaved, weight[:, [2, 0, 3, 1]])


@pytest.mark.shows("numbers", Conv3d)
@pytest.mark.parametrize("channels", [4, 2])  # both streams, an already fused map
def test_conv3d_of_ones_is_a_weighted_mean(channels: int) -> None:
    layer = Conv3d(channels, 2)
    full = layer.conv(torch.ones(1, channels, 5, 5, 5)).detach()[0, 0]
    numbers = [full[2, 2, 2], full[0, 2, 2], full[0, 0, 2], full[0, 0, 0]]
    assert [round(float(x), 4) for x in numbers] == [1, 0.7259, 0.5270, 0.3825]
    pooled = layer(torch.ones(1, 5, channels, 5, 5)).detach()[0, 0, 0]  # the max over time is inside in time
    assert [round(float(x), 4) for x in (pooled[2, 2], pooled[0, 2], pooled[0, 0])] == [1, 0.7259, 0.5270]
    single = layer(torch.ones(1, 1, channels, 5, 5)).detach()[0, 0, 0]  # T=1: zeros before and after
    assert round(float(single[2, 2]), 4) == 0.4519


def test_conv3d_of_a_still_clip_is_the_blurred_mean() -> None:
    rgb, flow = torch.rand(1, 2, 6, 6), torch.rand(1, 2, 6, 6)
    still = torch.cat((rgb, flow), dim=1)[:, None].expand(1, 5, 4, 6, 6)
    side = torch.tensor(-0.5).exp()
    line = torch.stack((side, torch.tensor(1.0), side)) / (1 + 2 * side)
    blur = torch.outer(line, line).expand(2, 1, 3, 3)
    expected = F.conv2d(0.25 * rgb + 0.75 * flow, blur, padding=1, groups=2)
    torch.testing.assert_close(Conv3d(4, 2)(still)[:, 0], expected)


def test_conv3d_weights_of_the_other_order_are_wrong() -> None:
    maps = torch.rand(1, 3, 8, 4, 4)
    block, interleaved = Conv3d(8, 4), Conv3d(8, 4, order="interleaved")
    rgb, flow = maps[:, :, :4], maps[:, :, 4:]
    mixed = torch.stack((flow, rgb), dim=3).flatten(2, 3)
    torch.testing.assert_close(interleaved(mixed), block(maps))
    assert (interleaved(maps) - block(maps)).abs().max() > 0.1


def test_conv3d_kaiming_init() -> None:
    weight = Conv3d(64, 32, init="kaiming").conv.weight
    assert weight.std().item() == pytest.approx((2 / (27 * 32)) ** 0.5, rel=0.03)


def test_conv3d_errors_name_the_choices() -> None:
    with pytest.raises(ValueError, match=r"4 output channels need 4 or 8 input channels, not 12.*init=kaiming"):
        Conv3d(12, 4)
    with pytest.raises(ValueError, match=r"init='gaussian'.*choose from paper, kaiming"):
        Conv3d(8, 4, init="gaussian")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"order='mixed'.*choose from block, interleaved"):
        Conv3d(8, 4, order="mixed")  # type: ignore[arg-type]


@pytest.mark.parametrize("channels", [16, 24])
def test_the_gradient_of_the_filter_in_mixed_precision_on_a_cpu(channels: int) -> None:
    """That of float32, every time: PyTorch's own, in bfloat16, differs from call to call here, and is often NaN."""
    torch.manual_seed(0)
    layer = Conv3d(channels, channels, init="kaiming")
    x = torch.randn(4, 2, channels, 4, 4)
    gradients = []
    for mixed in (False, *[True] * 10):
        garbage = [torch.full((size,), torch.nan) for size in (1_000, 10_000, 100_000)]
        del garbage  # its memory is what the next operations are given
        layer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
            y = layer(x)
        y.float().square().sum().backward()
        gradients.append(layer.conv.weight.grad.clone())
    assert all(torch.allclose(one, gradients[0], rtol=0.02, atol=0.02) for one in gradients)
