"""Pooling by maxima over windows of the map, which are then averaged, joined or added."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from twostream.models.bilinear import l2_normalise
from twostream.models.pooling.base import Pooling


class OverlappingMaxPool(Pooling):
    """Overlapping max pooling (Krizhevsky et al. 2012: kernel 3, stride 2), then the average of its cells.

    The average makes it a vector for every map size. With `ceil_mode` a last window that extends beyond the map
    is kept. A map smaller than the kernel is one window. Raises ValueError unless kernel > stride >= 1.
    """

    def __init__(self, channels: int, kernel: int = 3, stride: int = 2, *, ceil_mode: bool = False) -> None:
        super().__init__(channels)
        if not kernel > stride >= 1:
            raise ValueError(f"kernel={kernel}, stride={stride}: windows overlap if kernel > stride >= 1")
        self.kernel, self.stride, self.ceil_mode = kernel, stride, ceil_mode

    def windows(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c i j"]:
        """Returns the maximum of each window: floor((size - kernel) / stride) + 1 windows a side, or ceil."""
        kernel = [min(self.kernel, size) for size in x.shape[2:]]
        return F.max_pool2d(x, kernel, self.stride, ceil_mode=self.ceil_mode)

    def pool(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c"]:
        return self.windows(x).mean((2, 3))


class SPP(Pooling):
    """Spatial pyramid pooling (He et al. 2014): maxima of b x b bins for each b in `levels`, in one vector.

    Bin k of b along a side of n cells covers floor(k * n / b) up to ceil((k + 1) * n / b), so every map size
    gives exactly b bins that cover it. (n, c, h, w) -> (n, c * sum(b^2)): per b the map (c, b, b), flattened.
    """

    def __init__(self, channels: int, levels: Sequence[int] = (1, 2, 4)) -> None:
        if not levels or min(levels) < 1:
            raise ValueError(f"levels={tuple(levels)}: name the bins per side of each level, 1 or more")
        super().__init__(channels, channels * sum(b * b for b in levels))
        self.levels = tuple(levels)

    def pool(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        pool = bin_by_bin if torch.compiler.is_exporting() else F.adaptive_max_pool2d
        return torch.cat([pool(x, b).flatten(1) for b in self.levels], dim=1)


def bin_by_bin(x: Float[Tensor, "n c h w"], bins: int) -> Float[Tensor, "n c b b"]:
    """Computes F.adaptive_max_pool2d by operations that ONNX has for every map size; slower.

    >>> bin_by_bin(torch.arange(9.0).view(1, 1, 3, 3), 2)
    tensor([[[[4., 5.],
              [7., 8.]]]])
    """
    rows, columns = ([slice(k * n // bins, -(-(k + 1) * n // bins)) for k in range(bins)] for n in x.shape[2:])
    return torch.stack([torch.stack([x[:, :, i, j].amax((2, 3)) for j in columns], -1) for i in rows], -2)


class RMAC(Pooling):
    """Regional maxima (Tolias et al. 2016): maximum of each region -> L2 -> sum over regions -> L2.

    The paper's PCA whitening between the region's norm and the sum is left out: it needs its own training set.
    The whole map is not an additional region (in a square map it is level 1). Raises ValueError for levels < 1 or
    an overlap outside [0, 1).
    """

    def __init__(self, channels: int, levels: int = 3, overlap: float = 0.4) -> None:
        super().__init__(channels)
        if levels < 1 or not 0 <= overlap < 1:
            raise ValueError(f"levels={levels}, overlap={overlap}: needs levels >= 1 and 0 <= overlap < 1")
        self.levels, self.overlap = levels, overlap

    def pool(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c"]:
        regions = rmac_regions(x.shape[2], x.shape[3], self.levels, self.overlap)
        maxima = torch.stack([x[:, :, i : i + size, j : j + size].amax((2, 3)) for i, j, size in regions], dim=1)
        return l2_normalise(l2_normalise(maxima, dim=2).sum(1))


def rmac_regions(height: int, width: int, levels: int = 3, overlap: float = 0.4) -> list[tuple[int, int, int]]:
    """Returns the square regions (top, left, size) of R-MAC's grid, in whole cells; rows top .. top + size - 1.

    Level l has regions of floor(2 * min(height, width) / (l + 1)) cells a side. There are l of them along the short
    side, and more along the long side: as many more as bring the overlap of neighbours at level 1 closest to `overlap`.

    >>> rmac_regions(7, 7, levels=2)
    [(0, 0, 7), (0, 0, 4), (0, 3, 4), (3, 0, 4), (3, 3, 4)]
    """
    short, long = sorted((height, width))
    extra = 0
    if long > short:
        # The paper's formula, in floating point: in a tie (5x9) rounding decides, as in the authors' code.
        steps = {s: (long - short) / (s - 1) for s in range(2, 8)}
        extra = min(steps, key=lambda s: abs((short**2 - short * steps[s]) / short**2 - overlap)) - 1
    regions = []
    for level in range(1, levels + 1):
        size = 2 * short // (level + 1)
        if size:
            tops = region_starts(height, size, level + extra * (height > width))
            lefts = region_starts(width, size, level + extra * (width > height))
            regions += [(top, left, size) for top in tops for left in lefts]
    return regions


def region_starts(length: int, size: int, count: int) -> list[int]:
    """Returns the first cells of `count` windows spread over `length`; in integers, so the last ends at the border."""
    return [k * (length - size) // max(count - 1, 1) for k in range(count)]
