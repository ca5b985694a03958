"""The base of all fusion layers."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

FLOOR = 1e-8  # gradients of a logarithm treat smaller probabilities as this, since they would be too large


class Fusion(nn.Module):
    """`Fusion(rgb_channels, flow_channels)`: two maps (n, c, h, w) -> one map. A vector is a 1 x 1 map."""

    out_channels: int
    keeps_map = True  # False if the result is a vector, which no convolution can follow
    compares_positions = False  # True if there has to be more than one position: it fuses maps, no vectors or scores

    def before_conv3d(self) -> Fusion:  # the fusion to use in place of this one if a 3-D convolution follows
        return self

    def for_scores(self) -> Fusion:  # the fusion to use in place of this one for class scores, which may be negative
        return self

    def of_logs(self, rgb: Float[Tensor, "n c h w"], flow: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Fuses class probabilities, which may be tiny: takes the logs of two maps and returns the log of their fusion.

        This implementation fuses the maps themselves, so results below 1e-38, also negative ones, count as 1e-38. Its
        gradient is that of the log of max(fused, 1e-8), because the log of smaller values is too steep to train.
        """
        fused = self(rgb.exp(), flow.exp())
        value, trained = fused.clamp_min(torch.finfo(fused.dtype).tiny).log(), fused.clamp_min(FLOOR).log()
        return trained + (value - trained).detach()


def log_sum(*logs: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Returns the log of the sum of the numbers whose logs are given.

    >>> log_sum(torch.tensor(-1000.0), torch.tensor(-1000.0))  # -1000 + ln 2
    tensor(-999.3068)
    """
    return torch.logsumexp(torch.stack(logs), 0)


def require_equal_channels(operator: str, rgb_channels: int, flow_channels: int) -> None:
    """Raises ValueError if the streams differ in channels, for an operator that pairs channels one to one."""
    if rgb_channels != flow_channels:
        raise ValueError(
            f"{operator} pairs channels one to one, but rgb has {rgb_channels} and flow {flow_channels}; "
            "choose align.channels=project, or fusion=concat (order=block), conv (init=kaiming, gaussian), bilinear or "
            "compact_bilinear"
        )
