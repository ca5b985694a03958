"""k-means, which finds the initial centres of VLAD layers from training descriptors."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


@torch.no_grad()
def k_means(
    descriptors: Float[Tensor, "m d"], clusters: int, *, iterations: int = 100, seed: int = 0
) -> Float[Tensor, "k d"]:
    """Returns centres: k-means++ (Arthur & Vassilvitskii 2007), then Lloyd's iteration until no assignment changes.

    There are at most `iterations`. The same seed gives the same centres. Raises ValueError if there are fewer
    distinct descriptors than clusters.
    """
    centres = _seed_centres(descriptors, clusters, torch.Generator().manual_seed(seed))
    assigned = None
    for _ in range(iterations):
        nearest = torch.cdist(descriptors, centres).argmin(1)
        if assigned is not None and torch.equal(nearest, assigned):
            break
        assigned = nearest
        counts = torch.bincount(assigned, minlength=clusters)[:, None]
        sums = torch.zeros_like(centres).index_add_(0, assigned, descriptors)
        centres = torch.where(counts > 0, sums / counts.clamp(min=1), centres)  # an empty cluster keeps its centre
    return centres


def _seed_centres(descriptors: Float[Tensor, "m d"], clusters: int, random: torch.Generator) -> Float[Tensor, "k d"]:
    """Draws centres by k-means++: a descriptor's chance is its squared distance from the nearest centre so far."""
    chosen = [int(torch.randint(len(descriptors), (1,), generator=random))] if len(descriptors) else []
    distance = torch.full((len(descriptors),), torch.inf, device=descriptors.device, dtype=descriptors.dtype)
    while len(chosen) < clusters:
        if chosen:
            distance = torch.minimum(distance, (descriptors - descriptors[chosen[-1]]).square().sum(1))
        if not distance.any():
            distinct = f"{len(chosen)} distinct descriptors among {len(descriptors)}"
            raise ValueError(f"clusters={clusters}: only {distinct}; collect more")
        chosen.append(int(torch.multinomial(distance.cpu(), 1, generator=random)))
    return descriptors[chosen]
