"""Fusion without parameters: channel d of one stream with channel d of the other."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from .base import Fusion, log_sum, require_equal_channels


class SumFusion(Fusion):
    """y = rgb + flow (Feichtenhofer et al. 2016, eq. 1)."""

    def __init__(self, rgb_channels: int, flow_channels: int) -> None:
        super().__init__()
        require_equal_channels("SumFusion", rgb_channels, flow_channels)
        self.out_channels = rgb_channels

    def forward(self, rgb: Float[Tensor, "n c h w"], flow: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return rgb + flow

    def of_logs(self, rgb: Float[Tensor, "n c h w"], flow: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return log_sum(rgb, flow)


class MaxFusion(Fusion):
    """y = max(rgb, flow) (Feichtenhofer et al. 2016, eq. 2)."""

    def __init__(self, rgb_channels: int, flow_channels: int) -> None:
        super().__init__()
        require_equal_channels("MaxFusion", rgb_channels, flow_channels)
        self.out_channels = rgb_channels

    def forward(self, rgb: Float[Tensor, "n c h w"], flow: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return torch.maximum(rgb, flow)

    def of_logs(self, rgb: Float[Tensor, "n c h w"], flow: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return torch.maximum(rgb, flow)
