"""Fusion of several stages: each stage gets its own prediction, or all are combined top-down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from .base import Fusion
from .conv import ConvFusion

MakeFusion = Callable[[int, int], Fusion]


class MultiLevelFusion(nn.Module):
    """Fuses both towers' maps stage by stage; each fused map gets its own classifier and loss.

    Scores are averaged. Source of predictions from several depths of a network: Lee et al., "Deeply-Supervised Nets",
    AISTATS 2015. `level` makes the fusion of one stage. `.out_channels` lists the channels of the returned maps.
    Raises ValueError if the fusion leaves no map.
    """

    takes_levels = True

    def __init__(
        self, rgb_channels: Sequence[int], flow_channels: Sequence[int], level: MakeFusion = ConvFusion
    ) -> None:
        super().__init__()
        levels = [level(a, b) for a, b in zip(rgb_channels, flow_channels, strict=True)]
        if not all(fusion.keeps_map for fusion in levels):
            raise ValueError(f"level={type(levels[0]).__name__}: leaves no map; choose sum, max, concat or conv")
        self.levels = nn.ModuleList(levels)
        self.out_channels = [fusion.out_channels for fusion in levels]

    def forward(self, rgb: Sequence[Tensor], flow: Sequence[Tensor]) -> list[Tensor]:
        return [fusion(a, b) for fusion, a, b in zip(self.levels, rgb, flow, strict=True)]


class PyramidFusion(MultiLevelFusion):
    """Fuses all stages, then combines the fused maps top-down as in a feature pyramid network.

    Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017, section 3: a 1×1 convolution gives every
    map `channels` channels. From the deepest on, each map is enlarged (nearest neighbour) and added to the next
    finer one. The finest then contains all stages; a 3×3 convolution and ReLU of it are returned.
    """

    def __init__(
        self,
        rgb_channels: Sequence[int],
        flow_channels: Sequence[int],
        level: MakeFusion = ConvFusion,
        channels: int = 256,
    ) -> None:
        super().__init__(rgb_channels, flow_channels, level)
        self.lateral = nn.ModuleList(nn.Conv2d(c, channels, kernel_size=1) for c in self.out_channels)
        self.smooth = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.out_channels = [channels]

    def forward(self, rgb: Sequence[Tensor], flow: Sequence[Tensor]) -> list[Float[Tensor, "n c h w"]]:
        maps = [lateral(x) for lateral, x in zip(self.lateral, super().forward(rgb, flow), strict=True)]
        for finer, coarser in reversed(list(pairwise(range(len(maps))))):
            size = maps[finer].shape[-2:]
            maps[finer] = maps[finer] + F.interpolate(maps[coarser], size=size, mode="nearest")
        return [self.smooth(maps[0]).relu()]
