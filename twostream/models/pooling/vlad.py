"""Pooling by vectors of locally aggregated descriptors: NetVLAD and its relatives.

The descriptor of every location (in every frame, for a 5-D map) is assigned softly to the nearest of K
centres, and the residuals of each centre are summed. Order: L2 norm of each descriptor over channels -> assignment,
sum of residuals -> L2 norm per cluster (intra-norm) -> flatten (n, K * c) -> L2 norm.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from twostream.models.bilinear import at_least_float32, l2_normalise
from twostream.models.pooling.base import Pooling
from twostream.models.pooling.kmeans import k_means

START_ALPHA = 100.0  # alpha until `initialise` is called; suits unit vectors of some hundred channels
VERSIONS = (1, 2)


class SoftVLAD(Pooling):
    """Base of the VLAD layers; see `NetVLAD` for the options.

    The logits of clusters and ghosts are weight . x + bias; only the first `clusters` have a centre.
    """

    bias: Tensor
    initialised: Tensor  # true once `initialise` has been called; kept in the state dict

    def __init__(self, channels: int, clusters: int, *, ghosts: int = 0, alpha: float | None, version: int = 2) -> None:
        super().__init__(channels, clusters * channels)
        if clusters < 1 or ghosts < 0:
            raise ValueError(f"clusters={clusters}, ghosts={ghosts}: needs clusters >= 1 and ghosts >= 0")
        if alpha is not None and alpha <= 0:
            raise ValueError(f"alpha={alpha}: the sharpness of the assignments must be positive")
        if version not in VERSIONS:
            raise ValueError(f"version={version!r}: choose from {VERSIONS}")
        self.clusters, self.alpha, self.version = clusters, alpha, version
        assigned = clusters + ghosts
        self.weight = nn.Parameter(torch.empty(assigned, channels))
        self.centres = nn.Parameter(torch.empty(clusters, channels))
        if version == 2:
            self.bias = nn.Parameter(torch.empty(assigned))
        else:
            self.register_buffer("bias", torch.zeros(assigned), persistent=False)
        self.register_buffer("initialised", torch.tensor(False))
        self.start_from(l2_normalise(torch.randn(assigned, channels)), alpha or START_ALPHA)

    def pool(self, x: Float[Tensor, "n c *t h w"]) -> Float[Tensor, "n d"]:
        x = l2_normalise(x.flatten(2), dim=1)
        # Not a 1x1 convolution, which cuDNN computes in TF32: too coarse for ActionVLAD's logits of up to 2000.
        logits = self.weight.to(x) @ x + self.bias.to(x)[:, None]
        assignment = logits.softmax(1)[:, : self.clusters]  # softmax over clusters and ghosts, then without ghosts
        # sum_i a_k(x_i) (x_i - c_k) without the n x K x c x locations tensor of single residuals
        residuals = assignment @ x.transpose(1, 2) - assignment.sum(2, keepdim=True) * self.centres.to(x)
        return l2_normalise(l2_normalise(residuals, dim=2).flatten(1))

    @torch.no_grad()
    def initialise(self, descriptors: Float[Tensor, "m c"], *, seed: int = 0) -> None:
        """Sets the initial centres by k-means of training descriptors, taken from the maps that this layer sees.

        There have to be at least as many descriptors m as centres; some ten thousand are enough. They are
        L2-normalised here, as in `pool`. If `alpha` was not given, `sharpness` sets it. Raises
        ValueError for descriptors of another shape, or too few distinct ones.
        """
        if descriptors.ndim != 2 or descriptors.shape[1] != self.channels:
            raise ValueError(f"descriptors of shape {tuple(descriptors.shape)}: needs (m, {self.channels})")
        descriptors = l2_normalise(at_least_float32(descriptors))
        centres = k_means(descriptors, len(self.weight), seed=seed)
        self.start_from(centres, self.alpha or sharpness(descriptors, centres, self.version))
        self.initialised.fill_(True)

    @torch.no_grad()
    def start_from(self, centres: Float[Tensor, "k c"], alpha: float) -> None:
        """Sets centres and assignments of sharpness `alpha` around them; centres beyond `clusters` become ghosts.

        Version 2: softmax(-alpha * |x - c|^2), since |x|^2 cancels. Version 1: softmax(alpha * cosine).
        """
        self.centres.copy_(centres[: self.clusters])
        if self.version == 2:
            self.weight.copy_(2 * alpha * centres)
            self.bias.copy_(-alpha * centres.square().sum(1))
        else:
            self.weight.copy_(alpha * l2_normalise(centres))


class NetVLAD(SoftVLAD):
    """NetVLAD (Arandjelovic et al. 2016): (n, c, h, w) -> (n, clusters * c), of norm 1.

    version=2 has a bias per cluster (2Kc + K parameters), version=1 has none (2Kc). `alpha` is the initial sharpness of
    the assignments; None: `initialise` computes it from the descriptors. Without `initialise`, centres are random.
    Raises ValueError for a count below 1, an alpha that is not positive, or an unknown version.
    """

    def __init__(self, channels: int, clusters: int = 64, *, alpha: float | None = None, version: int = 2) -> None:
        super().__init__(channels, clusters, alpha=alpha, version=version)


class GhostVLAD(SoftVLAD):
    """NetVLAD with `ghosts` further clusters that take part in the softmax and are left out of the vector.

    Zhong et al. 2018: uninformative descriptors may be assigned to a ghost. A ghost has no centre, because that would
    get no gradient. One published version has neither the first nor the last L2 norm; here both are kept, so that
    ghosts=0 is NetVLAD.
    """

    def __init__(
        self,
        channels: int,
        clusters: int = 64,
        ghosts: int = 1,
        *,
        alpha: float | None = None,
        version: int = 2,
    ) -> None:
        super().__init__(channels, clusters, ghosts=ghosts, alpha=alpha, version=version)


class ActionVLAD(SoftVLAD):
    """NetVLAD over the locations of all frames at once (Girdhar et al. 2017), with nearly hard assignments.

    (n, c, t, h, w) or (n, c, h, w) -> (n, clusters * c). Residuals are summed over time before the norms, so
    this is not the mean of the frames' vectors. It takes the place of temporal fusion.
    """

    pools_time = True

    def __init__(self, channels: int, clusters: int = 64, *, alpha: float = 1000.0) -> None:
        super().__init__(channels, clusters, alpha=alpha)


def sharpness(descriptors: Float[Tensor, "m c"], centres: Float[Tensor, "k c"], version: int = 2) -> float:
    """Returns the alpha that makes the nearest cluster 100 times as likely as the second, for the mean descriptor.

    Version 2: -ln(.01) / mean(d2^2 - d1^2), with the distances d1, d2 to the two nearest centres. Version 1: the same
    with the difference of the two largest cosines. With one centre every alpha has the same effect, so it is 1.
    """
    if len(centres) == 1:
        return 1.0
    if version == 2:
        # not as |x|^2 - 2 x.c + |c|^2, whose rounding hides small differences
        squared = torch.cdist(descriptors, centres, compute_mode="donot_use_mm_for_euclid_dist").square()
        nearest = squared.topk(2, largest=False).values
    else:
        nearest = (descriptors @ l2_normalise(centres).T).topk(2).values
    return -math.log(0.01) / (nearest[:, 0] - nearest[:, 1]).abs().mean().clamp(min=1e-12).item()
