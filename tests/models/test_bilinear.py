"""Bilinear arithmetic: PAPER 2.6 and claim 10, signed square root, norm, Tensor Sketch."""

from __future__ import annotations

import math

import pytest
import torch
from layer_checks import check_autocast, check_compile, check_formula, check_gradient, check_state_dict
from torch import Tensor

from twostream.models.bilinear import TensorSketch, bilinear, l2_normalise, signed_sqrt, signed_sqrt_l2


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def direct_sketch(sketch: TensorSketch, a: Tensor, b: Tensor) -> Tensor:
    """The double sum over pairs of channels, in float64."""
    total = torch.zeros(len(a), sketch.dimension, dtype=torch.float64)
    for i in range(a.shape[1]):
        for j in range(b.shape[1]):
            sign = (sketch.sign_a[i] * sketch.sign_b[j]).double()
            bin_ = (sketch.hash_a[i] + sketch.hash_b[j]) % sketch.dimension
            total[:, bin_] += sign * (a[:, i].double() * b[:, j].double()).sum((1, 2))
    return total


def test_bilinear_is_the_sum_of_outer_products() -> None:
    a, b = torch.randn(2, 3, 4, 5), torch.randn(2, 6, 4, 5)
    check_formula(bilinear(a, b), torch.einsum("nihw,njhw->nij", a.double(), b.double()))
    assert bilinear(a, b).shape == (2, 3, 6)
    x = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])
    assert bilinear(x, x).tolist() == [[[5, 11], [11, 25]]]
    with pytest.raises(ValueError, match=r"\(4, 5\) and \(5, 4\)"):  # 20 cells both
        bilinear(a, torch.randn(2, 6, 5, 4))


def test_signed_sqrt() -> None:
    z = torch.tensor([-4.0, 0.0, 9.0], requires_grad=True)
    y = signed_sqrt(z)
    assert y.tolist() == pytest.approx([-2, 0, 3], abs=1e-5)
    y.sum().backward()
    assert z.grad is not None
    assert z.grad.tolist() == pytest.approx([1 / 4, 0, 1 / 6], abs=1e-5)  # without eps NaN at 0
    random = torch.randn(5, 100)  # ||s(z)||^2 = sum |z| with eps = 0
    torch.testing.assert_close(signed_sqrt(random, eps=0.0).square().sum(1), random.abs().sum(1))


def test_signed_sqrt_l2() -> None:
    z = torch.tensor([[-4.0, 0.0, 9.0], [0.0, 0.0, 0.0]], requires_grad=True)
    y = signed_sqrt_l2(z, eps=1e-12)
    assert y[0].tolist() == pytest.approx([-2 / math.sqrt(13), 0, 3 / math.sqrt(13)], abs=1e-6)
    assert y[1].tolist() == [0, 0, 0]
    y.sum().backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()
    assert signed_sqrt_l2(z.bfloat16()).dtype == torch.bfloat16


def test_norm_of_zero_has_gradient_zero() -> None:
    z = torch.tensor([[3.0, 4.0], [0.0, 0.0], [3e-5, 4e-5]], requires_grad=True)
    y = l2_normalise(z)
    torch.testing.assert_close(y, torch.tensor([[0.6, 0.8], [0.0, 0.0], [0.6, 0.8]]))
    y[1].sum().backward()
    assert z.grad is not None
    assert z.grad.abs().max() == 0  # torch's own normalize: 1e12


@pytest.mark.parametrize("dimension", [1, 2, 7, 127, 128])
@pytest.mark.parametrize("size", [(1, 1), (3, 4)])
def test_sketch_equals_the_double_sum(dimension: int, size: tuple[int, int]) -> None:
    sketch = TensorSketch(6, 5, dimension, seed=1)
    a, b = torch.randn(2, 6, *size), torch.randn(2, 5, *size)
    expected = direct_sketch(sketch, a, b)
    for way in (sketch, sketch.fold, sketch.convolve):  # odd dimensions keep their last number
        check_formula(way(a, b), expected, tolerance=1e-6 if dimension > 1 else 1e-5)
    check_formula(sketch.double().convolve(a.double(), b.double()), expected, tolerance=1e-12)


