"""Makes two maps equal, so that they can be fused: in height and width, and if wanted in channels."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Shape = tuple[int, int, int]  # channels, height, width of a stream's map at training size


class Align(nn.Module):
    """Base of alignments: `Align(rgb_shape, flow_shape)` makes two maps (n, c, h, w) equal in height and width.

    `out_channels` are those of both aligned maps. With `channels="project"`, a learned 1×1 convolution first gives the
    second map as many channels as the first; nothing is learned where it has them. It starts random (normal, He et al.
    2015, eq. 7), for no channel of one network belongs to one of another; without the 2 for a ReLU, since none follows:
    so the map keeps its mean square, and with it its weight beside the first. The bias starts at 0. Raises ValueError
    for other `channels`.
    """

    def __init__(self, rgb_shape: Shape, flow_shape: Shape, channels: str = "equal") -> None:
        super().__init__()
        if channels not in ("equal", "project"):
            raise ValueError(f"channels={channels!r}: choose from equal, project")
        first, second = rgb_shape[0], flow_shape[0]
        self.project: nn.Module = nn.Identity()
        if channels == "project" and first != second:
            self.project = projection(second, first)
            second = first
        self.out_channels = (first, second)


class ZeroPadAlign(Align):
    """Pads the smaller map with zero rows at the bottom and zero columns at the right, which get no gradient.

    `channels`: see Align.
    """

    def forward(
        self, rgb: Float[Tensor, "n a h1 w1"], flow: Float[Tensor, "n b h2 w2"]
    ) -> tuple[Float[Tensor, "n a h w"], Float[Tensor, "n d h w"]]:
        return zero_pad(rgb, self.project(flow))


class UpconvAlign(Align):
    """Enlarges the smaller map to the size of the larger by a learned transposed convolution ("upconvolutional layer").

    On each axis, from `small` to `large` cells, the stride is s = large // small, the padding s // 2, and the kernel is
    the one that gives `large` exactly: 13 -> 14 has s = 1, kernel 2; 14 -> 28 has s = 2, kernel 4. Before that the
    map's edges are repeated outwards as far as the kernel reaches.

    So the layer starts as bilinear interpolation at s times the resolution, border included, with both maps centred: if
    large = s · small, as in `F.interpolate` (align_corners=False), otherwise with further repeated cells around. At
    first each channel is interpolated by itself, the bias is 0, and a map of ones stays a map of ones.

    At other input sizes than in training, a remainder is zero-padded at the bottom and right. Maps of equal size pass
    unchanged. `channels`: see Align. Raises ValueError if each map is the smaller one on one axis.
    """

    def __init__(self, rgb_shape: Shape, flow_shape: Shape, channels: str = "equal") -> None:
        super().__init__(rgb_shape, flow_shape, channels)
        self.upconv_rgb: nn.Module = nn.Identity()
        self.upconv_flow: nn.Module = nn.Identity()
        rgb_size, flow_size = rgb_shape[1:], flow_shape[1:]
        if rgb_size == flow_size:
            return
        if all(a <= b for a, b in zip(rgb_size, flow_size, strict=True)):
            self.upconv_rgb = upconvolution(self.out_channels[0], rgb_size, flow_size)
        elif all(a >= b for a, b in zip(rgb_size, flow_size, strict=True)):
            self.upconv_flow = upconvolution(self.out_channels[1], flow_size, rgb_size)
        else:
            raise ValueError(
                f"maps of {rgb_size} (rgb) and {flow_size} (flow): each is the smaller one on one axis; "
                "choose align=zero_pad"
            )

    def forward(
        self, rgb: Float[Tensor, "n a h1 w1"], flow: Float[Tensor, "n b h2 w2"]
    ) -> tuple[Float[Tensor, "n a h w"], Float[Tensor, "n d h w"]]:
        return zero_pad(self.upconv_rgb(rgb), self.upconv_flow(self.project(flow)))


def projection(channels: int, out_channels: int) -> nn.Conv2d:
    """Returns the 1×1 convolution of `Align`."""
    convolution = nn.Conv2d(channels, out_channels, kernel_size=1)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="linear")
    nn.init.zeros_(convolution.get_parameter("bias"))
    return convolution


def zero_pad(
    rgb: Float[Tensor, "n a h1 w1"], flow: Float[Tensor, "n b h2 w2"]
) -> tuple[Float[Tensor, "n a h w"], Float[Tensor, "n b h w"]]:
    """Returns both maps with zeros at the bottom and right, up to the larger height and the larger width."""
    height, width = (max(sides) for sides in zip(rgb.shape[2:], flow.shape[2:], strict=True))
    rgb, flow = (F.pad(x, (0, width - x.shape[3], 0, height - x.shape[2])) for x in (rgb, flow))
    return rgb, flow


def upconvolution(channels: int, small: tuple[int, int], large: tuple[int, int]) -> nn.Sequential:
    """Returns layers that repeat edges and then convolve maps of size `small` to `large`; bilinear at first."""
    (kernel_h, stride_h), (kernel_w, stride_w) = (reach(*sides) for sides in zip(small, large, strict=True))
    edge_h, edge_w = edge(kernel_h, stride_h), edge(kernel_w, stride_w)
    upconv = nn.ConvTranspose2d(
        channels,
        channels,
        kernel_size=(kernel_h, kernel_w),
        stride=(stride_h, stride_w),
        padding=(stride_h // 2 + stride_h * edge_h, stride_w // 2 + stride_w * edge_w),
    )
    nn.init.zeros_(upconv.weight)
    nn.init.zeros_(upconv.get_parameter("bias"))
    with torch.no_grad():
        bilinear = triangle(kernel_h, stride_h)[:, None] * triangle(kernel_w, stride_w)
        upconv.weight[range(channels), range(channels)] = bilinear
    return nn.Sequential(nn.ReplicationPad2d((edge_w, edge_w, edge_h, edge_h)), upconv)


def reach(small: int, large: int) -> tuple[int, int]:
    """Returns (kernel, stride) that take one axis from `small` to `large` cells with padding stride // 2.

    >>> reach(13, 14), reach(14, 28), reach(13, 28)
    ((2, 1), (4, 2), (6, 2))
    """
    stride = large // small
    return large - (small - 1) * stride + 2 * (stride // 2), stride


def edge(kernel: int, stride: int) -> int:
    """Returns how many cells the map's edge has to be repeated, so that every result lies between two cells.

    >>> edge(2, 1), edge(4, 2), edge(6, 2), edge(1, 1)
    (1, 1, 1, 0)
    """
    outside = (kernel - 1) / 2 - stride // 2  # number of results before that at the first cell's centre
    return max(0, math.ceil(outside / stride))


def triangle(kernel: int, stride: int) -> Float[Tensor, " kernel"]:
    """Returns the kernel of linear interpolation: 1 at its centre, falling to 0 at `stride` cells from there.

    >>> triangle(4, 2).tolist()
    [0.25, 0.75, 0.75, 0.25]
    """
    distance = torch.arange(kernel) - (kernel - 1) / 2
    return (1 - distance.abs() / stride).clamp(min=0)
