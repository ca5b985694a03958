"""Fusion by attention: positions of one stream look at all positions of the other."""

from __future__ import annotations

from typing import Literal, get_args

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from .base import Fusion, require_equal_channels

Queries = Literal["both", "first", "second"]


class CrossAttentionFusion(Fusion):
    """y = rgb + flow + attention(rgb, flow) + attention(flow, rgb): each position of one stream asks the other stream.

    attention(x, z) = W softmax(Q K^T / sqrt(d)) V, with queries Q of x, keys K and values V of z (Vaswani et al. 2017,
    eq. 1), by `heads` heads with queries, keys and values of d = `dimension` numbers each. Queries of one stream, and
    keys and values of another: the co-attention of Lu et al., "ViLBERT", NeurIPS 2019 (arXiv 1908.02265, section 3.1).
    Attention is within each frame and does not know where a position lies. `queries` says which stream asks: `both`,
    or only the `first` or the `second`; then the other attention is left out.

    W and its bias start at 0, so that training starts as sum fusion, exactly; the gradient reaches W at the first step
    and the others from the second on. Raises ValueError for unequal channels, and for other `queries`.
    """

    compares_positions = True

    def __init__(
        self,
        rgb_channels: int,
        flow_channels: int,
        *,
        queries: Queries = "both",
        heads: int = 4,
        dimension: int = 32,
    ) -> None:
        super().__init__()
        if queries not in get_args(Queries):
            raise ValueError(f"queries={queries!r}: choose from {', '.join(get_args(Queries))}")
        require_equal_channels("CrossAttentionFusion", rgb_channels, flow_channels)
        self.out_channels = rgb_channels
        self.asking = nn.ModuleDict(
            {
                name: CrossAttention(rgb_channels, heads, dimension)
                for name in ("first", "second")
                if queries in ("both", name)
            }
        )

    def forward(self, rgb: Float[Tensor, "n c h w"], flow: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        fused = rgb + flow
        for name, attention in self.asking.items():
            fused = fused + (attention(rgb, flow) if name == "first" else attention(flow, rgb))
        return fused


class CrossAttention(nn.Module):
    """Attention of all positions of one map to those of another; its last layer starts at 0."""

    def __init__(self, channels: int, heads: int, dimension: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(channels, heads * dimension, bias=False)  # a bias of keys would change nothing
        self.key_value = nn.Linear(channels, 2 * heads * dimension, bias=False)
        self.out = nn.Linear(heads * dimension, channels)
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, asking: Float[Tensor, "n c h w"], asked: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        flat, other = asking.flatten(2).mT, asked.flatten(2).mT  # (n, p, c)
        query, key, value = (
            y.unflatten(2, (self.heads, -1)).transpose(1, 2)  # (n, heads, p, d)
            for y in (self.query(flat), *self.key_value(other).chunk(2, dim=2))
        )
        attended = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        return self.out(attended).mT.reshape(asking.shape)