@pytest.mark.parametrize("dimension", [1000, 8191, 8192])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_empty_bins_of_a_sketch_are_zero_whichever_way_it_is_computed(dimension: int, scale: float) -> None:
    """Of maps like those behind a ReLU; errors of an FFT made ±.003 of them in the signed square root."""
    a, b = (torch.rand(2, 64, 2, 2) * (torch.rand(2, 64, 2, 2) < 0.1) for _ in range(2))
    sketch = TensorSketch(64, 64, dimension)
    exact, found = sketch.fold(scale * a.double(), b.double()), sketch.convolve((scale * a).requires_grad_(), b)
    assert (exact == 0).float().mean() > 0.5
    assert torch.equal(found == 0, exact == 0)
    torch.testing.assert_close(found.double(), exact, rtol=1e-4, atol=1e-6 * scale)
    torch.testing.assert_close(signed_sqrt_l2(found).double(), signed_sqrt_l2(exact), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("two_inputs", [False, True])
def test_sketch_is_unbiased(two_inputs: bool) -> None:
    """Over hashes E<sketch(a, b), sketch(a', b')> = <a, a'> <b, b'>, for one location."""
    a, a2 = torch.rand(2, 8, 1, 1).double().split(1)
    b, b2 = torch.rand(2, 8, 1, 1).double().split(1) if two_inputs else (a, a2)
    expected = (a * a2).sum() * (b * b2).sum()
    products = []
    for seed in range(500):
        sketch = TensorSketch(8, 8, 128, seed)
        products.append((sketch(a, b) * sketch(a2, b2)).sum() / expected)
    ratios = torch.stack(products)
    assert abs(ratios.mean() - 1) < 4 * ratios.std() / math.sqrt(len(ratios))  # four standard errors
    assert ratios.std() / math.sqrt(len(ratios)) < 0.02


def test_sketch_hashes_are_independent_saved_and_not_trained() -> None:
    sketch = TensorSketch(2000, 2000, 16)
    assert set(sketch.state_dict()) == {"hash_a", "hash_b", "sign_a", "sign_b"}
    assert not list(sketch.parameters())
    for name in "ab":
        bins, signs = getattr(sketch, f"hash_{name}"), getattr(sketch, f"sign_{name}")
        assert bins.min() == 0
        assert bins.max() == 15
        assert set(signs.tolist()) == {-1.0, 1.0}
        assert abs(signs.mean()) < 0.1
    assert (sketch.hash_a == sketch.hash_b).float().mean() < 0.1  # 1/16: two independent pairs
    assert abs((sketch.sign_a * sketch.sign_b).mean()) < 0.1
    other = TensorSketch(2000, 2000, 16, seed=1)
    assert (other.hash_a != sketch.hash_a).any()
    other.load_state_dict(sketch.state_dict())
    assert torch.equal(other.hash_b, sketch.hash_b)
    with pytest.raises(ValueError, match="dimension=0"):
        TensorSketch(2, 2, 0)
    with pytest.raises(ValueError, match="equal sizes"):
        TensorSketch(2, 2, 1)(torch.rand(1, 2, 3, 3), torch.rand(1, 2, 1, 1))


@pytest.mark.parametrize(("channels", "size", "way"), [(4, (3, 2), "fold"), (6, (1, 2), "convolve")])
def test_sketch_as_a_layer(channels: int, size: tuple[int, int], way: str, monkeypatch) -> None:
    a, b = torch.randn(2, channels, *size), torch.randn(2, channels, *size)
    check_gradient(TensorSketch(channels, channels, 7), a, b)
    check_autocast(TensorSketch(channels, channels, 7), a, b)
    check_compile(TensorSketch(channels, channels, 7), a, b)
    check_state_dict(lambda: TensorSketch(channels, channels, 7), a, b)
    unused = {"fold": "convolve", "convolve": "fold"}[way]
    monkeypatch.setattr(TensorSketch, unused, None)
    TensorSketch(channels, channels, 7)(a, b)  # took the cheaper way
