"""Fusion by gates that both streams open: each number of the result lies between those of the streams."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from .base import Fusion, log_sum, require_equal_channels

Per = Literal["channel", "position"]


class GatedFusion(Fusion):
    """y = g rgb + (1 - g) flow, with gates g = sigmoid(W [rgb, flow] + b) that see both streams.

    `per="channel"`: a gate for each channel, from the spatial means of all channels. `per="position"`: a gate for each
    position, from all channels there. W and b start at 0, so all gates at 1/2: training starts with the mean of both
    streams, which has the scale of one, as the layers that follow expect it.

    Source: the gated multimodal unit of Arevalo et al., "Gated Multimodal Units for Information Fusion", ICLR workshop
    2017 (arXiv 1702.01992, section 3.1), without its tanh layers, whose work the towers do. Raises ValueError for
    unequal channels, and for another `per`.
    """

    def __init__(self, rgb_channels: int, flow_channels: int, per: Per = "channel") -> None:
        super().__init__()
        if per not in get_args(Per):
            raise ValueError(f"per={per!r}: choose from {', '.join(get_args(Per))}")
        require_equal_channels("GatedFusion", rgb_channels, flow_channels)
        self.per: Per = per
        self.out_channels = rgb_channels
        self.gate = nn.Conv2d(2 * rgb_channels, rgb_channels if per == "channel" else 1, kernel_size=1)
        for parameter in self.gate.parameters():
            nn.init.zeros_(parameter)

    def logits(self, rgb: Float[Tensor, "n c h w"], flow: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d g v"]:
        """Returns the gates before the sigmoid, (n, c, 1, 1) or (n, 1, h, w)."""
        both = torch.cat((rgb, flow), dim=1)
        return self.gate(both.mean(dim=(2, 3), keepdim=True) if self.per == "channel" else both)

    def forward(self, rgb: Float[Tensor, "n c h w"], flow: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return flow + self.logits(rgb, flow).sigmoid() * (rgb - flow)

    def of_logs(self, rgb: Float[Tensor, "n c h w"], flow: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        logits = self.logits(rgb.exp(), flow.exp())
        return log_sum(F.logsigmoid(logits) + rgb, F.logsigmoid(-logits) + flow)
