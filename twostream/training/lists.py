"""Operations on lists of tensors: one call for all, where calls for each would keep a device waiting for the host."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


def by_type(*lists: Iterable[Tensor]) -> list[tuple[list[Tensor], ...]]:
    """Splits lists of equal length into such of one type of numbers each, for which there are fast operations.

    >>> one, two = torch.zeros(1), torch.zeros(1, dtype=torch.int64)
    >>> [[len(part) for part in parts] for parts in by_type([one, two, one], [one, two, one])]
    [[2, 2], [1, 1]]
    """
    found: dict[torch.dtype, list[tuple[Tensor, ...]]] = defaultdict(list)
    for side_by_side in zip(*lists, strict=True):
        found[side_by_side[0].dtype].append(side_by_side)
    return [tuple(map(list, zip(*group, strict=True))) for group in found.values()]


@torch.no_grad()
def copy_all(into: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    """Copies each of `values` into its tensor of `into`."""
    for targets, sources in by_type(into, values):
        torch._foreach_copy_(targets, sources)
