"""Attention layers: each weights a map anew and keeps its shape (`attention=<option>`; `none` is torch.nn.Identity).

All are built as `Attention(channels)` and take maps (n, c, h, w) or, with time, (n, c, t, h, w).
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["NonLocal", "SelfAttention", "SqueezeExcitation"]

Mode = Literal["embedded_gaussian", "gaussian", "dot_product", "concatenation"]


class SqueezeExcitation(nn.Module):
    """y = x * sigmoid(W2 relu(W1 GAP(x))), one weight in (0, 1) per channel (Hu et al. 2018, eq. 2 to 4).

    W1 is (c / reduction, c), with at least one row; `bias` adds a bias to both matrices (the paper's text has none).
    """

    def __init__(self, channels: int, reduction: int = 16, *, bias: bool = True) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.reduce = nn.Linear(channels, hidden, bias=bias)
        self.expand = nn.Linear(hidden, channels, bias=bias)

    def forward(self, x: Float[Tensor, "n c *size"]) -> Float[Tensor, "n c *size"]:
        gate = self.expand(self.reduce(x.flatten(2).mean(dim=2)).relu()).sigmoid()
        return x * gate.unflatten(1, (-1,) + (1,) * (x.dim() - 2))


class SelfAttention(nn.Module):
    """y = gamma * o + x; o_j = sum_i beta_ji value(x_i), beta_ji = softmax over i of key(x_i) . query(x_j).

    SAGAN (Zhang et al. 2019, eq. 1 to 3): keys f and queries g have c / 8 channels (at least one), values h have
    c channels. The scalar gamma starts at 0, so that the layer starts as the identity.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(1, channels // 8)
        self.key = nn.Linear(channels, inner)
        self.query = nn.Linear(channels, inner)
        self.value = nn.Linear(channels, channels)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Float[Tensor, "n c *size"]) -> Float[Tensor, "n c *size"]:
        flat = x.flatten(2).mT  # (n, p, c): a 1 x 1 convolution is a Linear of every position
        attended = attend(self.query(flat), self.key(flat), self.value(flat))
        return x + self.gamma * attended.mT.reshape(x.shape)


class NonLocal(nn.Module):
    """z = W y + x; y_i = sum_j f(x_i, x_j) g(x_j) / C over all positions j (Wang et al. 2018, eq. 1 and 6).

    theta, phi and g map c to c / 2 channels (at least one); there are N positions j. f / C by `mode`:
    `embedded_gaussian` softmax over j of theta_i . phi_j;  `gaussian` softmax over j of x_i . x_j;
    `dot_product` theta_i . phi_j / N;  `concatenation` relu(w . [theta_i, phi_j]) / N.

    `subsample`: phi and g are max pooled 2 x 2 in space, so that there are fewer positions j. `scale`: logits are
    divided by the root of their number of channels, which the paper does not do; only for the softmax modes.
    `batch_norm`: a batch norm follows W. W (with `batch_norm` its gamma) starts at 0, so that the layer starts as the
    identity.

    Raises ValueError for an unknown mode, and for `scale` in a mode without softmax.
    """

    def __init__(
        self,
        channels: int,
        *,
        mode: Mode = "embedded_gaussian",
        subsample: bool = False,
        scale: bool = False,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        if mode not in get_args(Mode):
            raise ValueError(f"mode={mode!r}: no such pairwise function; choose from {', '.join(get_args(Mode))}")
        if scale and mode in ("dot_product", "concatenation"):
            raise ValueError(f"scale=True: mode={mode!r} has no softmax; choose scale=False")
        inner = max(1, channels // 2)
        self.mode: Mode = mode
        self.subsample = subsample
        self.scale = (channels if mode == "gaussian" else inner) ** -0.5 if scale else 1.0
        self.theta, self.phi = (nn.Identity() if mode == "gaussian" else nn.Linear(channels, inner) for _ in range(2))
        self.g = nn.Linear(channels, inner)
        if mode == "concatenation":
            self.pair = nn.Parameter(torch.empty(2, inner).normal_(std=(2 * inner) ** -0.5))  # w, in two halves
        self.out = nn.Linear(inner, channels)
        self.norm = nn.BatchNorm1d(channels) if batch_norm else nn.Identity()
        for parameter in (self.norm if batch_norm else self.out).parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Float[Tensor, "n c *size"]) -> Float[Tensor, "n c *size"]:
        flat = x.flatten(2).mT  # (n, p, c): a 1 x 1 x 1 convolution is a Linear of every position
        theta, phi, g = self.theta(flat), self.phi(flat), self.g(flat)
        if self.subsample:
            phi, g = (pool_space(y, x.shape[2:]) for y in (phi, g))
        y = self.out(self.weigh(theta, phi, g)).mT  # (n, c, p)
        return x + self.norm(y).reshape(x.shape)

    def weigh(
        self, theta: Float[Tensor, "n p a"], phi: Float[Tensor, "n q a"], g: Float[Tensor, "n q b"]
    ) -> Float[Tensor, "n p b"]:
        """Returns y: for each position p the sum of g over the positions q, with the weights of `mode`."""
        positions = g.shape[1]
        if self.mode == "dot_product":  # (theta phi^T) g without the matrix of p x q weights
            return theta @ (phi.mT @ (g / positions))
        if self.mode == "concatenation":
            weights = F.relu((theta @ self.pair[0])[:, :, None] + (phi @ self.pair[1])[:, None])
            return weights @ (g / positions)
        return attend(theta, phi, g, self.scale)


def attend(
    query: Float[Tensor, "n p a"], key: Float[Tensor, "n q a"], value: Float[Tensor, "n q b"], scale: float = 1.0
) -> Float[Tensor, "n p b"]:
    """Returns softmax(query key^T * scale) value, with the softmax over the positions q."""
    query, key, value = (y[:, None] for y in (query, key, value))  # one head
    return F.scaled_dot_product_attention(query, key, value, scale=scale)[:, 0]


def pool_space(y: Float[Tensor, "n p c"], size: torch.Size) -> Float[Tensor, "n q c"]:
    """Max pools flattened maps 2 x 2 in space; no cell is left out. `size` is (h, w) or (t, h, w)."""
    frames = y.mT.unflatten(2, (-1, *size[-2:]))  # (n, c, t, h, w), with t = 1 for (h, w)
    return F.max_pool3d(frames, kernel_size=(1, 2, 2), ceil_mode=True).flatten(2).mT
