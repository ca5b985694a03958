"""Fusion by a learned 1 x 1 convolution of the stacked channels."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .base import Fusion, require_equal_channels
from .concat import ConcatFusion, Order

Init = Literal["sum", "weighted", "rgb", "flow", "kaiming", "gaussian"]

# The factors (rgb, flow) of the identity matrices in an initial filter.
SHARES = {"sum": (1.0, 1.0), "weighted": (0.25, 0.75), "rgb": (1.0, 0.0), "flow": (0.0, 1.0)}


class ConvFusion(Fusion):
    """y = relu(concat(rgb, flow) * f + b), with f of 1 x 1 (Feichtenhofer et al. 2016, eq. 4); as many channels as rgb.

    `init` sets the initial filter; the bias starts at 0. Identities, if the streams have equal channels:
    `sum` = [I; I], which is exactly SumFusion on ReLU outputs; `weighted` = [.25 I; .75 I]; `rgb` = [I; 0];
    `flow` = [0; I]. Random: `kaiming`, standard deviation sqrt(2 / out); `gaussian`, standard deviation .01.
    `order` is as in ConcatFusion. `relu=False` leaves out the ReLU, which the authors' code has.

    Raises ValueError for an unknown init or order, and for an identity with unequal channels.
    """

    def __init__(
        self,
        rgb_channels: int,
        flow_channels: int,
        *,
        init: Init = "sum",
        order: Order = "block",
        relu: bool = True,
    ) -> None:
        super().__init__()
        if init not in get_args(Init):
            raise ValueError(f"init={init!r}: no such initialisation; choose from {', '.join(get_args(Init))}")
        if init in SHARES:
            require_equal_channels(f"init={init!r}", rgb_channels, flow_channels)
        self.init: Init = init
        self.out_channels = rgb_channels
        self.concat = ConcatFusion(rgb_channels, flow_channels, order)
        self.conv = nn.Conv2d(self.concat.out_channels, self.out_channels, kernel_size=1)
        self.relu = nn.ReLU() if relu else nn.Identity()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Sets the filter by `init` and the bias to 0."""
        nn.init.zeros_(self.conv.get_parameter("bias"))
        if self.init == "kaiming":
            nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")
        elif self.init == "gaussian":
            nn.init.normal_(self.conv.weight, std=0.01)
        else:
            rgb_share, flow_share = SHARES[self.init]
            identity = torch.eye(self.out_channels)[:, :, None, None]  # (out, in, 1, 1)
            with torch.no_grad():  # row d of the filter reads channel d of each stream, in both orders
                self.conv.weight.copy_(self.concat(rgb_share * identity, flow_share * identity))

    def forward(self, rgb: Float[Tensor, "n a h w"], flow: Float[Tensor, "n b h w"]) -> Float[Tensor, "n a h w"]:
        return self.relu(self.conv(self.concat(rgb, flow)))

    def before_conv3d(self) -> Fusion:
        """Returns the concatenation alone: the 3-D filter contains the 1 x 1 filter (paper, section 3.4)."""
        return self.concat

    def for_scores(self) -> Fusion:
        """Returns a new ConvFusion without ReLU, because scores may be negative."""
        flow_channels = self.concat.out_channels - self.out_channels
        return ConvFusion(self.out_channels, flow_channels, init=self.init, order=self.concat.order, relu=False)
