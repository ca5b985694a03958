"""The VLAD family: limits and identities of PAPER 2.5 and claim 9, initialisation, memory."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.layer_costs import PeakMemory, naive_netvlad
from twostream.models.pooling import ActionVLAD, GhostVLAD, NetVLAD
from twostream.models.pooling.kmeans import k_means
from twostream.models.pooling.vlad import sharpness


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def with_parameters_of(layer, source):
    layer.load_state_dict(source.state_dict())
    return layer


def clustered(count: int, centres: Tensor, spread: float = 0.05) -> Tensor:
    """Unit descriptors around `centres`, as many around each."""
    return F.normalize(centres.repeat(count, 1) + spread * torch.randn(count * len(centres), centres.shape[1]))


def hard_vlad(x: Tensor, centres: Tensor) -> Tensor:
    """Jégou et al. 2010: each descriptor belongs to its nearest centre."""
    V = torch.zeros(len(x), *centres.shape, dtype=torch.float64)
    for image, descriptors in enumerate(F.normalize(x.double()).flatten(2).transpose(1, 2)):
        for descriptor in descriptors:
            k = (descriptor - centres).square().sum(1).argmin()
            V[image, k] += descriptor - centres[k]
    return F.normalize(F.normalize(V, dim=2).flatten(1))


# ---- limits and identities ----


@pytest.mark.shows("numbers", NetVLAD, ActionVLAD)
@pytest.mark.parametrize("layer_class", [NetVLAD, ActionVLAD])
def test_large_alpha_is_hard_vlad(layer_class: Callable[..., NetVLAD]) -> None:
    x = torch.rand(2, 6, 5, 5)
    layer = layer_class(6, 4, alpha=1e6).double()
    layer.start_from(F.normalize(torch.rand(4, 6)).double(), 1e6)
    torch.testing.assert_close(layer(x.double()), hard_vlad(x, layer.centres.detach()))


@pytest.mark.shows("numbers", NetVLAD)
def test_one_cluster_is_the_normalised_sum_of_residuals() -> None:
    x, layer = torch.rand(2, 6, 5, 5), NetVLAD(6, 1)
    residuals = F.normalize(x).sum((2, 3)) - 25 * layer.centres
    torch.testing.assert_close(layer(x), F.normalize(residuals))


@pytest.mark.shows("numbers", NetVLAD)
def test_unit_norm_and_division_by_sqrt_k() -> None:
    x, layer = torch.rand(2, 6, 5, 5), NetVLAD(6, 4, alpha=2.0)
    y = layer(x)
    torch.testing.assert_close(y.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(y.unflatten(1, (4, 6)).norm(dim=2), torch.full((2, 4), 0.5))  # 1 / sqrt(4)


def test_assignments_sum_to_one_over_clusters() -> None:
    """With centres at 0 the clusters' sums add up to the sum of descriptors, whatever the assignments."""
    x, layer = torch.rand(1, 6, 5, 5), NetVLAD(6, 4, alpha=2.0)
    with torch.no_grad():
        layer.centres.zero_()
    descriptors = F.normalize(x).flatten(2)
    logits = torch.einsum("kc,ncl->nkl", layer.weight, descriptors) + layer.bias[:, None]
    sums = torch.einsum("nkl,ncl->nkc", logits.exp() / logits.exp().sum(1, keepdim=True), descriptors)
    torch.testing.assert_close(sums.sum(1), descriptors.sum(2))
    torch.testing.assert_close(layer(x), F.normalize(sums, dim=2).flatten(1) / 2)


@pytest.mark.parametrize("layer_class", [NetVLAD, GhostVLAD, ActionVLAD])
def test_orderless(layer_class: Callable[..., NetVLAD]) -> None:
    x, layer = torch.rand(2, 6, 3, 4, 5), layer_class(6, 4)
    shuffled = x.flatten(2)[..., torch.randperm(60)].view_as(x)
    torch.testing.assert_close(layer(shuffled), layer(x))


def test_scale_of_a_descriptor_does_not_matter() -> None:
    """Each one is normalised over its channels (not over the batch, as in one public port)."""
    x, layer = torch.rand(2, 6, 5, 5), NetVLAD(6, 4, alpha=5.0)
    torch.testing.assert_close(layer(x * (1 + 5 * torch.rand(2, 1, 5, 5))), layer(x))
    torch.testing.assert_close(layer(x)[:1], layer(x[:1]))


def test_empty_cluster_and_dead_map() -> None:
    layer = NetVLAD(3, 2)
    layer.start_from(torch.eye(3)[:2], 1e4)
    x = torch.tensor([1.0, 0.1, 0.0]).view(1, 3, 1, 1).requires_grad_()
    y = layer(x)
    assert y[0, 3:].tolist() == [0, 0, 0]  # nothing was assigned to the second centre
    assert y.norm().item() == pytest.approx(1)
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.abs().max() < 1e3


