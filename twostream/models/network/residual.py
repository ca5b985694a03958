"""Networks of two streams that meet inside of residual units."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from .maps import Maps
from .parts import towers
from .tower import LAST_CONV, MakeTemporal, Tower, make_temporal, names_before, run_stage
from .two_stream import MakeAlign, MakeFusion, TwoStreamNetwork


class ResidualNetwork(TwoStreamNetwork):
    """Two residual networks, of which the second enters the first within each of the stages `layer`.

    After the first unit of a stage, as in the authors' script (res2a … res5a), the second stream's map enters the
    branch of the next one; `fusion` makes what that branch reads, and says whether the first stream's map enters the
    second's branch as well (see ResidualFusion). Both towers are kept, with a loss each, and `temporal` follows conv5
    in both. All else is as in TwoStreamNetwork.

    Raises ValueError for a stage or a backbone without residual units, and without `two_towers`.
    """

    def __init__(self, *, fusion: MakeFusion, align: MakeAlign, **options: Any) -> None:
        super().__init__(fusion=fusion, align=align, **options)
        if not self.two_towers:
            raise ValueError("two_towers=false: fusion=residual keeps both towers; choose two_towers=true")
        self.align_back, self.fusions_back = nn.ModuleDict(), nn.ModuleDict()
        first, second = towers(self).values()
        for name in self.layers:
            if self.fusions[name].both_ways:
                back: Any = align(second.shapes[name], first.shapes[name])
                self.align_back[name], self.fusions_back[name] = back, fusion(*back.out_channels)

    def _fuse(self, name: str, make: MakeFusion) -> Any:
        """Makes what the second stream enters the first by, and opens this stage of both."""
        align: Any = self.align[name]
        fusion = make(*align.out_channels)
        for tower in towers(self).values():
            tower.backbone.open(name, over_time=fusion.over_time)
        return fusion

    def _fuse_over_time(self, make: MakeTemporal) -> None:
        for tower in towers(self).values():
            channels = tower.shapes[LAST_CONV][0]
            tower.temporal[LAST_CONV] = make_temporal(make, tower, channels, channels)

    def meet(self, name: str, a: Maps, b: Maps) -> tuple[Maps, Maps]:
        if name not in self.fusions:
            return super().meet(name, a, b)
        first, second = towers(self).values()
        a, b = begin(first, name, a), begin(second, name, b)
        into_first = entering(self.align[name], self.fusions[name], a.maps, b.maps)
        into_second = b.maps
        if name in self.fusions_back:
            into_second = entering(self.align_back[name], self.fusions_back[name], b.maps, a.maps)
        return first.stage(name, a, into_first), second.stage(name, b, into_second)

    def modules_below(self, train_from: str) -> list[nn.Module]:
        """Returns the modules that are not trained if training starts at `train_from`; `fusion` is its first stage."""
        first = self.layers[0] if train_from == "fusion" else train_from
        back = names_before(first, self.fusions_back) if first != "all" else []
        further = [parts[name] for name in back for parts in (self.fusions_back, self.align_back)]
        return [*super().modules_below(first), *further]


def begin(tower: Tower, name: str, maps: Maps) -> Maps:
    """Returns the maps within stage `name`, where streams meet."""
    return run_stage(tower.stages[name], maps, twice=tower.checkpointing and tower.training)


def entering(align: nn.Module, fusion: nn.Module, own: Tensor, other: Tensor) -> Tensor:
    """Returns what the branch of a unit reads, (n, t, c, h, w)."""
    return fusion(*align(own.flatten(0, 1), other.flatten(0, 1))).unflatten(0, own.shape[:2])
