"""Residual units that another stream can enter."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


class EnteredStage(nn.Module):
    """A stage of residual units in two steps, between which streams meet; both steps take whole clips.

    `forward(maps)` runs the stage up to the unit number `entered`. `forward(maps, branch)` goes on from there: the
    branch of that unit reads `branch`, its skip connection `maps`. `over_time` (n, t, c, h, w) -> the same precedes the
    last convolution of that branch; those of its 1×1 convolutions that are a TimeFilter see the whole clip, too. The
    parts keep their names, so that weights of the whole stage fit.
    """

    over_clip = True

    def __init__(self, stage: nn.Sequential, entered: int, over_time: nn.Module) -> None:
        super().__init__()
        for name, part in stage.named_children():
            self.add_module(name, part)
        self.entered = entered
        self.over_time = over_time

    def forward(
        self, maps: Float[Tensor, "n t c h w"], branch: Float[Tensor, "n t c h w"] | None = None
    ) -> Float[Tensor, "n t d g v"]:
        time, x = maps.shape[:2], maps.flatten(0, 1)
        parts: list[Any] = [part for part in self.children() if part is not self.over_time]
        if branch is None:
            rest = parts[: self.entered]
        else:
            x = self.unit(parts[self.entered], x, branch)
            rest = parts[self.entered + 1 :]
        for part in rest:
            x = part(x)
        return x.unflatten(0, time)

    def unit(
        self, unit: Any, x: Float[Tensor, "m c h w"], branch: Float[Tensor, "n t c h w"]
    ) -> Float[Tensor, "m d g v"]:
        """Returns relu(x + F(branch)), for the units of torchvision: BasicBlock and Bottleneck."""
        time = branch.shape[:2]
        y = unit.relu(unit.bn1(convolved(unit.conv1, branch.flatten(0, 1), time)))
        if has_three := hasattr(unit, "conv3"):
            y = unit.relu(unit.bn2(unit.conv2(y)))
        y = self.over_time(y.unflatten(0, time)).flatten(0, 1)
        y = unit.bn3(convolved(unit.conv3, y, time)) if has_three else unit.bn2(unit.conv2(y))
        return unit.relu(y + (x if unit.downsample is None else unit.downsample(x)))


def convolved(convolution: nn.Module, frames: Float[Tensor, "m c h w"], time: torch.Size) -> Float[Tensor, "m d g v"]:
    """Returns frames behind a convolution; one that is a TimeFilter is given the clips, `time` = (n, t)."""
    if isinstance(convolution, TimeFilter):
        return convolution(frames.unflatten(0, time)).flatten(0, 1)
    return convolution(frames)


class TimeFilter(nn.Module):
    """Convolves each position of a map over three frames, with zeros before and after; starts as the identity.

    It has no bias: batch normalisation follows in each unit. `TimeFilter.of` starts otherwise.
    """

    def __init__(self, channels: int, out_channels: int | None = None) -> None:
        super().__init__()
        out = channels if out_channels is None else out_channels
        self.conv = nn.Conv2d(channels, out, kernel_size=(3, 1), padding=(1, 0), bias=False)  # over (t, positions)
        nn.init.zeros_(self.conv.weight)
        if out_channels is None:
            with torch.no_grad():
                self.conv.weight[range(channels), range(channels), 1, 0] = 1.0

    @classmethod
    def of(cls, flat: nn.Conv2d) -> TimeFilter:
        """Returns a 1×1 convolution as a filter over three frames that has a third of its weights at each of them.

        It computes the same of a frame that repeats before and after. So begins ST-ResNet (Feichtenhofer et al., NIPS
        2016), as its authors' script has it.
        """
        made = cls(flat.in_channels, flat.out_channels).to(flat.weight)
        with torch.no_grad():
            made.conv.weight.copy_((flat.weight / 3).expand_as(made.conv.weight))
        return made

    def forward(self, maps: Float[Tensor, "n t c h w"]) -> Float[Tensor, "n t d h w"]:
        size = maps.shape[3:]
        return self.conv(maps.transpose(1, 2).flatten(3)).unflatten(3, size).transpose(1, 2)
