"""Pooling: the hand-computed numbers, limits and traps of PAPER 2.1 to 2.4, 2.6, 3 and 5 (claim 8)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from layer_checks import check_formula
from test_pooling import LAYERS, SIZE, positive_map, rectified_map

from twostream.models.pooling import (
    GAP,
    GMP,
    RMAC,
    SPP,
    AddAvgMax,
    BilinearPool,
    CatAvgMax,
    CenterWeightedPool,
    CompactBilinear,
    CroW,
    GeM,
    LpPool,
    OverlappingMaxPool,
    SPoC,
)
from twostream.models.pooling.centre import gaussian
from twostream.models.pooling.crow import channel_weights, location_weights
from twostream.models.pooling.windows import rmac_regions


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


# ---- constants, bounds, shifts (PAPER 2.1, 2.4, claim 8) ----


@pytest.mark.parametrize(
    "name",
    [
        *("gap", "gmp", "add_avg_max", "gem", "gem_fixed", "overlapping_max", "spp", "lp_mean"),
        *("center_weighted", "center_weighted_inverse", "center_weighted_linear"),
    ],
)
def test_constant_map_keeps_its_value(name: str) -> None:
    layer = LAYERS[name]()
    for size in ((1, 1), (2, 2), (2, 7), (6, 6), (7, 7)):
        torch.testing.assert_close(layer(torch.full((2, 4, *size), 2.5)), torch.full((2, layer.out_channels), 2.5))


@pytest.mark.shows("numbers", GAP, GMP, AddAvgMax, CatAvgMax)
def test_average_and_maximum_by_hand() -> None:
    x = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]], [[0.0, 0.0], [0.0, 4.0]]]])
    assert GAP(2)(x).tolist() == [[3, 1]]
    assert GMP(2)(x).tolist() == [[6, 4]]
    assert AddAvgMax(2)(x).tolist() == [[4.5, 2.5]]
    assert CatAvgMax(2)(x).tolist() == [[3, 1, 6, 4]]  # averages first
    assert CatAvgMax(2).out_channels == 4
    assert AddAvgMax(2).out_channels == 2


def test_maximum_survives_a_shift_only_while_it_stays_in_the_window() -> None:
    def maximum(*row: float) -> float:
        return GMP(1)(torch.tensor(row, dtype=torch.float32).view(1, 1, 1, -1)).item()

    assert maximum(1, 5, 3) == maximum(0, 1, 5) == 5  # shifted right
    assert maximum(5, 3, 1) == 5
    assert maximum(3, 1, 0) == 3  # shifted left: the 5 is gone


# ---- SPoC and centre weights ----


@pytest.mark.shows("numbers", SPoC)
def test_spoc_is_the_sum_and_gap_after_the_norm() -> None:
    x = rectified_map(2, 4, *SIZE)
    torch.testing.assert_close(SPoC(4)(x), 35 * GAP(4)(x))
    torch.testing.assert_close(SPoC(4, normalise=True)(x), F.normalize(GAP(4)(x)))


@pytest.mark.shows("numbers", SPoC)
def test_centre_prior_numbers() -> None:
    w7, w14, w6x9, w1 = (gaussian(torch.empty(1, 1, *s)) for s in ((7, 7), (14, 14), (6, 9), (1, 1)))
    assert w7[3, 3] == 1
    assert w7[0, 0].item() == pytest.approx(0.001344, abs=5e-7)
    assert w7.sum().item() == pytest.approx(8.5182, abs=5e-5)
    assert w14.max().item() == pytest.approx(0.95512, abs=5e-6)
    assert w14.sum().item() == pytest.approx(34.0374, abs=5e-5)
    assert w1.item() == 1
    for weights in (w7, w14, w6x9):  # (size - 1) / 2, not size / 2: symmetric
        torch.testing.assert_close(weights, weights.flip(0, 1), rtol=0, atol=0)
    assert gaussian(torch.empty(1, 1, 3, 3, dtype=torch.float64)).dtype == torch.float64
    x = torch.zeros(1, 1, 7, 7)
    x[0, 0, 0, 0] = 1000
    assert SPoC(1, centre_prior=True)(x).item() == pytest.approx(1.344, abs=5e-4)


@pytest.mark.shows("numbers", CenterWeightedPool)
def test_center_weights_by_hand() -> None:
    x = torch.zeros(1, 2, 3, 3)
    x[0, 0, 1, 1] = x[0, 1, 0, 0] = 1  # centre; corner, at distance sqrt(2)
    inverse = CenterWeightedPool(2, "inverse")(x)
    total = 1 + 4 * 1 / 2 + 4 / (1 + math.sqrt(2))
    assert inverse[0].tolist() == pytest.approx([1 / total, 1 / (1 + math.sqrt(2)) / total])
    linear = CenterWeightedPool(2, "linear")(x)
    assert linear[0].tolist() == pytest.approx([1 / (1 + 4 * (1 - 1 / math.sqrt(2))), 0], abs=1e-7)
    gaussian7 = CenterWeightedPool(1)(F.one_hot(torch.tensor(24), 49).float().view(1, 1, 7, 7))
    assert gaussian7.item() == pytest.approx(1 / 8.5182, rel=1e-5)


@pytest.mark.parametrize("weighting", ["gaussian", "inverse", "linear"])
def test_center_weights_do_not_change_with_a_flip(weighting: str) -> None:
    layer, x = CenterWeightedPool(4, weighting), rectified_map(2, 4, 6, 7)
    torch.testing.assert_close(layer(x.flip(-1)), layer(x))
    torch.testing.assert_close(layer(x.flip(-2)), layer(x))


def test_linear_weights_where_all_cells_are_corners() -> None:
    """1 - d / dmax is 0 / 0 on 1x1 and 0 in every cell of 1x2 and 2x2."""
    for size in ((1, 1), (1, 2), (2, 1), (2, 2)):
        x = rectified_map(2, 4, *size)
        torch.testing.assert_close(CenterWeightedPool(4, "linear")(x), x.mean((2, 3)))


# ---- GeM and L^p ----


@pytest.mark.shows("numbers", GeM)
def test_gem_lies_between_average_and_maximum() -> None:
    x = rectified_map(8, 4, 7, 7)
    powers = (1.0, 1.5, 3.0, 10.0, 100.0, 1000.0)
    pooled = [GeM(4, p)(x) for p in powers]
    torch.testing.assert_close(pooled[0], GAP(4)(x), rtol=1e-6, atol=1e-6)
    for lower, higher in zip(pooled, [*pooled[1:], GMP(4)(x)], strict=True):
        assert (lower <= higher * (1 + 1e-6)).all()
    for p, y in zip(powers, pooled, strict=True):  # slow convergence: PAPER's bound, not equality
        assert (GMP(4)(x) - y <= GMP(4)(x) * (1 - 49 ** (-1 / p)) + 1e-6).all()


@pytest.mark.shows("numbers", GeM)
@pytest.mark.parametrize(("p", "gap"), [(3.0, 0.727), (100.0, 0.038), (1000.0, 0.0039)])
def test_gem_is_farthest_from_the_maximum_on_a_single_spike(p: float, gap: float) -> None:
    spike = torch.zeros(1, 1, 7, 7)
    spike[0, 0, 2, 5] = 8.0
    assert 1 - GeM(1, p)(spike).item() / 8 == pytest.approx(gap, rel=0.02)


@pytest.mark.shows("numbers", GeM)
def test_gem_is_stable_at_p_100_in_float32() -> None:
    for scale in (1e-4, 1.0, 3.0, 1e4, 1e30):  # 3^100 overflows float32
        x = (scale * positive_map(2, 4, 7, 7)).requires_grad_()
        layer = GeM(4, 100.0)
        y = layer(x)
        y.sum().backward()
        peak, wide = x.detach().double().amax((2, 3)), x.detach().double()
        check_formula(y.detach(), peak * ((wide / peak[..., None, None]) ** 100).mean((2, 3)) ** 0.01)
        assert x.grad is not None
        assert layer.p.grad is not None
        assert x.grad.isfinite().all()
        assert layer.p.grad.isfinite().all()
        # Euler: the mean is homogeneous of degree 1, so sum(x * dy/dx) = y
        torch.testing.assert_close((x * x.grad).sum((2, 3)), y, rtol=1e-4, atol=0)


def test_gem_guards_and_options() -> None:
    x = torch.zeros(1, 2, 3, 3, requires_grad=True)
    assert GeM(2)(x).tolist() == [[pytest.approx(1e-6), pytest.approx(1e-6)]]  # eps, not 0
    assert GeM(2)(torch.full((1, 2, 3, 3), -5.0)).isfinite().all()  # clamped before the power
    assert GeM(4).p.shape == (1,)
    assert GeM(4, per_channel=True).p.shape == (4,)
    assert not list(GeM(4, learnable=False).parameters())
    with pytest.raises(ValueError, match=r"p=0\.0"):
        GeM(4, 0.0)
    layer = GeM(4)
    with torch.no_grad():
        layer.p.fill_(-1.0)  # a wild optimiser step
    y = layer(positive_map(2, 4, 3, 3))
    assert y.isfinite().all()
    assert (y > 0).all()


def test_gem_learns_p() -> None:
    """Regression to the maximum pulls p up."""
    layer, x = GeM(4), rectified_map(8, 4, 7, 7)
    (layer(x) - GMP(4)(x)).square().sum().backward()
    assert layer.p.grad is not None
    assert layer.p.grad < 0


@pytest.mark.shows("numbers", LpPool)
def test_lp_forms() -> None:
    twos = torch.full((1, 1, 2, 2), 2.0)
    assert LpPool(1)(twos).item() == pytest.approx(4)  # the sum form, as torch's own lp_pool2d
    assert F.lp_pool2d(twos, 2.0, 2).item() == pytest.approx(4)
    assert LpPool(1, form="mean")(twos).item() == pytest.approx(2)
    x = rectified_map(2, 4, *SIZE) + 0.1
    for p in (1.0, 2.0, 3.5):
        torch.testing.assert_close(LpPool(4, p)(x), 35 ** (1 / p) * LpPool(4, p, "mean")(x))
        torch.testing.assert_close(LpPool(4, p, "mean")(x), GeM(4, p)(x))
    signed = torch.randn(2, 4, *SIZE)  # torch's lp_pool2d gives NaN here for p = 3
    torch.testing.assert_close(LpPool(4, 3.0)(signed), LpPool(4, 3.0)(signed.abs()))
    with pytest.raises(ValueError, match="choose from sum, mean"):
        LpPool(4, form="max")
    with pytest.raises(ValueError, match=r"p=0\.5"):
        LpPool(4, 0.5)


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("form", ["sum", "mean"])
def test_lp_gradient_at_zero_is_zero(p: float, form: str) -> None:
    x = torch.zeros(1, 1, 3, 3, requires_grad=True)
    y = LpPool(1, p, form)(x)
    y.sum().backward()
    assert y.item() == 0
    assert x.grad is not None
    assert x.grad.abs().max() == 0


# ---- R-MAC ----


@pytest.mark.shows("numbers", RMAC)
def test_rmac_number_of_regions() -> None:
    sizes = ((14, 14), (7, 7), (10, 14), (14, 10), (7, 20))
    assert [len(rmac_regions(*size)) for size in sizes] == [14, 14, 20, 20, 32]


@pytest.mark.shows("numbers", RMAC)
def test_rmac_regions_of_a_square() -> None:
    def square(size: int, *starts: int) -> list[tuple[int, int, int]]:
        return [(i, j, size) for i in starts for j in starts]

    assert rmac_regions(7, 7) == square(7, 0) + square(4, 0, 3) + square(3, 0, 2, 4)
    assert rmac_regions(14, 14) == square(14, 0) + square(9, 0, 5) + square(7, 0, 3, 7)
    assert rmac_regions(1, 1) == [(0, 0, 1)]  # levels 2 and 3 would have no cell
    assert rmac_regions(7, 7, levels=1) == square(7, 0)  # also after a call with three levels


def test_rmac_regions_reach_every_border() -> None:
    for h in range(1, 33):
        for w in range(1, 33):
            regions = rmac_regions(h, w)
            for size in {size for *_, size in regions}:
                level = [(i, j) for i, j, s in regions if s == size]
                assert min(level) == (0, 0)
                assert max(level) == (h - size, w - size)
            if max(h, w) <= 7 * min(h, w):
                covered = np.zeros((h, w), bool)
                for i, j, size in regions:
                    if size == min(h, w):
                        covered[i : i + size, j : j + size] = True
                assert covered.all()
    assert max(rmac_regions(62, 2))[0] == 61  # 60 where the grid is computed in floating point


@pytest.mark.shows("numbers", RMAC)
def test_rmac_by_hand() -> None:
    x = torch.zeros(1, 2, 7, 7)
    x[0, 0] = 1.0
    x[0, 1, 6, 6] = 1.0  # in the last region of each level only
    expected = F.normalize(torch.tensor([[11 + 3 / math.sqrt(2), 3 / math.sqrt(2)]]))
    torch.testing.assert_close(RMAC(2)(x), expected)
    maximum = rectified_map(2, 4, 6, 6)
    torch.testing.assert_close(RMAC(4, levels=1)(maximum), F.normalize(GMP(4)(maximum)))
    torch.testing.assert_close(RMAC(4)(maximum).norm(dim=1), torch.ones(2))
    assert RMAC(4)(torch.zeros(2, 4, 7, 7)).abs().max() == 0


def test_rmac_refuses_nonsense() -> None:
    with pytest.raises(ValueError, match="levels=0"):
        RMAC(4, levels=0)
    with pytest.raises(ValueError, match=r"overlap=1\.0"):
        RMAC(4, overlap=1.0)


# ---- CroW ----


@pytest.mark.shows("numbers", CroW)
def test_crow_of_a_constant_map() -> None:
    """c ln(C) (HW)^(3/4)"""
    assert CroW(8)(torch.full((1, 8, 7, 7), 2.0))[0].tolist() == pytest.approx([77.0236] * 8, rel=1e-6)
    assert CroW(1)(torch.full((1, 1, 7, 7), 2.0)).item() == 0  # ln 1
    assert CroW(1, normalise=True)(torch.full((1, 1, 7, 7), 2.0)).item() == 0


@pytest.mark.shows("numbers", CroW)
def test_crow_weights() -> None:
    x = rectified_map(2, 4, *SIZE)
    x[:, 2] = 0  # dead channel
    x[:, :, 0, 0] = 0  # dead location
    locations = location_weights(x, 2.0, 2.0)
    assert locations.shape == (2, 1, *SIZE)
    torch.testing.assert_close(locations.pow(4).sum((1, 2, 3)), torch.ones(2))  # S'^2 = S / z has norm 1
    assert locations[:, :, 0, 0].abs().max() == 0
    quarter = torch.zeros(1, 2, 2, 2)
    quarter[0, 0, 0, 0], quarter[0, 1] = 3.0, 1.0  # non-zero shares 1/4 and 1
    torch.testing.assert_close(channel_weights(quarter), torch.tensor([[math.log(5), math.log(1.25)]]))
    assert channel_weights(x)[:, 2].tolist() == [0, 0]
    assert CroW(4)(x)[:, 2].tolist() == [0, 0]
    assert CroW(4)(torch.zeros(2, 4, *SIZE)).abs().max() == 0
    torch.testing.assert_close(CroW(4)(1e25 * x), 1e25 * CroW(4)(x))  # S^2 would overflow
    torch.testing.assert_close(CroW(4)(1e-25 * x), 1e-25 * CroW(4)(x))  # or vanish


# ---- overlapping max and SPP ----


@pytest.mark.shows("numbers", OverlappingMaxPool)
def test_overlapping_max_sizes() -> None:
    def sizes(n: int) -> list[int]:
        x = torch.zeros(1, 1, n, n)
        return [OverlappingMaxPool(1, ceil_mode=ceil).windows(x).shape[-1] for ceil in (False, True)]

    assert sizes(13) == [6, 6]
    assert sizes(26) == [12, 13]
    with pytest.raises(ValueError, match="kernel=2, stride=2"):
        OverlappingMaxPool(1, 2, 2)


@pytest.mark.shows("numbers", OverlappingMaxPool)
def test_overlapping_max_by_hand() -> None:
    x = torch.arange(25.0).view(1, 1, 5, 5)
    assert OverlappingMaxPool(1).windows(x).flatten().tolist() == [12, 14, 22, 24]
    assert OverlappingMaxPool(1)(x).item() == 18


@pytest.mark.shows("numbers", SPP)
def test_spp_by_hand() -> None:
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert SPP(1)(x)[0].tolist() == [15, 5, 7, 13, 15, *range(16)]
    assert SPP(512).out_channels == 21 * 512
    assert SPP(3, levels=[1, 2, 3, 6]).out_channels == 50 * 3
    assert SPP(1)(torch.rand(1, 1, 7, 7)).shape == (1, 21)  # windows of ceil(n / b) give 41 here
    for levels in ((), (0, 1)):
        with pytest.raises(ValueError, match="levels="):
            SPP(1, levels=levels)


def test_spp_has_all_bins_and_sees_every_cell() -> None:
    for n in range(1, 17):
        for b in range(1, 7):
            cells = torch.eye(n * n).view(n * n, 1, n, n)  # one image for each cell, hot there
            pooled = SPP(1, levels=(b,))(cells)
            assert pooled.shape == (n * n, b * b)
            assert (pooled.sum(1) >= 1).all()


# ---- bilinear ----


@pytest.mark.shows("numbers", BilinearPool)
def test_bilinear_pool_by_hand() -> None:
    x = torch.tensor([[[[1.0, 2.0]], [[0.0, -1.0]]]])  # descriptors (1, 0) and (2, -1)
    root = torch.tensor([[math.sqrt(5), -math.sqrt(2), -math.sqrt(2), 1.0]])  # of 5, -2, -2, 1
    torch.testing.assert_close(BilinearPool(2, eps=0.0)(x), root / math.sqrt(10))
    assert BilinearPool(512).out_channels == 262_144
    shuffled = x[..., [1, 0]]
    torch.testing.assert_close(BilinearPool(2)(shuffled), BilinearPool(2)(x))


@pytest.mark.shows("numbers", CompactBilinear)
def test_compact_bilinear_keeps_its_hashes() -> None:
    first, second, x = (
        CompactBilinear(4, 7, seed=0),
        CompactBilinear(4, 7, seed=1),
        rectified_map(2, 4, *SIZE),
    )
    assert set(first.state_dict()) == {f"sketch.{kind}_{m}" for kind in ("hash", "sign") for m in "ab"}
    assert not list(first.parameters())
    assert not torch.allclose(first(x), second(x))
    second.load_state_dict(first.state_dict())
    torch.testing.assert_close(second(x), first(x), rtol=0, atol=0)
    torch.testing.assert_close(first(x).norm(dim=1), torch.ones(2))
    assert CompactBilinear(512).out_channels == 8192
