"""Makes the height and width of two maps equal, so that they can be fused."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Shape = tuple[int, int, int]  # channels, height, width of a stream's map at training size


class ZeroPadAlign(nn.Module):
    """Pads the smaller map with zero rows at the bottom and zero columns at the right, which get no gradient."""

    def __init__(self, rgb_shape: Shape | None = None, flow_shape: Shape | None = None) -> None:
        super().__init__()  # fits any sizes; takes the shapes only to be built like UpconvAlign

    def forward(
        self, rgb: Float[Tensor, "n a h1 w1"], flow: Float[Tensor, "n b h2 w2"]
    ) -> tuple[Float[Tensor, "n a h w"], Float[Tensor, "n b h w"]]:
        height, width = (max(sides) for sides in zip(rgb.shape[2:], flow.shape[2:], strict=True))
        rgb, flow = (F.pad(x, (0, width - x.shape[3], 0, height - x.shape[2])) for x in (rgb, flow))
        return rgb, flow


class UpconvAlign(nn.Module):
    """Enlarges the smaller map to the size of the larger by a learned transposed convolution ("upconvolutional layer").

    On each axis, from `small` to `large` cells, the stride is s = large // small, the padding s // 2, and the kernel is
    the one that gives `large` exactly: 13 -> 14 has s = 1, kernel 2; 14 -> 28 has s = 2, kernel 4. Before that the
    map's edges are repeated outwards as far as the kernel reaches.

    So the layer starts as bilinear interpolation at s times the resolution, border included, with both maps centred: if
    large = s · small, as in `F.interpolate` (align_corners=False), otherwise with further repeated cells around. At
    first each channel is interpolated by itself, the bias is 0, and a map of ones stays a map of ones.

    At other input sizes than in training, a remainder is zero-padded at the bottom and right. Maps of equal size pass
    unchanged. Raises ValueError if each map is the smaller one on one axis.
    """

    def __init__(self, rgb_shape: Shape, flow_shape: Shape) -> None:
        super().__init__()
        self.upconv_rgb: nn.Module = nn.Identity()
        self.upconv_flow: nn.Module = nn.Identity()
        self.pad = ZeroPadAlign()
        rgb_size, flow_size = rgb_shape[1:], flow_shape[1:]
        if rgb_size == flow_size:
            return
        if all(a <= b for a, b in zip(rgb_size, flow_size, strict=True)):
            self.upconv_rgb = upconvolution(rgb_shape[0], rgb_size, flow_size)
        elif all(a >= b for a, b in zip(rgb_size, flow_size, strict=True)):
            self.upconv_flow = upconvolution(flow_shape[0], flow_size, rgb_size)
        else:
            raise ValueError(
                f"maps of {rgb_size} (rgb) and {flow_size} (flow): each is the smaller one on one axis; "
                "choose ZeroPadAlign"
            )

    def forward(
        self, rgb: Float[Tensor, "n a h1 w1"], flow: Float[Tensor, "n b h2 w2"]
    ) -> tuple[Float[Tensor, "n a h w"], Float[Tensor, "n b h w"]]:
        return self.pad(self.upconv_rgb(rgb), self.upconv_flow(flow))


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
