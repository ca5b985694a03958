"""What all pooling layers have in common: their contract, their precision, and an optional last norm."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from twostream.models.bilinear import at_least_float32, l2_normalise, without_autocast


class Pooling(nn.Module):
    """Layer(channels, ...): a map (n, channels, h, w) of any size -> a vector (n, out_channels) of its dtype.

    A subclass writes `pool`, which always computes in float32 (or float64): powers, exponentials, FFTs and
    sums of hundreds of products do not survive half precision.
    """

    pools_time = False  # True: takes the place of temporal fusion

    def __init__(self, channels: int, out_channels: int | None = None) -> None:
        super().__init__()
        self.channels = channels
        self.out_channels = channels if out_channels is None else out_channels

    def forward(self, x: Float[Tensor, "n c *t h w"]) -> Float[Tensor, "n d"]:
        with without_autocast(x.device):
            return self.pool(at_least_float32(x)).to(x.dtype)

    def pool(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class UnitNorm(nn.Module):
    """The L2 norm that retrieval descriptors end in; `Identity` where it is off."""

    def forward(self, y: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return l2_normalise(y)
