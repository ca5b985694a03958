"""Pooling: what every layer must pass; first of all, its formula in float64. Numbers: test_pooling_numbers.py."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from layer_checks import awake, check_autocast, check_compile, check_formula, check_gradient, check_state_dict
from torch import Tensor, nn

from twostream.models import pooling as family
from twostream.models.pooling import (
    GAP,
    GMP,
    RMAC,
    SPP,
    ActionVLAD,
    AddAvgMax,
    BilinearPool,
    CatAvgMax,
    CenterWeightedPool,
    CompactBilinear,
    CroW,
    GeM,
    GhostVLAD,
    LpPool,
    NetVLAD,
    OverlappingMaxPool,
    SPoC,
)
from twostream.models.pooling.base import Pooling

# name: how it is made, for 4 channels
LAYERS: dict[str, Callable[[], Pooling]] = {
    "gap": lambda: GAP(4),
    "gmp": lambda: GMP(4),
    "add_avg_max": lambda: AddAvgMax(4),
    "cat_avg_max": lambda: CatAvgMax(4),
    "spoc": lambda: SPoC(4),
    "spoc_centre_prior": lambda: SPoC(4, centre_prior=True, normalise=True),
    "gem": lambda: GeM(4),
    "gem_per_channel": lambda: GeM(4, 2.5, per_channel=True, normalise=True),
    "gem_fixed": lambda: GeM(4, 5.0, learnable=False),
    "rmac": lambda: RMAC(4),
    "crow": lambda: CroW(4),
    "crow_normalised": lambda: CroW(4, a=1.5, b=3.0, normalise=True),
    "overlapping_max": lambda: OverlappingMaxPool(4),
    "overlapping_max_ceil": lambda: OverlappingMaxPool(4, 4, 3, ceil_mode=True),
    "spp": lambda: SPP(4),
    "lp": lambda: LpPool(4),
    "lp_mean": lambda: LpPool(4, 3.0, "mean"),
    "center_weighted": lambda: CenterWeightedPool(4),
    "center_weighted_inverse": lambda: CenterWeightedPool(4, "inverse"),
    "center_weighted_linear": lambda: CenterWeightedPool(4, "linear"),
    "bilinear": lambda: BilinearPool(4),
    "compact_bilinear": lambda: CompactBilinear(4, 7, seed=3),
    "netvlad": lambda: NetVLAD(4, 3, alpha=5.0),
    "netvlad_v1": lambda: NetVLAD(4, 3, alpha=5.0, version=1),
    "ghostvlad": lambda: GhostVLAD(4, 3, 2, alpha=5.0),
    "actionvlad": lambda: ActionVLAD(4, 3, alpha=5.0),
}
every_layer = pytest.mark.parametrize("name", LAYERS)
SIZE = (5, 7)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def rectified_map(*shape: int) -> Tensor:
    """As after a ReLU: about a third of the cells are zero."""
    return (torch.randn(*shape) + 0.4).relu()


def positive_map(*shape: int) -> Tensor:
    """Without zeros and without equal cells, so that every layer has a gradient everywhere."""
    return torch.rand(*shape) + 0.1


def unit(y: np.ndarray, axis: int = -1) -> np.ndarray:
    norm = np.linalg.norm(y, axis=axis, keepdims=True)
    return np.divide(y, norm, out=np.zeros_like(y), where=norm > 0)


# ---- the same layers once more, in numpy and float64, cell by cell or in another algebraic form ----


def spoc(layer: SPoC, x: np.ndarray, *, prior: bool = False) -> np.ndarray:
    n, c, h, w = x.shape
    y = np.zeros((n, c))
    s = min(h, w) / 6
    for i in range(h):
        for j in range(w):
            d2 = (i - (h - 1) / 2) ** 2 + (j - (w - 1) / 2) ** 2
            y += x[:, :, i, j] * (math.exp(-d2 / (2 * s * s)) if prior else 1)
    return y


def gem(layer: GeM, x: np.ndarray) -> np.ndarray:
    p = np.broadcast_to(layer.p.detach().double().numpy(), x.shape[1:2])
    y = np.empty(x.shape[:2])
    for c, power in enumerate(p):
        y[:, c] = (np.maximum(x[:, c], 1e-6) ** power).mean((1, 2)) ** (1 / power)
    return y


def rmac(layer: RMAC, x: np.ndarray) -> np.ndarray:
    """With the region grid as it is printed: floating point, centre offsets and all."""
    h, w = x.shape[2:]
    short, extra = min(h, w), 0
    if h != w:
        errors = [abs((short**2 - short * (max(h, w) - short) / (s - 1)) / short**2 - 0.4) for s in range(2, 8)]
        extra = int(np.argmin(errors)) + 1
    y = 0
    for level in (1, 2, 3):
        size = math.floor(2 * short / (level + 1))
        starts = []
        for side, more in ((h, extra if h > w else 0), (w, extra if w > h else 0)):
            b = (side - size) / (level + more - 1) if level + more > 1 else 0
            o = math.floor(size / 2 - 1)
            starts.append([math.floor(o + k * b) - o for k in range(level + more)])
        for i in starts[0]:
            for j in starts[1]:
                y = y + unit(x[:, :, i : i + size, j : j + size].max((2, 3)))
    return unit(np.asarray(y))


def crow(layer: CroW, x: np.ndarray) -> np.ndarray:
    n, channels = x.shape[:2]
    y = np.zeros((n, channels))
    for image in range(n):
        total = x[image].sum(0)
        z = (total**layer.a).sum() ** (1 / layer.a)
        weight = (total / z) ** (1 / layer.b)
        q = [(x[image, c] != 0).mean() for c in range(channels)]
        for c in range(channels):
            y[image, c] = math.log(sum(q) / q[c]) * (x[image, c] * weight).sum() if q[c] else 0
    return y


def overlapping_max(layer: OverlappingMaxPool, x: np.ndarray) -> np.ndarray:
    rounded = math.ceil if layer.ceil_mode else math.floor
    rows, columns = (rounded((size - layer.kernel) / layer.stride) + 1 for size in x.shape[2:])
    y = 0
    for i in range(rows):
        for j in range(columns):
            top, left = i * layer.stride, j * layer.stride
            y = y + x[:, :, top : top + layer.kernel, left : left + layer.kernel].max((2, 3))
    return np.asarray(y) / (rows * columns)


def spp(layer: SPP, x: np.ndarray) -> np.ndarray:
    n, c, h, w = x.shape
    parts = []
    for bins in (1, 2, 4):
        part = np.empty((n, c, bins, bins))
        for i in range(bins):
            for j in range(bins):
                rows = slice(math.floor(i * h / bins), math.ceil((i + 1) * h / bins))
                columns = slice(math.floor(j * w / bins), math.ceil((j + 1) * w / bins))
                part[:, :, i, j] = x[:, :, rows, columns].max((2, 3))
        parts.append(part.reshape(n, -1))
    return np.concatenate(parts, 1)


def center_weighted(layer: CenterWeightedPool, x: np.ndarray) -> np.ndarray:
    h, w = x.shape[2:]
    corner = math.hypot((h - 1) / 2, (w - 1) / 2)
    formula = {
        "gaussian": lambda d: math.exp(-(d**2) / (2 * (min(h, w) / 6) ** 2)),
        "inverse": lambda d: 1 / (1 + d),
        "linear": lambda d: 1 - d / corner,
    }[layer.weights.__name__]
    weights = [[formula(math.hypot(i - (h - 1) / 2, j - (w - 1) / 2)) for j in range(w)] for i in range(h)]
    return (x * weights).sum((2, 3)) / np.sum(weights)


def signed_sqrt_unit(z: np.ndarray) -> np.ndarray:
    return unit(np.sign(z) * np.sqrt(np.abs(z) + 1e-5))


def bilinear(layer: BilinearPool, x: np.ndarray) -> np.ndarray:
    return signed_sqrt_unit(np.einsum("nchw,ndhw->ncd", x, x).reshape(len(x), -1))


def compact_bilinear(layer: CompactBilinear, x: np.ndarray) -> np.ndarray:
    """The direct double sum over pairs of channels."""
    s = layer.sketch
    h1, h2, sg1, sg2 = (b.numpy() for b in (s.hash_a, s.hash_b, s.sign_a, s.sign_b))
    y = np.zeros((len(x), s.dimension))
    for i in range(x.shape[1]):
        for j in range(x.shape[1]):
            y[:, (h1[i] + h2[j]) % s.dimension] += sg1[i] * sg2[j] * (x[:, i] * x[:, j]).sum((1, 2))
    return signed_sqrt_unit(y)


def vlad(layer: NetVLAD | GhostVLAD | ActionVLAD, x: np.ndarray) -> np.ndarray:
    """One descriptor at a time, from the residuals themselves."""
    weight, bias, centres = (t.detach().double().numpy() for t in (layer.weight, layer.bias, layer.centres))
    n, c = x.shape[:2]
    descriptors = unit(x.reshape(n, c, -1).transpose(0, 2, 1))
    V = np.zeros((n, *centres.shape))
    for image in range(n):
        for descriptor in descriptors[image]:
            logits = weight @ descriptor + bias
            assignment = np.exp(logits - logits.max())
            assignment /= assignment.sum()
            for k, centre in enumerate(centres):
                V[image, k] += assignment[k] * (descriptor - centre)
    return unit(unit(V).reshape(n, -1))


FORMULAS: dict[str, Callable[..., np.ndarray]] = {
    "gap": lambda layer, x: x.sum((2, 3)) / (x.shape[2] * x.shape[3]),
    "gmp": lambda layer, x: np.sort(x.reshape(*x.shape[:2], -1))[..., -1],
    "add_avg_max": lambda layer, x: (x.mean((2, 3)) + x.max((2, 3))) / 2,
    "cat_avg_max": lambda layer, x: np.concatenate([x.mean((2, 3)), x.max((2, 3))], 1),
    "spoc": spoc,
    "spoc_centre_prior": lambda layer, x: unit(spoc(layer, x, prior=True)),
    "gem": gem,
    "gem_per_channel": lambda layer, x: unit(gem(layer, x)),
    "gem_fixed": gem,
    "rmac": rmac,
    "crow": crow,
    "crow_normalised": lambda layer, x: unit(crow(layer, x)),
    "overlapping_max": overlapping_max,
    "overlapping_max_ceil": overlapping_max,
    "spp": spp,
    "lp": lambda layer, x: np.linalg.norm(x.reshape(*x.shape[:2], -1), axis=2),
    "lp_mean": lambda layer, x: np.cbrt((np.abs(x) ** 3).mean((2, 3))),
    "center_weighted": center_weighted,
    "center_weighted_inverse": center_weighted,
    "center_weighted_linear": center_weighted,
    "bilinear": bilinear,
    "compact_bilinear": compact_bilinear,
    "netvlad": vlad,
    "netvlad_v1": vlad,
    "ghostvlad": vlad,
    "actionvlad": vlad,
}


# ---- what every layer must pass ----


def test_no_layer_is_exempt() -> None:
    public = {value for _, value in inspect.getmembers(family, inspect.isclass) if issubclass(value, nn.Module)}
    assert public == {type(make()) for make in LAYERS.values()}
    assert {layer.__name__ for layer in public} == set(family.__all__)
    assert set(FORMULAS) == set(LAYERS)


@every_layer
def test_formula(name: str) -> None:
    layer = awake(LAYERS[name]())
    x = rectified_map(2, 4, *SIZE)
    expected = torch.from_numpy(FORMULAS[name](layer, x.double().numpy()))
    with torch.no_grad():
        check_formula(layer(x), expected)
        check_formula(layer.double()(x.double()), expected, tolerance=1e-12)
    assert expected.shape == (2, layer.out_channels)


@every_layer
def test_gradient(name: str) -> None:
    check_gradient(awake(LAYERS[name]()), positive_map(2, 4, 3, 4))


@every_layer
def test_autocast(name: str) -> None:
    layer = awake(LAYERS[name]())
    check_autocast(layer, rectified_map(2, 4, *SIZE))
    layer.zero_grad()
    half = rectified_map(2, 4, *SIZE).bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(half)
    assert y.dtype == torch.bfloat16  # the caller's precision outside, float32 inside
    y.float().square().sum().backward()
    assert half.grad is not None
    assert half.grad.isfinite().all()
    torch.testing.assert_close(y.float(), layer(half.float()), rtol=2**-8, atol=1e-6)  # only rounded at the end


@pytest.mark.parametrize("name", {type(make()): name for name, make in reversed(LAYERS.items())}.values())
def test_compile(name: str) -> None:
    """Of each class the first variant: tracing takes a second."""
    check_compile(awake(LAYERS[name]()), rectified_map(2, 4, 4, 3))


@every_layer
def test_state_dict(name: str) -> None:
    check_state_dict(LAYERS[name], rectified_map(2, 4, *SIZE))


@every_layer
def test_any_size_and_dead_maps(name: str) -> None:
    """From 1x1 on; an all-zero map, dead channels and negative values give finite outputs and gradients."""
    layer = LAYERS[name]()
    for size in ((1, 1), (1, 3), (2, 2), (14, 14)):
        y = layer(rectified_map(2, 4, *size))
        assert y.shape == (2, layer.out_channels)
        assert y.isfinite().all()
    dead = rectified_map(2, 4, *SIZE)
    dead[:, 1] = 0
    for x in (torch.zeros(2, 4, *SIZE), dead, -rectified_map(2, 4, *SIZE)):
        x.requires_grad_()
        layer.zero_grad()
        y = layer(x)
        y.sum().backward()
        assert y.isfinite().all()
        for gradient in (x.grad, *(p.grad for p in layer.parameters())):
            assert gradient is not None
            assert gradient.isfinite().all()
            assert gradient.abs().max() < 1e6


@every_layer
def test_half_precision_and_meta_module(name: str) -> None:
    assert LAYERS[name]().bfloat16()(rectified_map(2, 4, *SIZE).bfloat16()).dtype == torch.bfloat16
    layer = LAYERS[name]().to("meta")
    assert layer(torch.empty(2, 4, *SIZE, device="meta")).shape == (2, layer.out_channels)
