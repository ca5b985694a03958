"""Networks of one stream."""

from __future__ import annotations

from jaxtyping import Float, Num
from torch import Tensor, nn

from .tower import LAST_CONV, MakeTemporal, MakeTower, Tower, averaged, check_choice, has_maps, make_temporal


class SingleStreamNetwork(nn.Module):
    """One tower: a baseline for fusion, and the source of its initial weights.

    `tower` makes the tower of `stream`. `forward(first)` takes its frames (n, t, c, h, w) in grey levels, and ignores a
    second argument, so that all networks are called alike; it returns the scores of its one head before softmax,
    (1, n, k); `combine` returns (n, k).

    With `features`, the name of a stage, `forward` also returns what goes on after it, (n, d): the mean of its maps
    over places and frames.
    """

    def __init__(self, stream: str, *, tower: MakeTower, temporal: MakeTemporal) -> None:
        super().__init__()
        built = tower(stream)
        if has_maps(built, temporal):
            channels = built.shapes[LAST_CONV][0]
            built.fuse_over_time(LAST_CONV, make_temporal(temporal, built, channels, channels))
        self.stream, self.streams = stream, (stream,)
        self.add_module(stream, built)  # `rgb.…` or `flow.…`, as in a two-stream network

    def forward(
        self, first: Num[Tensor, "n t c h w"], second: Tensor | None = None, *, features: str = ""
    ) -> Float[Tensor, "1 n k"] | tuple[Float[Tensor, "1 n k"], Float[Tensor, "n d"]]:
        tower: Tower = getattr(self, self.stream)
        maps, found = tower.enter(first), None
        for name in tower.stages:
            maps = tower.over_time(name, tower.stage(name, maps))
            if name == features:
                found = averaged(maps)
        heads = averaged(maps).unsqueeze(0)
        return heads if found is None else (heads, found)

    def combine(self, heads: Float[Tensor, "1 n k"]) -> Float[Tensor, "n k"]:
        """Returns the one score per class that is evaluated."""
        return heads[0]

    def modules_below(self, train_from: str) -> list[nn.Module]:
        """Returns the modules that are not trained if training starts at stage `train_from`; none for `all`.

        Raises ValueError for anything else.
        """
        tower: Tower = getattr(self, self.stream)
        check_choice("train_from", train_from, ("all", *tower.stages))
        return [] if train_from == "all" else tower.modules_before(train_from)
