"""Pooling by power means, which lie between the average (p = 1) and the maximum (p -> infinity)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from twostream.models.bilinear import at_least_float32
from twostream.models.pooling.base import Pooling, UnitNorm

SMALLEST_P = 0.01  # the least p, also of a learned one: at 0 the power mean is undefined


class GeM(Pooling):
    """Generalised mean (Radenovic et al. 2018): (mean_hw max(x, eps)^p)^(1/p), with a learned p.

    There is one p for all channels, or one per channel. Values below `eps` count as eps, so an all-zero channel gives
    eps. `normalise` adds the paper's L2 norm, which suits retrieval by cosine; a classifier does not need it.
    Raises ValueError for p < 0.01.
    """

    p: Tensor

    def __init__(
        self,
        channels: int,
        p: float = 3.0,
        *,
        learnable: bool = True,
        per_channel: bool = False,
        normalise: bool = False,
        eps: float = 1e-6,
    ) -> None:
        super().__init__(channels)
        if p < SMALLEST_P:
            raise ValueError(f"p={p}: the power of GeM must be at least {SMALLEST_P}")
        powers = torch.full((channels if per_channel else 1,), float(p))
        if learnable:
            self.p = nn.Parameter(powers)
        else:
            self.register_buffer("p", powers)
        self.eps = eps
        self.norm = UnitNorm() if normalise else nn.Identity()

    def pool(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c"]:
        p = at_least_float32(self.p).clamp(min=SMALLEST_P).view(-1, 1, 1)
        return self.norm(power_mean(x.clamp(min=self.eps), p))  # clamp first: 0^p has no gradient in p


class LpPool(Pooling):
    """L^p norm of each channel's map: (sum_hw |x|^p)^(1/p); form="mean" takes the mean instead of the sum.

    p = 2 is the L2 norm. sum = (h * w)^(1/p) * mean. Of an all-zero map, value and gradient are 0. Raises
    ValueError for p < 1 (not a norm, and without gradient at zero) and for another `form`.
    """

    def __init__(self, channels: int, p: float = 2.0, form: str = "sum") -> None:
        super().__init__(channels)
        if p < 1:
            raise ValueError(f"p={p}: an L^p norm needs p >= 1")
        if form not in ("sum", "mean"):
            raise ValueError(f"form={form!r}: choose from sum, mean")
        self.p, self.form = float(p), form

    def pool(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c"]:
        count = x.shape[2] * x.shape[3] if self.form == "sum" else 1
        return count ** (1 / self.p) * power_mean(x.abs(), self.p)


def power_mean(x: Float[Tensor, "n c h w"], p: float | Float[Tensor, "powers 1 1"]) -> Float[Tensor, "n c"]:
    """Returns (mean_hw x^p)^(1/p) for x >= 0, as m * (mean_hw (x / m)^p)^(1/p): with m = max_hw x no power overflows.

    The value does not depend on m, so no gradient flows through m.
    """
    peak = x.amax((2, 3), keepdim=True).detach()
    mean = (x / peak.clamp(min=torch.finfo(x.dtype).tiny)).pow(p).mean((2, 3), keepdim=True)
    # The peak alone contributes 1 / (h * w). Only all-zero maps have less, and there a root is too steep.
    at_least = mean.clamp(min=0.5 / (x.shape[2] * x.shape[3]))
    return (peak * at_least.pow(1 / p)).flatten(1)
