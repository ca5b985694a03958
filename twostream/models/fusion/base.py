"""What all fusion operators have in common."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

FLOOR = 1e-8  # of what training makes of a probability: below, its logarithm is too steep


class Fusion(nn.Module):
    """Two maps (n, c, h, w) -> one; `Fusion(rgb_channels, flow_channels)`. A vector is a 1 x 1 map."""

    out_channels: int
    keeps_map = True  # False where the result is a vector, so that no further convolution can follow

    def before_conv3d(self) -> Fusion:  # what takes this operator's place where a 3-D convolution follows
        return self

    def for_scores(self) -> Fusion:  # what takes its place where class scores, of either sign, are fused
        return self

    def of_logs(self, rgb: Float[Tensor, "n c h w"], flow: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """The log of the fusion of two maps whose logs are given: class probabilities, however small.

        Here by way of the maps themselves, so that those below 1e-38 count as 1e-38, and so does what is negative
        after the fusion. Gradients are those of the log of max(fused, 1e-8): below, the log would be too steep to
        train.
        """
        fused = self(rgb.exp(), flow.exp())
        value, trained = fused.clamp_min(torch.finfo(fused.dtype).tiny).log(), fused.clamp_min(FLOOR).log()
        return trained + (value - trained).detach()


def log_sum(*logs: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The log of the sum of what has these logs.

    >>> log_sum(torch.tensor(-1000.0), torch.tensor(-1000.0))  # -1000 + ln 2
    tensor(-999.3068)
    """
    return torch.logsumexp(torch.stack(logs), 0)


def require_equal_channels(operator: str, rgb_channels: int, flow_channels: int) -> None:
    """Raise ValueError where an operator that pairs channels is given two different numbers of them."""
    if rgb_channels != flow_channels:
        raise ValueError(
            f"{operator} pairs channels one to one, but rgb has {rgb_channels} and flow {flow_channels}; "
            "choose fusion=concat (order=block), conv (init=kaiming, gaussian), bilinear or compact_bilinear"
        )