@pytest.mark.shows("numbers", GhostVLAD)
def test_no_ghost_is_netvlad() -> None:
    x, layer = torch.rand(2, 6, 5, 5), NetVLAD(6, 4, alpha=5.0)
    torch.testing.assert_close(with_parameters_of(GhostVLAD(6, 4, 0), layer)(x), layer(x), rtol=0, atol=0)


@pytest.mark.shows("numbers", GhostVLAD)
def test_ghost_takes_descriptors_away() -> None:
    x, layer = torch.rand(2, 6, 5, 5), GhostVLAD(6, 4, 1, alpha=5.0)
    assert layer.centres.shape == (4, 6)  # ghosts have none
    assert layer(x).shape == (2, 24)
    with torch.no_grad():
        layer.bias[4] = 1e4
    y = layer(x.requires_grad_())
    assert y.abs().max() == 0  # not NaN
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    with torch.no_grad():
        layer.bias[4] = -1e4  # takes nothing
        real = NetVLAD(6, 4)
        for name, parameter in real.named_parameters():
            parameter.copy_(dict(layer.named_parameters())[name][:4])
    torch.testing.assert_close(layer(x), real(x))


@pytest.mark.shows("numbers", ActionVLAD)
def test_actionvlad_sums_over_time_before_the_norms() -> None:
    x, layer = torch.rand(2, 6, 3, 4, 5), ActionVLAD(6, 4, alpha=5.0)
    net = with_parameters_of(NetVLAD(6, 4), layer)
    torch.testing.assert_close(layer(x), net(x.flatten(2, 3)))  # (c, t * h, w)
    torch.testing.assert_close(layer(x[:, :, [2, 0, 1]]), layer(x))
    torch.testing.assert_close(layer(x[:, :, :1]), net(x[:, :, 0]))  # t = 1
    frames = torch.stack([net(x[:, :, t]) for t in range(3)]).mean(0)
    assert (layer(x) - frames).abs().max() > 0.01
    assert ActionVLAD.pools_time
    assert not NetVLAD.pools_time
    assert ActionVLAD(6, 4).alpha == 1000


# ---- parameters and initialisation ----


@pytest.mark.shows("numbers", NetVLAD, GhostVLAD, ActionVLAD)
def test_number_of_parameters() -> None:
    def count(layer: NetVLAD) -> int:
        return sum(p.numel() for p in layer.parameters())

    assert count(NetVLAD(512, 64)) == 65_600
    assert count(NetVLAD(512, 64, version=1)) == 65_536
    assert NetVLAD(512, 64).out_channels == 32_768
    assert GhostVLAD(512, 64, 1).out_channels == 32_768


def test_version_2_assigns_by_distance() -> None:
    """softmax(w.x + b) = softmax(-alpha |x - c|^2), with the squared norm of the centre in the bias."""
    layer, centres = NetVLAD(6, 4), torch.rand(4, 6)
    layer.start_from(centres, 7.0)
    x = F.normalize(torch.rand(50, 6))
    logits = x @ layer.weight.T + layer.bias
    distances = torch.cdist(x.double(), centres.double())
    torch.testing.assert_close(logits.softmax(1).double(), (-7 * distances**2).softmax(1), rtol=2e-6, atol=2e-6)


def test_version_1_assigns_by_cosine() -> None:
    layer, centres = NetVLAD(6, 4, version=1), torch.rand(4, 6)
    layer.start_from(centres, 7.0)
    torch.testing.assert_close(layer.weight.detach(), 7 * F.normalize(centres))
    torch.testing.assert_close(layer.centres.detach(), centres)  # raw
    assert layer.bias.abs().max() == 0
    assert "bias" not in layer.state_dict()


def test_sharpness_by_hand() -> None:
    descriptors = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    centres = torch.tensor([[0.5, 0.0], [2.0, 0.0], [9.0, 9.0]])
    # squared distances .25 and 4; .25 and 1: mean difference (3.75 + .75) / 2
    assert sharpness(descriptors, centres) == pytest.approx(math.log(100) / 2.25)
    cosines = torch.tensor([[1.0, 0.0], [0.6, 0.8]])  # to centres (2, 0), (0, 1): 1, 0; .6, .8
    assert sharpness(cosines, torch.tensor([[2.0, 0.0], [0.0, 1.0]]), version=1) == pytest.approx(math.log(100) / 0.6)


