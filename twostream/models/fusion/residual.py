"""Fusion inside of residual units."""

from __future__ import annotations

from typing import Literal, get_args

from jaxtyping import Float
from torch import Tensor

from .base import Fusion, require_equal_channels

Operation = Literal["add", "multiply"]


class ResidualFusion(Fusion):
    """What the branch F of a residual unit reads in place of its input x: x + f(z) or x · f(z), with f = relu.

    z is the other stream's map at the same unit. The unit's skip connection stays x, so the unit returns
    relu(x + F(x + f(z))). `add` is that of Feichtenhofer et al., "Spatiotemporal Residual Networks for Video Action
    Recognition", NIPS 2016, `multiply` that of the same authors' "Spatiotemporal Multiplier Networks for Video Action
    Recognition", CVPR 2017. Where z is 0, adding leaves the unit as it was; where z is 1, multiplying does.

    The network does the rest: `both_ways`, the second stream enters the first one's units, and the first the second's,
    else the second alone enters; `over_time`, a filter over three frames follows in these units, at first the identity,
    or with "thirds" their 1×1 filters become such, a third of the weights at each frame, as in ST-ResNet.
    Raises ValueError for unequal channels, and for another operation.
    """

    enters_units = True

    def __init__(
        self,
        rgb_channels: int,
        flow_channels: int,
        *,
        operation: Operation = "add",
        both_ways: bool = False,
        over_time: bool | str = True,
    ) -> None:
        super().__init__()
        if operation not in get_args(Operation):
            raise ValueError(f"operation={operation!r}: choose from {', '.join(get_args(Operation))}")
        require_equal_channels("ResidualFusion", rgb_channels, flow_channels)
        self.operation: Operation = operation
        self.both_ways, self.over_time = both_ways, over_time
        self.out_channels = rgb_channels

    def forward(self, rgb: Float[Tensor, "n c h w"], flow: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return rgb + flow.relu() if self.operation == "add" else rgb * flow.relu()

    def extra_repr(self) -> str:  # it has no weights to be told from another one by
        return f"operation={self.operation}, both_ways={self.both_ways}, over_time={self.over_time}"

    def for_scores(self) -> Fusion:
        """Raises ValueError: scores have no residual units."""
        raise ValueError("layer='softmax': fusion=residual enters residual units; choose fusion=sum for scores")
