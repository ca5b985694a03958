"""Fusion by gates: each stream weights the channels of the other."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from .base import Fusion, log_sum, require_equal_channels


class AttentionFusion(Fusion):
    """y = rgb * gate(flow) + flow * gate(rgb): each stream's content weights the channels of the other.

    gate(x) = sigmoid(W2 relu(W1 GAP(x))), the gate of squeeze and excitation (Hu et al. 2018, eq. 2 and 3)
    with `reduction` r. Sources: cross-gating of appearance and motion features, Wang et al., "Controllable
    Video Captioning with POS Sequence Guidance Based on Gated Fusion Network", ICCV 2019 (arXiv
    1908.10072); squeeze-and-excitation gates between the maps of two CNN streams, Vaezi Joze et al., "MMTM:
    Multimodal Transfer Module for CNN Fusion", CVPR 2020 (arXiv 1911.08670). There each gate sees both
    streams, here only the other one. Raises ValueError for unequal channels.
    """

    def __init__(self, rgb_channels: int, flow_channels: int, reduction: int = 16) -> None:
        super().__init__()
        require_equal_channels("AttentionFusion", rgb_channels, flow_channels)
        self.out_channels = rgb_channels
        self.gate_for_rgb = Gate(rgb_channels, reduction)
        self.gate_for_flow = Gate(flow_channels, reduction)

    def forward(self, rgb: Float[Tensor, "n c h w"], flow: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return rgb * self.gate_for_rgb(flow) + flow * self.gate_for_flow(rgb)

    def of_logs(self, rgb: Float[Tensor, "n c h w"], flow: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        gates = self.gate_for_rgb(flow.exp()), self.gate_for_flow(rgb.exp())
        return log_sum(*(gate.log() + stream for gate, stream in zip(gates, (rgb, flow), strict=True)))


class Gate(nn.Module):
    """Computes one weight in (0, 1) per channel from the spatial means of all channels."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.reduce = nn.Linear(channels, hidden)
        self.expand = nn.Linear(hidden, channels)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c 1 1"]:
        return self.expand(self.reduce(x.mean(dim=(2, 3))).relu()).sigmoid()[:, :, None, None]