@pytest.mark.parametrize("version", [1, 2])
def test_initialise_finds_the_clusters(version: int) -> None:
    centres = torch.eye(6)[:4]
    descriptors = clustered(50, centres)
    layer = NetVLAD(6, 4, version=version)
    layer.initialise(3.0 * descriptors)  # any scale
    found = torch.cdist(centres, layer.centres.detach()).min(1)
    assert sorted(found.indices.tolist()) == [0, 1, 2, 3]
    assert found.values.max() < 0.05
    logits = descriptors @ layer.weight.T + layer.bias
    ratio = logits.softmax(1).topk(2).values
    margin = (ratio[:, 0] / ratio[:, 1]).log()  # the mean descriptor: 100 times as near to its own centre
    assert margin.mean().item() == pytest.approx(math.log(100), rel=1e-3)


def test_a_given_alpha_is_kept() -> None:
    layer = ActionVLAD(6, 4)
    layer.initialise(clustered(10, torch.eye(6)[:4]))
    torch.testing.assert_close(layer.weight.detach(), 2000 * layer.centres.detach())
    torch.testing.assert_close(layer.bias.detach(), -1000 * layer.centres.detach().square().sum(1))


def test_initialise_ghosts_and_refusals() -> None:
    layer = GhostVLAD(6, 3, 1)
    layer.initialise(clustered(10, torch.eye(6)[:4]))  # four centres, one becomes the ghost
    assert layer.centres.shape == (3, 6)
    assert layer.weight.norm(dim=1).min() > 1
    with pytest.raises(ValueError, match=r"\(3, 5\): needs \(m, 6\)"):
        layer.initialise(torch.rand(3, 5))
    with pytest.raises(ValueError, match="clusters=4: only 3 distinct descriptors among 3"):
        layer.initialise(torch.rand(3, 6))
    single = NetVLAD(6, 1)
    single.initialise(torch.rand(10, 6))
    assert single.weight.isfinite().all()


def test_constructor_refuses_nonsense() -> None:
    with pytest.raises(ValueError, match="clusters=0"):
        NetVLAD(6, 0)
    with pytest.raises(ValueError, match="ghosts=-1"):
        GhostVLAD(6, 4, -1)
    with pytest.raises(ValueError, match="version=3: choose from"):
        NetVLAD(6, 4, version=3)
    with pytest.raises(ValueError, match=r"alpha=0\.0"):
        ActionVLAD(6, 4, alpha=0.0)


# ---- k-means ----


def test_k_means_by_hand() -> None:
    line = torch.tensor([[0.0], [1.0], [10.0], [12.0], [50.0]])
    assert k_means(line, 3).flatten().sort().values.tolist() == [0.5, 11, 50]
    assert k_means(line, 1).item() == pytest.approx(14.6)
    assert k_means(line, 5).flatten().sort().values.tolist() == line.flatten().tolist()
    with pytest.raises(ValueError, match="only 2 distinct descriptors among 4"):
        k_means(torch.tensor([[0.0], [0.0], [1.0], [1.0]]), 3)
    with pytest.raises(ValueError, match="only 0 distinct"):
        k_means(torch.empty(0, 3), 3)


def test_k_means_is_a_fixed_point_and_repeatable() -> None:
    descriptors = torch.randn(300, 5)
    centres = k_means(descriptors, 7, seed=2)
    nearest = torch.cdist(descriptors, centres).argmin(1)
    means = torch.stack([descriptors[nearest == k].mean(0) for k in range(7)])
    torch.testing.assert_close(centres, means)
    assert torch.equal(centres, k_means(descriptors, 7, seed=2))
    assert not torch.equal(centres, k_means(descriptors, 7, seed=3))


# ---- memory ----


def test_memory_of_netvlad_has_no_residual_tensor() -> None:
    """K = 64, D = 512, 14x14; batch 1 for the naive form, batch 16 (a residual tensor: 411 MB) for ours."""

    def measured(forward: Callable[[Tensor], Tensor], n: int) -> PeakMemory:
        x = torch.rand(n, 512, 14, 14, requires_grad=True)
        with PeakMemory() as memory:
            forward(x).square().sum().backward()
        return memory

    layer = NetVLAD(512, 64)
    residual_tensor = 4 * 64 * 512 * 196  # bytes for each clip
    naive = measured(lambda x: naive_netvlad(layer, x), 1)
    ours = measured(layer, 16)
    print(f"\npeak MB per clip: naive {naive.peak / 1e6:.1f}, NetVLAD {ours.peak / 16e6:.2f}")
    assert naive.largest == residual_tensor
    assert ours.largest <= 16 * 4 * 512 * 196  # no tensor larger than the map
    assert ours.peak / 16 < naive.peak / 20
