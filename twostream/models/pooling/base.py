"""The base of all pooling layers: their interface, their precision, and an optional last norm."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from twostream.models.bilinear import at_least_float32, l2_normalise, without_autocast


class Pooling(nn.Module):
    """`Layer(channels, ...)`: a map (n, channels, h, w) of any size -> a vector (n, out_channels) of its dtype.

    A subclass implements `pool`, which always computes in float32 (or float64): half precision is too coarse for
    powers, exponentials, FFTs and sums of hundreds of products.
    """

    pools_time = False  # whether it pools over time itself, in place of temporal fusion

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
    """Scales vectors to L2 norm 1, as retrieval descriptors do last; `Identity` takes its place if it is off."""

    def forward(self, y: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return l2_normalise(y)
