"""Attention: every layer against its formula, and the numbers and traps of PAPER 2.7, 3 and section 5."""

from __future__ import annotations

import pytest
import torch
from layer_checks import (
    awake,
    check_autocast,
    check_compile,
    check_formula,
    check_gradient,
    check_state_dict,
)
from torch import Tensor, nn

from twostream.models.attention import NonLocal, SelfAttention, SqueezeExcitation

MODES = ("embedded_gaussian", "gaussian", "dot_product", "concatenation")
MAP, CLIP = (2, 4, 2, 3), (2, 4, 2, 2, 3)

# name: (how it is made, shape of the map)
LAYERS = {
    "se": (lambda: SqueezeExcitation(4, reduction=2), MAP),
    "se_clip": (lambda: SqueezeExcitation(4, bias=False), CLIP),
    "self": (lambda: SelfAttention(4), MAP),
    "self_clip": (lambda: SelfAttention(4), CLIP),
    **{mode: ((lambda mode=mode: NonLocal(4, mode=mode)), MAP) for mode in MODES},
    **{f"{mode}_clip": ((lambda mode=mode: NonLocal(4, mode=mode, subsample=True)), CLIP) for mode in MODES},
    "scaled": (lambda: NonLocal(4, scale=True, subsample=True), MAP),
    "batch_norm": (lambda: NonLocal(4, batch_norm=True), MAP),
}
every_layer = pytest.mark.parametrize("name", LAYERS)
every_mode = pytest.mark.parametrize("mode", MODES)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def build(name: str) -> tuple[nn.Module, Tensor]:
    make, shape = LAYERS[name]
    return awake(make()), torch.randn(shape)


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
    make, shape = LAYERS[name]
    check_state_dict(make, torch.randn(shape))


@every_layer
def test_shape(name: str) -> None:
    layer, x = build(name)
    assert layer(x).shape == x.shape
    with torch.device("meta"):
        ghost = LAYERS[name][0]()
    assert ghost(x.to("meta")).shape == x.shape


@pytest.mark.parametrize("name", [name for name in LAYERS if not name.startswith("se")])
def test_other_than_se_starts_as_the_identity(name: str) -> None:
    make, shape = LAYERS[name]
    x = torch.randn(shape)
    assert torch.equal(make()(x), x)


@pytest.mark.parametrize("make", [lambda: SelfAttention(6), *[(lambda m=m: NonLocal(6, mode=m)) for m in MODES]])
@pytest.mark.parametrize("shape", [(2, 6, 3, 4), (2, 6, 2, 3, 2)])
def test_positions_are_equivariant_to_permutation(make, shape: tuple[int, ...]) -> None:
    layer, x, mixed = awake(make()), torch.randn(shape), torch.randperm(12)

    def permute(y: Tensor) -> Tensor:
        return y.flatten(2)[:, :, mixed].reshape(shape)

    torch.testing.assert_close(layer(permute(x)), permute(layer(x)))


def flat(x: Tensor) -> Tensor:
    """(n, c, ...) -> float64 (n, c, positions)."""
    return x.double().flatten(2)


def linear(module: nn.Linear, x: Tensor) -> Tensor:
    """The 1 x 1 convolution of (n, c, positions), in float64."""
    return torch.einsum("oc,ncp->nop", module.weight.double(), x) + module.bias.double()[:, None]


def softmax_over(logits: Tensor, dim: int) -> Tensor:
    powers = (logits - logits.amax(dim=dim, keepdim=True)).exp()
    return powers / powers.sum(dim=dim, keepdim=True)


# ---- squeeze and excitation ----


@pytest.mark.shows("formula", SqueezeExcitation)
@pytest.mark.parametrize("shape", [MAP, CLIP])
def test_se_formula(shape: tuple[int, ...]) -> None:
    layer, x = awake(SqueezeExcitation(4, reduction=2)), torch.randn(shape)
    w1, b1, w2, b2 = (p.double() for p in layer.parameters())
    mean = flat(x).sum(dim=2) / flat(x).shape[2]
    gate = 1 / (1 + (-((mean @ w1.T + b1).clamp(min=0) @ w2.T + b2)).exp())
    check_formula(layer(x), (flat(x) * gate[:, :, None]).reshape(shape))


