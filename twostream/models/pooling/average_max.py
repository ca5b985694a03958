"""Pooling by mean, by maximum, and by both."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from twostream.models.pooling.base import Pooling


class GAP(Pooling):
    """Global average (Lin et al. 2014): (n, c, h, w) -> (n, c)."""

    def pool(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c"]:
        return x.mean((2, 3))


class GMP(Pooling):
    """Global maximum (Razavian et al. 2016): (n, c, h, w) -> (n, c). Equal maxima share the gradient."""

    def pool(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c"]:
        return x.amax((2, 3))


class AddAvgMax(Pooling):
    """Half the sum of average and maximum, so that a constant map keeps its value: (n, c, h, w) -> (n, c)."""

    def pool(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c"]:
        return 0.5 * (x.mean((2, 3)) + x.amax((2, 3)))


class CatAvgMax(Pooling):
    """Average, then maximum, one after the other: (n, c, h, w) -> (n, 2c)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 2 * channels)

    def pool(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        return torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1)
