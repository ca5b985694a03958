"""Fusion by stacking channels, in either of the two orders."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from .base import Fusion, require_equal_channels

Order = Literal["block", "interleaved"]


class ConcatFusion(Fusion):
    """Stacks the channels of both streams (Feichtenhofer et al. 2016, eq. 3), so that the next layer reads all of them.

    `order="block"` is rgb, then flow, as in the authors' code. `order="interleaved"` is that of the paper's text:
    even channels (from 0) are flow, odd ones rgb. The next layer has to be made for the same order: identity filters
    and checkpoints of the other order give wrong results.

    Raises ValueError for an unknown order, and for `interleaved` with unequal channels.
    """

    def __init__(self, rgb_channels: int, flow_channels: int, order: Order = "block") -> None:
        super().__init__()
        if order not in ("block", "interleaved"):
            raise ValueError(f"order={order!r}: no such channel order; choose from block, interleaved")
        if order == "interleaved":
            require_equal_channels("order='interleaved'", rgb_channels, flow_channels)
        self.order: Order = order
        self.out_channels = rgb_channels + flow_channels

    def forward(self, rgb: Float[Tensor, "n a h w"], flow: Float[Tensor, "n b h w"]) -> Float[Tensor, "n c h w"]:
        if self.order == "block":
            return torch.cat((rgb, flow), dim=1)
        return torch.stack((flow, rgb), dim=2).flatten(1, 2)
