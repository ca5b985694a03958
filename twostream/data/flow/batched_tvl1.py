"""Dual TV-L1 of many pairs side by side, in PyTorch: for a GPU, for which OpenCV's packages have no TV-L1.

Zach, Pock and Bischof 2007, in the order of OpenCV's operations, so that both give the same fields but for rounding.
Over the warps and levels TV-L1 enlarges differences of rounding: docs/flow.md has the distances.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32, UInt8
from torch import Tensor

if TYPE_CHECKING:
    from twostream.data.flow.opencv import TVL1

SMALLEST = 16  # pixels; a pyramid level with a shorter side is left out
MARGIN = 4  # pixels of 0 around an image, so that whatever leads outside reads 0
TINY = 1.1920929e-07  # of 32-bit numbers: where the squared slope is smaller, brightness says nothing

Planes = Float32[Tensor, "n h w"]


@torch.inference_mode()
def compute_pairs(
    pairs: Sequence[tuple[UInt8[np.ndarray, "h w"], UInt8[np.ndarray, "h w"]]], options: TVL1, device: str
) -> list[Float32[np.ndarray, "h w 2"]]:
    """Returns the field of each pair. Each stops to iterate on its own, so its field is that which it has alone."""
    one, other = (torch.from_numpy(np.stack(side)).to(device).float() for side in zip(*pairs, strict=True))
    return [*through_pyramid(one, other, options).permute(0, 2, 3, 1).contiguous().cpu().numpy()]


def through_pyramid(one: Planes, other: Planes, options: TVL1) -> Float32[Tensor, "n 2 h w"]:
    """Returns the motion from `one` to `other`, from the coarsest level of the pyramid to the finest."""
    levels = [torch.cat([one, other])]
    while len(levels) < options.scales:
        height, width = (int(np.rint(side * options.scale_step)) for side in levels[-1].shape[1:])
        if min(height, width) < SMALLEST:
            break
        levels.append(resized(levels[-1], height, width, 1 / options.scale_step))
    n = len(one)
    u = torch.zeros_like(levels[-1])  # u of all pairs, then v
    for level in reversed(range(len(levels))):
        u = one_scale(levels[level][:n], levels[level][n:], u, options)
        if level:
            u = resized(u, *levels[level - 1].shape[1:]) / options.scale_step
    return u.unflatten(0, (2, n)).movedim(0, 1)


def one_scale(one: Planes, other: Planes, u: Float32[Tensor, "2n h w"], options: TVL1) -> Float32[Tensor, "2n h w"]:
    """Returns the motion at one level of the pyramid, beginning with `u`."""
    n, height, width = one.shape
    threshold, step = options.attachment * options.theta, options.tau / options.theta
    limit = options.epsilon**2 * height * width
    on_cpu = one.device.type == "cpu"
    sources = torch.stack([other, *centred_gradient(other)], dim=1)
    p = u.new_zeros(2, *u.shape)  # dual variables of u and v: in x, in y
    for _ in range(options.warps):
        warped, *slopes = warp(sources, u.view(2, n, height, width)).unbind(1)
        slope = torch.cat(slopes)  # in x for u, in y for v
        steepness = slopes[0] * slopes[0] + slopes[1] * slopes[1]
        rest = warped - slopes[0] * u[:n] - slopes[1] * u[n:] - one
        active = torch.ones(n, dtype=torch.bool, device=u.device)
        for _ in range(options.outer_iterations):
            if not active.any():  # waits for the device
                break
            u = torch.where(active.repeat(2)[:, None, None], median(u, options.median), u)
            for _ in range(options.inner_iterations):
                rho = rest + (slopes[0] * u[:n] + slopes[1] * u[n:])
                share = (-rho / steepness.clamp_min(TINY)).clamp(-threshold, threshold)
                share = torch.where((steepness > TINY) | (rho.abs() > threshold * steepness), share, 0)
                new = u + share.repeat(2, 1, 1) * slope + options.theta * divergence(*p)
                change = (new - u).square().view(2, n, -1).sum((0, 2))
                gradient = torch.stack(forward_gradient(new))
                norm = 1 + step * torch.hypot(*gradient)
                keep = active.repeat(2)[:, None, None]
                u, p = torch.where(keep, new, u), torch.where(keep, (p + step * gradient) / norm, p)
                active = active & (change > limit)
                if on_cpu and not active.any():  # on a GPU, looking costs more than iterating
                    break
    return u


def centred_gradient(image: Planes) -> tuple[Planes, Planes]:
    """Returns half the difference of the neighbours in x and in y; the image goes on as at its border."""
    padded = F.pad(image[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    return (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / 2, (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) / 2


def forward_gradient(image: Planes) -> tuple[Planes, Planes]:
    """Returns the difference to the next pixel in x and in y; 0 at the last."""
    return F.pad(image.diff(dim=2), (0, 1)), F.pad(image.diff(dim=1), (0, 0, 0, 1))


def divergence(x: Planes, y: Planes) -> Planes:
    """Returns the divergence: differences to the pixel before, in x and in y; before the first there is 0."""
    return (x - F.pad(x[:, :, :-1], (1, 0))) + (y - F.pad(y[:, :-1], (0, 0, 1, 0)))


def warp(images: Float32[Tensor, "n c h w"], u: Float32[Tensor, "2 n h w"]) -> Float32[Tensor, "n c h w"]:
    """Reads the images where the motion `u` leads, by cubic interpolation; outside is 0.

    `grid_sample` takes places as parts of the image, which is too coarse: TV-L1 repeats its errors and enlarges them.
    """
    n, c, height, width = images.shape
    padded = F.pad(images, (MARGIN,) * 4).flatten(2)
    taps, weights = [], []
    for first, motion, length in ((torch.arange(height, device=u.device)[:, None], u[1], height),
                                  (torch.arange(width, device=u.device), u[0], width)):  # fmt: skip
        place = first + motion
        before = place.floor()
        weights.append(cubic(place - before))
        taps.append(before.clamp(1 - MARGIN, length + MARGIN - 3).long() + MARGIN - 1)
    rows, columns = taps
    found = torch.zeros_like(images)
    for y in range(4):
        line = torch.zeros_like(images)
        for x in range(4):
            index = ((rows + y) * (width + 2 * MARGIN) + columns + x).view(n, 1, -1).expand(-1, c, -1)
            line += padded.gather(2, index).view_as(images) * weights[1][x][:, None]
        found += line * weights[0][y][:, None]
    return found


def cubic(share: Planes) -> Float32[Tensor, "4 n h w"]:
    """Returns the weights of four neighbours in a row for a place that is `share` behind the second (Keys 1981)."""
    a = -0.75
    before, after = share + 1, 1 - share
    outer = ((a * before - 5 * a) * before + 8 * a) * before - 4 * a
    inner = ((a + 2) * share - (a + 3)) * share * share + 1
    inner_after = ((a + 2) * after - (a + 3)) * after * after + 1
    return torch.stack([outer, inner, inner_after, 1 - outer - inner - inner_after])


def median(image: Planes, side: int) -> Planes:
    """Returns the median of the `side` x `side` neighbourhood of each pixel; the image goes on as at its border."""
    if side == 1:
        return image
    margin = side // 2
    padded = F.pad(image[:, None], (margin,) * 4, mode="replicate")
    height, width = image.shape[1:]
    near = [padded[:, 0, y : y + height, x : x + width] for y in range(side) for x in range(side)]
    return torch.stack(near, dim=-1).median(dim=-1).values


def resized(image: Planes, height: int, width: int, scale: float | None = None) -> Planes:
    """Returns the image at another size, by linear interpolation without smoothing, as OpenCV's `resize` does.

    `scale`: pixels of the image for one of the result; None: as the sizes say.
    """
    rows = linear_weights(image.shape[1], height, scale).to(image)
    columns = linear_weights(image.shape[2], width, scale).to(image)
    return rows @ image @ columns.T


@lru_cache(maxsize=64)
def linear_weights(length: int, wanted: int, scale: float | None = None) -> Float32[Tensor, "w l"]:
    """Returns the share of each of `length` pixels in each of the `wanted` ones.

    >>> linear_weights(4, 2).tolist()
    [[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]
    """
    places = (np.arange(wanted) + 0.5) * (length / wanted if scale is None else scale) - 0.5
    places = places.clip(0, length - 1)
    before = np.floor(places).astype(int)
    weights = np.zeros((wanted, length), np.float32)
    share = (places - before).astype(np.float32)
    np.add.at(weights, (np.arange(wanted), before), 1 - share)
    np.add.at(weights, (np.arange(wanted), np.minimum(before + 1, length - 1)), share)
    return torch.from_numpy(weights)
