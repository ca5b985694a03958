"""Pooling by cross-dimensional weighting (CroW)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from twostream.models.pooling.base import Pooling, UnitNorm

SMALLEST = 1e-30  # relative to the strongest cell; its root is far below the precision of any sum


class CroW(Pooling):
    """Sum pooling with weights per location and per channel (Kalantidis et al. 2016): (n, c, h, w) -> (n, c).

    y_c = I_c * sum_hw(x * S').

    - Locations: S = sum_c x, S' = (S / (sum_hw S^a)^(1/a))^(1/b).
    - Channels: I_c = ln(sum_c' q_c' / q_c), q_c = share of non-zero cells; I_c = 0 for a channel that is all 0.

    The formula needs non-negative maps, so values below 0 count as 0. No gradient flows through I, which counts
    cells. With one channel I is 0, and so is the result. `normalise` adds the paper's L2 norm; its PCA whitening is
    left out, since it needs its own training set. Raises ValueError unless a and b are positive.
    """

    def __init__(self, channels: int, *, a: float = 2.0, b: float = 2.0, normalise: bool = False) -> None:
        super().__init__(channels)
        if a <= 0 or b <= 0:
            raise ValueError(f"a={a}, b={b}: the powers of CroW must be positive")
        self.a, self.b = a, b
        self.norm = UnitNorm() if normalise else nn.Identity()

    def pool(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c"]:
        x = x.clamp(min=0)
        return self.norm(channel_weights(x) * (x * location_weights(x, self.a, self.b)).sum((2, 3)))


def location_weights(x: Float[Tensor, "n c h w"], a: float, b: float) -> Float[Tensor, "n 1 h w"]:
    """Returns S' of CroW. Where S is 0, S' and its gradient are 0 (the gradient of a root would be infinite)."""
    total = x.sum(1, keepdim=True)
    peak = total.amax((2, 3), keepdim=True).detach()
    total = total / peak.clamp(min=torch.finfo(x.dtype).tiny)  # S' does not change, and S^a cannot overflow
    power = total.clamp(min=SMALLEST).pow(a).sum((2, 3), keepdim=True)
    alive = total > SMALLEST
    share = torch.where(alive, total, 1) / power.clamp(min=0.5).pow(1 / a)  # the peak alone gives power >= 1
    return torch.where(alive, share.pow(1 / b), 0)


def channel_weights(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c"]:
    """Returns I of CroW."""
    occupied = (x > 0).to(x.dtype).mean((2, 3))
    alive = occupied > 0
    return torch.where(alive, occupied.sum(1, keepdim=True) / torch.where(alive, occupied, 1), 1).log()
