"""Temporal fusion layers: each makes one map of the maps of all t, or keeps them (`temporal=<option>`).

All are built as `Temporal(in_channels, out_channels)`; their output has `.out_channels` channels. They pool over
time only: the spatial part of the paper's 3-D pooling is the backbone's own pooling, in the stage that follows.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from twostream.models.bilinear import at_least_float32, without_autocast

__all__ = ["Conv3d", "Pool2d", "Pool3d", "Temporal"]

Order = Literal["block", "interleaved"]


class Temporal(nn.Module):
    """Base of temporal fusions: maps (n, t, c, h, w) -> (n, t', c', h, w)."""

    out_channels: int
    convolves = False  # whether it has a filter over time; the fusion's own 1 x 1 filter is then part of that

    def pooling_only(self) -> Temporal:  # for a second tower that is kept: its map is not fused, so not convolved
        return self


class Pool2d(Temporal):
    """Leaves the maps as they are: each frame is pooled and predicted alone, and the network averages predictions."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.out_channels = in_channels  # pooling keeps the number of channels

    def forward(self, x: Float[Tensor, "n t c h w"]) -> Float[Tensor, "n t c h w"]:
        return x


class Pool3d(Temporal):
    """Takes the maximum over all t; with the backbone's k x k max pool that follows, this is a t x k x k max pool."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.out_channels = in_channels

    def forward(self, x: Float[Tensor, "n t c h w"]) -> Float[Tensor, "n 1 c h w"]:
        return x.max(dim=1, keepdim=True).values  # not amax, which splits the gradient between equal maxima


class Conv3d(Temporal):
    """Applies a 3 x 3 x 3 convolution, ReLU, then the maximum over all t (Feichtenhofer et al. 2016, section 3.3).

    `init` sets the initial filter; the bias starts at 0. `paper`: a Gaussian (standard deviation 1, sum 1) times an
    identity. If the input is the concatenation of both streams (2 x out channels), this gives .25 rgb + .75 flow,
    smoothed. If the input is a fused map (as many channels as out), it gives that map, smoothed. `kaiming`: random,
    standard deviation sqrt(2 / (27 out)). `order` must be that of the concatenation (see ConcatFusion).

    Raises ValueError for an unknown init or order, and for `paper` with other numbers of input channels.
    """

    convolves = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        init: Literal["paper", "kaiming"] = "paper",
        order: Order = "block",
    ) -> None:
        super().__init__()
        if init not in ("paper", "kaiming"):
            raise ValueError(f"init={init!r}: no such initialisation; choose from paper, kaiming")
        if order not in ("block", "interleaved"):
            raise ValueError(f"order={order!r}: no such channel order; choose from block, interleaved")
        if init == "paper" and in_channels not in (out_channels, 2 * out_channels):
            raise ValueError(
                f"init='paper': stacks identities, so {out_channels} output channels need {out_channels} or "
                f"{2 * out_channels} input channels, not {in_channels}; choose init=kaiming"
            )
        self.init = init
        self.order: Order = order
        self.out_channels = out_channels
        self.conv = nn.Conv3d(in_channels, out_channels, kernel_size=3, padding=1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Sets the filter by `init` and the bias to 0."""
        nn.init.zeros_(self.conv.get_parameter("bias"))
        if self.init == "kaiming":
            nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")
            return
        channels = torch.eye(self.out_channels)  # (out, in)
        if self.conv.in_channels != self.out_channels:
            rgb, flow = 0.25 * channels, 0.75 * channels  # flow activations are about 3 times lower
            blocks, pairs = torch.cat((rgb, flow), dim=1), torch.stack((flow, rgb), dim=2).flatten(1)
            channels = blocks if self.order == "block" else pairs
        with torch.no_grad():
            self.conv.weight.copy_(channels[:, :, None, None, None] * gaussian_cube())

    def forward(self, x: Float[Tensor, "n t c h w"]) -> Float[Tensor, "n 1 d h w"]:
        y = self.convolve(x.transpose(1, 2)).max(dim=2, keepdim=True).values  # (n, d, 1, h, w)
        return y.relu().transpose(1, 2)  # the same as ReLU before max, on a t-th of the memory

    def convolve(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n d t h w"]:
        """Convolves; under autocast on a CPU in float32, since PyTorch's bfloat16 gradient of a filter is wrong there.

        Measured (PyTorch 2.15, oneDNN): for some shapes each call gives other numbers, often NaN; not with oneDNN off.
        """
        if x.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return self.conv(x)
        with without_autocast(x.device):
            return self.conv(at_least_float32(x)).to(x.dtype)

    def pooling_only(self) -> Temporal:
        return Pool3d(self.out_channels, self.out_channels)


def gaussian_cube() -> Float[Tensor, "3 3 3"]:
    """Returns the 3 x 3 x 3 Gaussian of standard deviation 1 that sums to 1: centre .0923, corner .0206."""
    line = torch.exp(-torch.tensor([1.0, 0.0, 1.0]) / 2)
    line = line / line.sum()
    return line[:, None, None] * line[:, None] * line
