"""Two maps of unequal height and width -> two of equal ones, before they are fused."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Shape = tuple[int, int, int]  # channels, height, width of a stream's map at training size


class ZeroPadAlign(nn.Module):
    """Zero rows at the bottom and zero columns at the right of the smaller map; their gradient is dropped."""

    def __init__(self, rgb_shape: Shape | None = None, flow_shape: Shape | None = None) -> None:
        super().__init__()  # takes the shapes only to be built like its sibling: it fits any sizes

    def forward(
        self, rgb: Float[Tensor, "n a h1 w1"], flow: Float[Tensor, "n b h2 w2"]
    ) -> tuple[Float[Tensor, "n a h w"], Float[Tensor, "n b h w"]]:
        height, width = (max(sides) for sides in zip(rgb.shape[2:], flow.shape[2:], strict=True))
        rgb, flow = (F.pad(x, (0, width - x.shape[3], 0, height - x.shape[2])) for x in (rgb, flow))
        return rgb, flow


class UpconvAlign(nn.Module):
    """A learned transposed convolution ("upconvolutional layer") of the smaller map up to the larger one.

    Per axis, for sides small -> large: stride s = large // small, padding s // 2, and the kernel that reaches
    `large` exactly: 13 -> 14 has s = 1, kernel 2; 14 -> 28 has s = 2, kernel 4. The map's edges are repeated
    outwards as far as the kernel looks. So it starts as bilinear interpolation at s times the resolution, border
    included, both maps having the same centre: where large = s · small that of `F.interpolate`
    (align_corners=False), else with further repeated cells around. Each channel on its own, bias 0; a map of ones
    stays one. At other input sizes a remainder is zero-padded, at the bottom and right. Maps that are equal already
    pass unchanged. ValueError where neither map is the smaller.
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
    """Repeated edges and a transposed convolution, from maps of size `small` to `large`, bilinear at the start."""
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
    """Kernel and stride that take one axis from `small` to `large` cells with padding stride // 2.

    >>> reach(13, 14), reach(14, 28), reach(13, 28)
    ((2, 1), (4, 2), (6, 2))
    """
    stride = large // small
    return large - (small - 1) * stride + 2 * (stride // 2), stride


def edge(kernel: int, stride: int) -> int:
    """How many cells outside of the map the outermost result lies between, at the start.

    >>> edge(2, 1), edge(4, 2), edge(6, 2), edge(1, 1)
    (1, 1, 1, 0)
    """
    outside = (kernel - 1) / 2 - stride // 2  # results before that of the first cell's centre
    return max(0, math.ceil(outside / stride))


def triangle(kernel: int, stride: int) -> Float[Tensor, " kernel"]:
    """Linear interpolation: 1 at the centre of the kernel, 0 from `stride` cells away.

    >>> triangle(4, 2).tolist()
    [0.25, 0.75, 0.75, 0.25]
    """
    distance = torch.arange(kernel) - (kernel - 1) / 2
    return (1 - distance.abs() / stride).clamp(min=0)