@pytest.mark.shows("numbers", SqueezeExcitation)
@pytest.mark.parametrize(
    ("channels", "reduction", "bias", "count"),
    [(512, 16, False, 32_768), (512, 16, True, 33_312), (4, 16, True, 4 + 1 + 4 + 4)],  # 4 // 16 is not 0
)
def test_se_parameter_count(channels: int, reduction: int, bias: bool, count: int) -> None:
    layer = SqueezeExcitation(channels, reduction, bias=bias)
    assert sum(p.numel() for p in layer.parameters()) == count


@pytest.mark.shows("numbers", SqueezeExcitation)
def test_se_gates() -> None:
    layer, x = SqueezeExcitation(32), torch.randn(2, 32, 4, 4)
    gate = layer(x) / x
    assert ((gate > 0) & (gate < 1)).all()
    torch.testing.assert_close(gate, gate[:, :, :1, :1].expand_as(gate))  # one per channel
    nn.init.zeros_(layer.expand.weight)
    nn.init.zeros_(layer.expand.bias)
    torch.testing.assert_close(layer(x), x / 2)


# ---- self-attention ----


@pytest.mark.shows("formula", SelfAttention)
def test_self_attention_formula_and_axis() -> None:
    layer, x = awake(SelfAttention(8)), 2 * torch.randn(2, 8, 3, 4)
    f, g, h = (linear(m, flat(x)) for m in (layer.key, layer.query, layer.value))
    logits = torch.einsum("nci,ncj->nij", f, g)  # rows i, columns j
    gamma = layer.gamma.double()

    def output(attention: Tensor) -> Tensor:
        return (gamma * torch.einsum("nci,nij->ncj", h, attention) + flat(x)).reshape(x.shape)

    check_formula(layer(x), output(softmax_over(logits, dim=1)))
    wrong = output(softmax_over(logits, dim=2))  # the mistake of PAPER section 3
    assert (layer(x).double() - wrong).abs().max() > 0.01


@pytest.mark.shows("numbers", SelfAttention)
def test_self_attention_weights_sum_to_1() -> None:
    layer, x = awake(SelfAttention(8)), 3 * torch.randn(2, 8, 3, 4)
    nn.init.zeros_(layer.value.weight)
    nn.init.constant_(layer.value.bias, 3)
    nn.init.constant_(layer.gamma, 1)
    torch.testing.assert_close(layer(x) - x, torch.full_like(x, 3))  # the wrong axis gives 1.61 .. 6.17


@pytest.mark.shows("numbers", SelfAttention)
@pytest.mark.parametrize(("channels", "count"), [(64, 5_201), (4, 2 * (4 + 1) + 16 + 4 + 1)])  # 4 // 8 is not 0
def test_self_attention_parameter_count(channels: int, count: int) -> None:
    assert sum(p.numel() for p in SelfAttention(channels).parameters()) == count


# ---- non-local ----


def subsampled(y: Tensor, size: tuple[int, ...]) -> Tensor:
    """2 x 2 maxima in space of (n, c, positions), the last row and column alone where sides are odd."""
    maps = y.reshape(*y.shape[:2], -1, *size[-2:])
    h, w = size[-2:]
    cells = [maps[:, :, :, i : i + 2, j : j + 2].amax(dim=(3, 4)) for i in range(0, h, 2) for j in range(0, w, 2)]
    return torch.stack(cells, dim=3).flatten(2)


