"""Pooling by sums and means that weight each cell by its distance from the centre."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from twostream.models.pooling.base import Pooling, UnitNorm


class SPoC(Pooling):
    """Sum pooling (Babenko & Lempitsky 2015): sum_hw w * x, with w = 1 or the Gaussian centre prior.

    Without the prior it is h * w * GAP, so its scale grows with the map; `normalise` divides by the L2 norm,
    as the paper does. The paper's PCA whitening between two such norms is left out: it needs its own training set.
    """

    def __init__(self, channels: int, *, centre_prior: bool = False, normalise: bool = False) -> None:
        super().__init__(channels)
        self.weights = gaussian if centre_prior else uniform
        self.norm = UnitNorm() if normalise else nn.Identity()

    def pool(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c"]:
        return self.norm((x * self.weights(x)).sum((2, 3)))


class CenterWeightedPool(Pooling):
    """Mean weighted by the distance d from the centre: sum_hw w * x / sum_hw w.

    `weighting` gives w. "gaussian": SPoC's centre prior; "inverse": 1 / (1 + d); "linear": 1 - d / dmax, which is 0 in
    the corners. Raises ValueError for another `weighting`.
    """

    def __init__(self, channels: int, weighting: str = "gaussian") -> None:
        super().__init__(channels)
        if weighting not in WEIGHTINGS:
            raise ValueError(f"weighting={weighting!r}: choose from {', '.join(WEIGHTINGS)}")
        self.weights = WEIGHTINGS[weighting]

    def pool(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c"]:
        weights = self.weights(x)
        return (x * (weights / weights.sum())).sum((2, 3))


# These functions use only the size, device and dtype of the map. Weights are not cached, so they are never outdated.
def uniform(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "h w"]:
    return x.new_ones(x.shape[2:])


def gaussian(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "h w"]:
    """Returns exp(-d^2 / (2 s^2)), s = min(h, w) / 6: a third of the way from the centre to the nearer border."""
    return torch.exp(-squared_distance(x) / (2 * (min(x.shape[2:]) / 6) ** 2))


def inverse(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "h w"]:
    return 1 / (1 + squared_distance(x).sqrt())


def linear(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "h w"]:
    height, width = x.shape[2:]
    if height <= 2 and width <= 2:  # every cell is a corner: all weights would be 0 (and dmax = 0 on 1x1)
        return uniform(x)
    farthest = ((height - 1) ** 2 + (width - 1) ** 2) ** 0.5 / 2
    return (1 - squared_distance(x).sqrt() / farthest).clamp(min=0)  # corners may be negative by rounding


def squared_distance(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "h w"]:
    """Returns each cell's squared distance from the centre ((h - 1) / 2, (w - 1) / 2); a flip does not change it."""
    rows, columns = (torch.arange(size, device=x.device, dtype=x.dtype) - (size - 1) / 2 for size in x.shape[2:])
    return rows[:, None].square() + columns.square()


WEIGHTINGS = {"gaussian": gaussian, "inverse": inverse, "linear": linear}
