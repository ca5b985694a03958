"""What towers hand from stage to stage."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Maps(NamedTuple):
    """The maps of a clip, and the tokens of a transformer that belong to no place in them (class token, registers).

    Networks without such tokens have None.
    """

    maps: Float[Tensor, "n t c h w"]
    tokens: Float[Tensor, "n t m c"] | None = None

    def with_map(self, maps: Float[Tensor, "n t c h w"]) -> Maps:
        """Returns other maps beside the same tokens."""
        return self._replace(maps=maps)


def equal_times(*maps: Float[Tensor, "n _ _ _ _"]) -> list[Float[Tensor, "n r _ _ _"]]:
    """Returns maps (n, t, c, h, w) with as many frames as the shortest of them, each the mean of its part of time.

    Part i of r out of t frames is floor(i t / r) … ceil((i + 1) t / r) - 1, as in adaptive average pooling. Maps of
    equal length pass unchanged.

    >>> long, short = equal_times(torch.tensor([1.0, 3, 5, 9]).view(1, 4, 1, 1, 1), torch.zeros(1, 2, 1, 1, 1))
    >>> long.flatten().tolist()
    [2.0, 7.0]
    """
    fewest = min(one.shape[1] for one in maps)
    return [shortened(one, fewest) for one in maps]


def shortened(maps: Float[Tensor, "n t c h w"], frames: int) -> Float[Tensor, "n r c h w"]:
    """Returns maps of `frames` frames, means over parts of time; see `equal_times`."""
    if maps.shape[1] == frames:
        return maps
    before = maps.shape[1]
    parts = [(i * before // frames, -(-(i + 1) * before // frames)) for i in range(frames)]
    return torch.stack([maps[:, begin:end].mean(1) for begin, end in parts], 1)