@pytest.mark.shows("formula", NonLocal)
@every_mode
@pytest.mark.parametrize("subsample", [False, True])
@pytest.mark.parametrize("shape", [(2, 6, 3, 4), (2, 6, 2, 4, 3)])
def test_non_local_formula(mode: str, subsample: bool, shape: tuple[int, ...]) -> None:
    layer, x = awake(NonLocal(6, mode=mode, subsample=subsample)), torch.randn(shape)  # type: ignore[arg-type]
    theta, phi = (flat(x) if mode == "gaussian" else linear(m, flat(x)) for m in (layer.theta, layer.phi))
    g = linear(layer.g, flat(x))
    if subsample:
        phi, g = subsampled(phi, shape[2:]), subsampled(g, shape[2:])
    positions = g.shape[2]
    assert positions == {(3, 4): (12, 4), (2, 4, 3): (24, 8)}[shape[2:]][subsample]
    if mode == "concatenation":
        w = layer.pair.double().flatten()  # of [theta, phi]
        n, c, p = theta.shape
        pairs = torch.cat(
            (theta[:, :, :, None].expand(n, c, p, positions), phi[:, :, None].expand(n, c, p, positions)),
            dim=1,
        )
        weights = torch.einsum("c,ncij->nij", w, pairs).clamp(min=0) / positions
    else:
        weights = torch.einsum("nci,ncj->nij", theta, phi)
        weights = weights / positions if mode == "dot_product" else softmax_over(weights, dim=2)
    y = torch.einsum("nij,ncj->nci", weights, g)
    check_formula(layer(x), (linear(layer.out, y) + flat(x)).reshape(shape))


@pytest.mark.shows("numbers", NonLocal)
@every_mode
def test_non_local_of_a_constant_map(mode: str) -> None:
    layer = awake(NonLocal(6, mode=mode))  # type: ignore[arg-type]
    descriptor = torch.randn(6)
    x = descriptor[None, :, None, None].expand(1, 6, 3, 4)
    theta, phi, y = layer.theta(descriptor), layer.phi(descriptor), layer.g(descriptor)
    if mode == "dot_product":
        y = (theta @ phi) * y
    if mode == "concatenation":
        y = (layer.pair[0] @ theta + layer.pair[1] @ phi).relu() * y
    expected = layer.out(y) + descriptor
    torch.testing.assert_close(layer(x), expected[None, :, None, None].expand_as(x))


@pytest.mark.shows("numbers", NonLocal)
@pytest.mark.parametrize(
    ("mode", "count"),
    [
        ("embedded_gaussian", 525_568),
        ("dot_product", 525_568),
        ("concatenation", 525_568 + 512),
        ("gaussian", 525_568 - 2 * (512 * 256 + 256)),  # no theta, no phi
    ],
)
def test_non_local_parameter_count(mode: str, count: int) -> None:
    layer = NonLocal(512, mode=mode)  # type: ignore[arg-type]
    assert sum(p.numel() for p in layer.parameters()) == count


@pytest.mark.parametrize("mode", ["embedded_gaussian", "gaussian"])
def test_non_local_scale_is_that_of_the_logits(mode: str) -> None:
    plain, scaled = (NonLocal(8, mode=mode, scale=scale) for scale in (False, True))  # type: ignore[arg-type]
    awake(plain)
    x = torch.randn(2, 8, 3, 3)
    if mode == "embedded_gaussian":  # 4 channels: the logits halve
        scaled.load_state_dict(plain.state_dict())
        with torch.no_grad():
            plain.theta.weight.div_(2)
            plain.theta.bias.div_(2)
        torch.testing.assert_close(scaled(x), plain(x))
    else:  # 8 channels: as if each x in the similarity were divided by 8 to the power 1/4
        scaled.load_state_dict(plain.state_dict())
        with torch.no_grad():
            plain.g.weight.mul_(8**0.25)
        torch.testing.assert_close(scaled(x) - x, plain(x / 8**0.25) - x / 8**0.25)


def test_non_local_with_one_channel_and_one_cell() -> None:
    layer, x = awake(NonLocal(1, subsample=True)), torch.randn(2, 1, 1, 1)
    expected = layer.out(layer.g(x.flatten(1))).reshape(x.shape) + x  # one position: its weight is 1
    torch.testing.assert_close(layer(x), expected)


def test_non_local_errors_name_the_choices() -> None:
    with pytest.raises(ValueError, match=r"mode='softmax'.*embedded_gaussian, gaussian, dot_product"):
        NonLocal(8, mode="softmax")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"scale=True.*mode='dot_product'.*scale=False"):
        NonLocal(8, mode="dot_product", scale=True)
