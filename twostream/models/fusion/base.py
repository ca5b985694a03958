"""What all fusion operators have in common."""

from __future__ import annotations

from torch import nn


class Fusion(nn.Module):
    """Two maps (n, c, h, w) -> one; `Fusion(rgb_channels, flow_channels)`. A vector is a 1 x 1 map."""

    out_channels: int
    keeps_map = True  # False where the result is a vector, so that no further convolution can follow

    def before_conv3d(self) -> Fusion:  # what takes this operator's place where a 3-D convolution follows
        return self

    def for_scores(self) -> Fusion:  # what takes its place where class scores, of either sign, are fused
        return self


def require_equal_channels(operator: str, rgb_channels: int, flow_channels: int) -> None:
    """Raise ValueError where an operator that pairs channels is given two different numbers of them."""
    if rgb_channels != flow_channels:
        raise ValueError(
            f"{operator} pairs channels one to one, but rgb has {rgb_channels} and flow {flow_channels}; "
            "choose fusion=concat (order=block), conv (init=kaiming, gaussian), bilinear or compact_bilinear"
        )
