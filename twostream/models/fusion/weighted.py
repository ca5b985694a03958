"""Fusion by a weighted mean, mostly used for class scores."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .base import Fusion, log_sum, require_equal_channels


class WeightedFusion(Fusion):
    """y = (a rgb + b flow) / (a + b), with given or learned weights.

    Weights of class scores in the literature, RGB : flow: 1:1 (Feichtenhofer et al. 2016), 1:1.5 (TSN, Wang et
    al. 2016), 1:2 (ActionVLAD, Girdhar et al. 2017). `learned=True` starts from `weights` and trains their logarithms,
    so that they stay positive. Raises ValueError for unequal channels, and for weights that are not two positive
    numbers.
    """

    log_weights: Tensor

    def __init__(
        self, rgb_channels: int, flow_channels: int, weights: Sequence[float] = (1.0, 1.0), learned: bool = False
    ) -> None:
        super().__init__()
        require_equal_channels("WeightedFusion", rgb_channels, flow_channels)
        if len(weights) != 2 or min(weights) <= 0:
            raise ValueError(f"weights={list(weights)!r}: give two positive numbers, RGB first, e.g. [1, 1.5]")
        self.out_channels = rgb_channels
        log_weights = torch.tensor(list(weights), dtype=torch.float32).log()
        if learned:
            self.log_weights = nn.Parameter(log_weights)
        else:
            self.register_buffer("log_weights", log_weights)

    def forward(self, rgb: Float[Tensor, "n c h w"], flow: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        a, b = self.log_weights.softmax(0).to(rgb.dtype)
        return a * rgb + b * flow

    def of_logs(self, rgb: Float[Tensor, "n c h w"], flow: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        a, b = self.log_weights.log_softmax(0)
        return log_sum(a + rgb, b + flow)
