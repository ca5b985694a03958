"""Bilinear pooling: in full, and as a random sketch of fewer numbers."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from twostream.models.bilinear import TensorSketch, bilinear, signed_sqrt_l2
from twostream.models.pooling.base import Pooling


class BilinearPool(Pooling):
    """Outer product of each descriptor with itself, summed; signed square root; L2 (Lin et al. 2015).

    (n, c, h, w) -> (n, c^2): 262,144 numbers for c = 512; `CompactBilinear` needs far fewer.
    """

    def __init__(self, channels: int, *, eps: float = 1e-5) -> None:
        super().__init__(channels, channels**2)
        self.eps = eps

    def pool(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        return signed_sqrt_l2(bilinear(x, x).flatten(1), self.eps)


class CompactBilinear(Pooling):
    """`BilinearPool` in `dimension` numbers: Tensor Sketch, signed square root, L2 (Gao et al. 2016)."""

    def __init__(self, channels: int, dimension: int = 8192, *, seed: int = 0, eps: float = 1e-5) -> None:
        super().__init__(channels, dimension)
        self.sketch = TensorSketch(channels, channels, dimension, seed)
        self.eps = eps

    def pool(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        return signed_sqrt_l2(self.sketch(x, x), self.eps)
