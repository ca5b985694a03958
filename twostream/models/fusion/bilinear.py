"""Fusion by the products of all channel pairs: in full, or as a random sketch of fewer numbers."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from twostream.models.bilinear import (
    TensorSketch,
    at_least_float32,
    bilinear,
    signed_sqrt_l2,
    without_autocast,
)

from .base import Fusion


class BilinearFusion(Fusion):
    """Sums outer products over locations, then takes the signed square root and L2 norm 1; no spatial axes remain.

    B = sum_ij rgb[i,j] flow[i,j]^T (Feichtenhofer et al. 2016, eq. 5; Lin et al. 2015) as one matrix product.
    Computes in float32 also under autocast, because sums of products of ReLU outputs overflow float16.
    """

    keeps_map = False

    def __init__(self, rgb_channels: int, flow_channels: int) -> None:
        super().__init__()
        self.out_channels = rgb_channels * flow_channels

    def forward(self, rgb: Float[Tensor, "n a h w"], flow: Float[Tensor, "n b h w"]) -> Float[Tensor, "n c 1 1"]:
        with without_autocast(rgb.device):
            product = bilinear(at_least_float32(rgb), at_least_float32(flow))
            return signed_sqrt_l2(product.flatten(1)).to(rgb.dtype)[:, :, None, None]


class CompactBilinearFusion(Fusion):
    """Sketches the bilinear product in `dimension` numbers, then takes the signed square root and L2 norm 1.

    Tensor Sketch (Gao et al. 2016), summed over locations; its random bins and signs are drawn from `seed`
    and saved in the state dict. Computes in float32 also under autocast.
    """

    keeps_map = False

    def __init__(self, rgb_channels: int, flow_channels: int, *, dimension: int = 8192, seed: int = 0) -> None:
        super().__init__()
        self.out_channels = dimension
        self.sketch = TensorSketch(rgb_channels, flow_channels, dimension, seed)

    def forward(self, rgb: Float[Tensor, "n a h w"], flow: Float[Tensor, "n b h w"]) -> Float[Tensor, "n c 1 1"]:
        with without_autocast(rgb.device):
            sketch = self.sketch(at_least_float32(rgb), at_least_float32(flow))
            return signed_sqrt_l2(sketch).to(rgb.dtype)[:, :, None, None]
