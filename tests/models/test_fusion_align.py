"""Alignment of unequal maps: formulas, and the numbers of PAPER 1.4."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from layer_checks import awake, check_formula

from twostream.models.fusion import UpconvAlign, ZeroPadAlign


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.shows("formula", ZeroPadAlign)
def test_zero_pad_at_bottom_and_right_drops_the_gradient_there() -> None:
    rgb = torch.rand(1, 2, 14, 14, requires_grad=True)
    flow = torch.rand(1, 2, 13, 13, requires_grad=True)
    same, padded = ZeroPadAlign((2, 14, 14), (2, 13, 13))(rgb, flow)
    assert torch.equal(same, rgb)
    assert padded.shape == rgb.shape
    assert torch.equal(padded[:, :, :13, :13], flow)
    assert padded[:, :, 13].abs().max() == 0
    assert padded[:, :, :, 13].abs().max() == 0
    upstream = torch.rand_like(padded)
    (padded * upstream).sum().backward()
    assert torch.equal(flow.grad, upstream[:, :, :13, :13])


@pytest.mark.shows("numbers", ZeroPadAlign)
def test_zero_pad_takes_the_larger_side_of_each_axis() -> None:
    rgb, flow = ZeroPadAlign((1, 2, 5), (3, 4, 3))(torch.ones(1, 1, 2, 5), torch.ones(1, 3, 4, 3))
    assert (rgb.shape, flow.shape) == ((1, 1, 4, 5), (1, 3, 4, 5))
    assert (rgb.sum(), flow.sum()) == (10, 36)


@pytest.mark.parametrize("large", [14, 13, 25, 28, 26, 27, 29, 56])
@pytest.mark.parametrize("rgb_is_smaller", [True, False])
def test_upconv_reaches_the_larger_map(large: int, rgb_is_smaller: bool) -> None:
    shapes = [(1, 13, 13), (1, large, large + 1)]
    shapes = shapes if rgb_is_smaller else shapes[::-1]
    rgb, flow = UpconvAlign(*shapes)(*(torch.ones(1, *shape) for shape in shapes))
    assert rgb.shape == flow.shape == (1, 1, large, large + 1)
    torch.testing.assert_close(rgb if rgb_is_smaller else flow, torch.ones(1, 1, large, large + 1))


@pytest.mark.shows("numbers", UpconvAlign)
def test_upconv_13_to_14_starts_as_midpoints() -> None:
    row = torch.arange(13.0).expand(1, 1, 13, 13)
    _, grown = UpconvAlign((1, 14, 14), (1, 13, 13))(torch.zeros(1, 1, 14, 14), row)
    expected = [0.0, *(column + 0.5 for column in range(12)), 12.0]
    torch.testing.assert_close(grown, torch.tensor(expected).expand(1, 1, 14, 14))


@pytest.mark.shows("numbers", UpconvAlign)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_upconv_starts_as_bilinear_interpolation(scale: int) -> None:
    x, side = torch.rand(2, 3, 14, 14), 14 * scale
    _, grown = UpconvAlign((3, side, side), (3, 14, 14))(torch.zeros(2, 3, side, side), x)
    torch.testing.assert_close(grown, F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False))


@pytest.mark.shows("numbers", UpconvAlign)
def test_upconv_13_to_28_is_the_interpolation_to_26_with_its_edges_repeated() -> None:
    x = torch.rand(1, 1, 13, 13)
    _, grown = UpconvAlign((1, 28, 28), (1, 13, 13))(torch.zeros(1, 1, 28, 28), x)
    inner = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(grown, F.pad(inner, (1, 1, 1, 1), mode="replicate"))


@pytest.mark.shows("formula", UpconvAlign)
def test_upconv_formula() -> None:
    align = awake(UpconvAlign((2, 3, 3), (3, 7, 4)))  # strides 2 and 1, padding 1 and 0, kernel 5 and 2
    x = torch.randn(2, 2, 3, 3)
    weight, bias = (value.double() for value in align.upconv_rgb[1].parameters())
    assert weight.shape == (2, 2, 5, 2)
    full = torch.zeros(2, 2, 13, 6, dtype=torch.float64)
    for i in range(5):
        for j in range(5):  # each cell, those of the repeated edge too, stamps the kernel at stride times its place
            cell = x[:, :, min(max(i - 1, 0), 2), min(max(j - 1, 0), 2)].double()
            full[:, :, 2 * i : 2 * i + 5, j : j + 2] += torch.einsum("nc,cokl->nokl", cell, weight)
    expected = full[:, :, 3:10, 1:5] + bias[:, None, None]
    check_formula(align(x, torch.zeros(2, 3, 7, 4))[0], expected)


def test_upconv_at_other_sizes_pads_the_remainder() -> None:
    align = UpconvAlign((1, 28, 28), (1, 14, 14))
    rgb, flow = align(torch.ones(1, 1, 31, 31), torch.ones(1, 1, 15, 15))
    assert rgb.shape == flow.shape == (1, 1, 31, 31)
    assert flow[:, :, 30].abs().max() == 0
    assert flow[0, 0, :30, :30].unique().tolist() == [1]


def test_upconv_of_equal_maps_is_nothing_and_of_crossed_maps_an_error() -> None:
    align = UpconvAlign((3, 5, 5), (4, 5, 5))
    assert not list(align.parameters())
    rgb, flow = torch.rand(1, 3, 5, 5), torch.rand(1, 4, 5, 5)
    assert all(torch.equal(a, b) for a, b in zip(align(rgb, flow), (rgb, flow), strict=True))
    with pytest.raises(ValueError, match=r"\(5, 9\) \(rgb\) and \(6, 8\) \(flow\).*choose align=zero_pad"):
        UpconvAlign((3, 5, 9), (3, 6, 8))


# ---- channels ----


@pytest.mark.parametrize("make", [ZeroPadAlign, UpconvAlign])
def test_equal_channels_need_no_projection(make: type[ZeroPadAlign | UpconvAlign]) -> None:
    align = make((4, 3, 3), (4, 3, 3), channels="project")
    assert not list(align.parameters())
    assert align.out_channels == (4, 4)
    rgb, flow = torch.rand(1, 4, 3, 3), torch.rand(1, 4, 3, 3)
    assert all(torch.equal(a, b) for a, b in zip(align(rgb, flow), (rgb, flow), strict=True))


@pytest.mark.parametrize("make", [ZeroPadAlign, UpconvAlign])
def test_without_projection_channels_stay(make: type[ZeroPadAlign | UpconvAlign]) -> None:
    align = make((4, 3, 3), (5, 3, 3))
    assert align.out_channels == (4, 5)
    assert not list(align.parameters())
    with pytest.raises(ValueError, match="channels='half': choose from equal, project"):
        make((4, 3, 3), (5, 3, 3), channels="half")


@pytest.mark.shows("formula", ZeroPadAlign, UpconvAlign)
@pytest.mark.parametrize("make", [ZeroPadAlign, UpconvAlign])
def test_projection_formula(make: type[ZeroPadAlign | UpconvAlign]) -> None:
    align = awake(make((2, 3, 3), (4, 3, 3), channels="project"))
    assert align.out_channels == (2, 2)
    rgb, flow = torch.randn(2, 2, 3, 3), torch.randn(2, 4, 3, 3)
    same, projected = align(rgb, flow)
    weight, bias = (value.double() for value in align.project.parameters())
    check_formula(projected, torch.einsum("oc,nchw->nohw", weight[:, :, 0, 0], flow.double()) + bias[:, None, None])
    assert torch.equal(same, rgb)


@pytest.mark.shows("numbers", ZeroPadAlign)
def test_padded_cells_stay_zero_behind_a_projection() -> None:
    align = ZeroPadAlign((1, 1, 2), (2, 1, 1), channels="project")
    with torch.no_grad():
        align.project.weight.copy_(torch.tensor([2.0, 3.0]).view(1, 2, 1, 1))
        align.project.bias.fill_(1)
    _, flow = align(torch.zeros(1, 1, 1, 2), torch.tensor([5.0, 7.0]).view(1, 2, 1, 1))
    assert flow.flatten().tolist() == [2 * 5 + 3 * 7 + 1, 0]


@pytest.mark.parametrize(("wide", "narrow"), [(256, 512), (512, 256)])
def test_a_projected_map_keeps_its_mean_square(wide: int, narrow: int) -> None:
    flow = torch.randn(4, wide, 8, 8).relu()
    _, projected = ZeroPadAlign((narrow, 8, 8), (wide, 8, 8), channels="project")(torch.zeros(4, narrow, 8, 8), flow)
    assert projected.square().mean().item() == pytest.approx(flow.square().mean().item(), rel=0.1)
