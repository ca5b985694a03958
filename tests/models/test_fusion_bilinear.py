"""Bilinear and compact bilinear fusion: formulas, and the numbers and traps of PAPER 2.6."""

from __future__ import annotations

import math

import pytest
import torch
from layer_checks import check_formula
from torch import Tensor

from twostream.models.fusion import BilinearFusion, CompactBilinearFusion, Fusion


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


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


@pytest.mark.shows("formula", BilinearFusion)
def test_bilinear_formula() -> None:
    rgb, flow = torch.randn(2, 6, 4, 5), torch.randn(2, 7, 4, 5)
    expected = normalised(outer_products(rgb, flow).flatten(1))[:, :, None, None]
    check_formula(BilinearFusion(6, 7)(rgb, flow), expected)


@pytest.mark.shows("numbers", BilinearFusion)
def test_bilinear_by_hand() -> None:
    rgb = torch.tensor([[1.0, 2.0], [0.0, 3.0]]).view(1, 2, 1, 2)  # channel 0 is 1, 2; channel 1 is 0, 3
    flow = torch.tensor([[4.0, 1.0], [-1.0, 0.0]]).view(1, 2, 1, 2)
    # products (6, -1; 3, 0): the roots have squares 6, 1, 3, 0 that sum to 10
    expected = torch.tensor([6 / 10, -1 / 10, 3 / 10, 0]).double()
    expected = expected.sign() * expected.abs().sqrt()
    torch.testing.assert_close(BilinearFusion(2, 2)(rgb, flow).flatten().double(), expected, atol=1e-5, rtol=0)


@pytest.mark.shows("numbers", BilinearFusion)
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


def direct_sketch(layer: CompactBilinearFusion, rgb: Tensor, flow: Tensor) -> Tensor:
    """Each channel pair into bin (h1 + h2) mod d with sign s1 s2, by a double loop in float64."""
    products, hashes = outer_products(rgb, flow), layer.sketch
    sketch = torch.zeros(len(rgb), layer.out_channels, dtype=torch.float64)
    for i in range(rgb.shape[1]):
        for j in range(flow.shape[1]):
            bin_ = (int(hashes.hash_a[i]) + int(hashes.hash_b[j])) % layer.out_channels
            sketch[:, bin_] += hashes.sign_a[i].double() * hashes.sign_b[j].double() * products[:, i, j]
    return sketch


@pytest.mark.shows("formula", CompactBilinearFusion)
@pytest.mark.parametrize("dimension", [16, 127, 128])  # odd sizes lose a number in a careless inverse FFT
@pytest.mark.parametrize("size", [(10, 11), (1, 1)])  # where the matrix is smaller, where the FFT is
def test_compact_bilinear_formula(dimension: int, size: tuple[int, int]) -> None:
    layer = CompactBilinearFusion(40, 40, dimension=dimension)
    rgb, flow = torch.randn(2, 40, *size), torch.randn(2, 40, *size)
    expected = direct_sketch(layer, rgb, flow)
    check_formula(layer.sketch(rgb, flow), expected)
    check_formula(layer(rgb, flow), normalised(expected)[:, :, None, None])


@pytest.mark.shows("numbers", CompactBilinearFusion)
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
