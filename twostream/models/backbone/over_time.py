"""Stages that see whole clips, and 2-D networks inflated to such (Carreira & Zisserman 2017)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from twostream.models.backbone.base import Backbone
from twostream.models.bilinear import at_least_float32, without_autocast

HALVE_TIME = ("conv1", "conv4", "conv5")  # of an inflated network, as in I3D


class ClipStage(nn.Sequential):
    """A stage of layers that work on (n, c, t, h, w)."""

    over_clip = True

    def forward(self, input: Float[Tensor, "n t c h w"]) -> Float[Tensor, "n r d g v"]:
        return filtered(super().forward, input.transpose(1, 2)).transpose(1, 2)


def filtered(layers: Callable[[Tensor], Tensor], maps: Tensor) -> Tensor:
    """Returns the maps after layers with 3-D filters; on a CPU under autocast in float32.

    PyTorch's bfloat16 gradients of 3-D filters are wrong there (see `twostream.models.temporal.Conv3d`).
    """
    if maps.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return layers(maps)
    with without_autocast(maps.device):
        return layers(at_least_float32(maps))


class InflatedConv(nn.Conv3d):
    """A k×k convolution as k×k×k, of the same padding; before the first and behind the last frame these are repeated.

    With the filter of the 2-D convolution, divided by k, at each time, it computes the same of a repeated frame.
    """

    def __init__(self, flat: nn.Conv2d, *, time_stride: int) -> None:
        (height, width), (down, right) = flat.kernel_size, flat.stride
        rows, columns = map(int, flat.padding)
        assert (height, flat.groups) == (width, 1)
        super().__init__(
            flat.in_channels,
            flat.out_channels,
            height,
            (time_stride, down, right),
            (0, rows, columns),
            bias=flat.bias is not None,
        )

    def forward(self, input: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n d r g v"]:
        more = self.kernel_size[0] // 2
        if more:  # not F.pad, whose gradient differs from run to run on a GPU
            input = torch.cat([input[:, :, :1]] * more + [input] + [input[:, :, -1:]] * more, 2)
        return super().forward(input)


def inflate(backbone: Backbone) -> None:
    """Makes the conv stages of a 2-D network on the meta device see clips, in place; names of tensors stay.

    k×k filters become k×k×k (see `InflatedConv`). Where conv1, conv4 and conv5 halve height and width, they halve time,
    too. Max pools of other stages that do so stay 1×k×k; all others become k×k×k.
    """
    for name in [name for name in backbone.stages if name.startswith("conv")]:
        stage = backbone.stages[name]
        _inflate_layers(stage, halve=name in HALVE_TIME)
        backbone.stages[name] = ClipStage(OrderedDict(stage.named_children()))


def _inflate_layers(module: nn.Module, *, halve: bool) -> None:
    for name, layer in module.named_children():
        if isinstance(layer, nn.Conv2d):
            new: nn.Module = InflatedConv(layer, time_stride=layer.stride[0] if halve else 1)
        elif isinstance(layer, nn.MaxPool2d):
            new = _inflated_pool(layer, halve=halve)
        elif isinstance(layer, nn.BatchNorm2d):
            new = nn.BatchNorm3d(layer.num_features, layer.eps, layer.momentum)
        else:
            _inflate_layers(layer, halve=halve)
            continue
        setattr(module, name, new)


def _inflated_pool(flat: nn.MaxPool2d, *, halve: bool) -> nn.MaxPool3d:
    side, stride, padding = int(flat.kernel_size), int(flat.stride), int(flat.padding)  # type: ignore[arg-type]
    if stride == 1 or halve:
        return nn.MaxPool3d(side, stride, padding, ceil_mode=flat.ceil_mode)
    return nn.MaxPool3d((1, side, side), (1, stride, stride), (0, padding, padding), ceil_mode=flat.ceil_mode)
