"""Networks of two streams: connects towers, fusions and temporal fusion; all arithmetic is in these."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

from twostream.options.choices import STREAMS

from .late import LateFusion, MeanScore, check_positions, fusion_of_scores
from .maps import Maps, equal_times
from .parts import towers
from .tower import (
    LAST_CONV,
    LAYERS,
    SCORES,
    STAGES,
    MakeTemporal,
    MakeTower,
    Shape,
    averaged,
    check_choice,
    has_maps,
    make_temporal,
    names_after,
    names_before,
)

MakeFusion = Callable[[int, int], Any]  # (rgb_channels, flow_channels) -> Fusion
MakeAlign = Callable[[Shape, Shape], nn.Module]  # (rgb shape, flow shape)


class TwoStreamNetwork(nn.Module):
    """The towers of two streams, fused after one or several stages (Feichtenhofer et al. 2016, section 3).

    The first tower, usually RGB, continues with the fused maps. The second ends at the last fused stage, unless
    `two_towers` or layer=[…, fc8] keeps all of it, with its own scores (the paper's "ReLU5 + FC8"). layer=softmax is
    late fusion. If maps to be fused differ in time, the longer one is averaged, as in `equal_times`.

    `forward(rgb, flow)` takes the frames of the first stream (n, t, a, h, w), of RGB: a = 3, and of the second (flow:
    2L channels), in grey levels. It returns the scores of m heads before softmax, (m, n, k); each head has its own
    loss. `combine` returns the one score (n, k) that is evaluated: fused log-probabilities if `layer` ends in softmax,
    else the mean of the heads before softmax (of several labels: before the sigmoid). With `features`, the name of a
    stage, `forward` also returns what the first tower goes on with after it, (n, d): the mean of its maps over places
    and frames.

    `tower(stream)` makes the tower of one of `streams`, whose name its module has, too; `align` is called with both
    maps' shapes (c, h, w) for every fused stage. `multi`: whether a video has several labels, so that late fusion fuses
    the sigmoids of scores, not their softmax. Raises ValueError for a layer, or a combination of layer, fusion,
    temporal and pooling, that cannot be built.
    """

    def __init__(
        self,
        *,
        tower: MakeTower,
        fusion: MakeFusion,
        temporal: MakeTemporal,
        align: MakeAlign,
        layer: str | Sequence[str] = LAST_CONV,
        two_towers: bool = False,
        streams: tuple[str, str] = STREAMS,
        multi: bool = False,
    ) -> None:
        super().__init__()
        self.streams = streams
        for stream in streams:
            self.add_module(stream, tower(stream))
        first, second = towers(self).values()
        self.layers, average_at = read_layers(layer, two_towers, tuple(first.stages), tuple(second.stages))
        self.two_towers = average_at is not None
        self.align, self.fusions = nn.ModuleDict(), nn.ModuleDict()
        for name in self.layers:
            self.align[name] = align(first.shapes[name], second.shapes[name])
            self.fusions[name] = self._fuse(name, fusion)
        if not self.two_towers:
            second.end_at(self.layers[-1])
        self._fuse_over_time(temporal)
        classes = first.num_classes
        width = 2 if multi else classes
        late = average_at == "softmax"
        self.late = LateFusion(fusion(width, width), classes, multi=multi) if late else MeanScore()

    def _fuse(self, name: str, make: MakeFusion) -> Any:
        """Makes the fusion after stage `name`, and changes the stage that follows so that it reads the result."""
        (first, _), align = towers(self).values(), self.align[name]
        channels: Any = align.out_channels
        fusion = make(*channels)
        if name == SCORES:
            return fusion_of_scores(fusion, channels[0], name)
        check_positions(fusion, name)
        if not fusion.keeps_map:
            if name != self.layers[-1] or name.startswith("fc"):
                raise ValueError(
                    f"layer={list(self.layers)!r}: {type(fusion).__name__} returns a vector without spatial axes, so "
                    "no stage that is fused can follow it; choose one of "
                    + ", ".join(stage for stage in first.stages if stage.startswith("conv"))
                )
            first.classify(fusion.out_channels, after=name)
        elif name != LAST_CONV:  # after conv5 the temporal fusion comes first
            first.accept(fusion.out_channels, after=name, order=channel_order(fusion))
        return fusion

    def _fuse_over_time(self, make: MakeTemporal) -> None:
        """Makes the temporal fusion of the first tower, and that of the second if that has stages after conv5.

        If a convolutional stage is fused, the second tower is only pooled over time (section 3.4).
        """
        first, second = towers(self).values()
        fused_map = bool(self.layers) and self.layers[0].startswith("conv")
        if has_maps(second, make) and names_after(LAST_CONV, second.stages):
            channels = second.shapes[LAST_CONV][0]
            temporal = make_temporal(make, second, channels, channels)
            second.fuse_over_time(LAST_CONV, temporal.pooling_only() if fused_map else temporal)

        if not has_maps(first, make):
            return
        end = LAST_CONV if LAST_CONV in first.stages else self.layers[-1]
        channels = first.shapes[end][0]
        temporal = make_temporal(make, first, channels, channels)
        if end in self.fusions:
            fusion: Any = self.fusions[end]
            if temporal.convolves:
                fusion = self.fusions[end] = filter_over_time(fusion, temporal)
            temporal = make_temporal(make, first, fusion.out_channels, channels)
            if fusion.keeps_map:
                first.accept(temporal.out_channels, after=end, order=channel_order(fusion))
        first.fuse_over_time(end, temporal)

    def forward(
        self, rgb: Num[Tensor, "n t a h w"], flow: Num[Tensor, "n t b h w"], *, features: str = ""
    ) -> Float[Tensor, "m n k"] | tuple[Float[Tensor, "m n k"], Float[Tensor, "n d"]]:
        first, second = towers(self).values()
        a, b = first.enter(rgb), second.enter(flow)
        found = None
        for name in STAGES:
            a, b = self.meet(name, a, b)
            a, b = first.over_time(name, a), second.over_time(name, b)
            if name == features:
                found = averaged(a)
        heads = self.late(torch.stack((averaged(a), averaged(b))) if self.two_towers else averaged(a).unsqueeze(0))
        return heads if found is None else (heads, found)

    def meet(self, name: str, a: Maps, b: Maps) -> tuple[Maps, Maps]:
        """Returns the maps of both streams after stage `name`, with what the first takes from the second."""
        first, second = towers(self).values()
        a, b = first.stage(name, a), second.stage(name, b)
        if name in self.fusions:
            a = a.with_map(self._fuse_frames(name, a.maps, b.maps))
        return a, b

    def _fuse_frames(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        a, b = equal_times(a, b)
        fused = self.fusions[name](*self.align[name](a.flatten(0, 1), b.flatten(0, 1)))
        return fused.unflatten(0, a.shape[:2])

    def combine(self, heads: Float[Tensor, "m n k"]) -> Float[Tensor, "n k"]:
        """Returns the one score per class that is evaluated."""
        return self.late.combine(heads)  # type: ignore[operator]

    def modules_below(self, train_from: str) -> list[nn.Module]:
        """Returns the modules that are not trained if training starts at `train_from`.

        `train_from` is a stage, `fusion` (the first one), or `all` (everything is trained). Raises ValueError for
        anything else, and for `fusion` with late fusion.
        """
        both = towers(self).values()
        choices = ("all", "fusion", *next(iter(both)).stages)
        check_choice("train_from", train_from, choices)
        if train_from == "all":
            return []
        if train_from == "fusion" and not self.layers:
            raise ValueError("train_from='fusion': late fusion has nothing to train; choose all or a stage")
        first = self.layers[0] if train_from == "fusion" else train_from
        below = [module for tower in both for module in tower.modules_before(first)]
        below += [parts[name] for name in names_before(first, self.layers) for parts in (self.fusions, self.align)]
        if train_from == "fusion":  # the stage whose maps are fused is below the fusion, too
            below += [part[first] for tower in both for part in (tower.stages, tower.attention) if first in part]
        return below


def read_layers(
    layer: str | Sequence[str], two_towers: bool, *stages: Sequence[str]
) -> tuple[tuple[str, ...], str | None]:
    """Reads `layer` as typed. Returns (the stages to fuse after, where two towers' scores are combined, or None).

    Raises ValueError for unknown stages, and for stages that are not in order or named twice.

    >>> read_layers("conv5", False), read_layers(["conv5", "fc8"], False), read_layers("softmax", False)
    ((('conv5',), None), (('conv5',), 'fc8'), ((), 'softmax'))
    """
    layers = (layer,) if isinstance(layer, str) else tuple(layer)
    choices = [name for name in LAYERS if name == "softmax" or all(name in tower for tower in stages)]
    for name in layers or ("",):
        if name not in choices:
            raise ValueError(f"layer={name!r}: no such stage here; choose from {', '.join(choices)}")
    if list(layers) != sorted(set(layers), key=LAYERS.index):
        raise ValueError(f"layer={list(layers)!r}: name each layer once, from input to output: {', '.join(choices)}")
    if layers[-1] == "softmax" or (layers[-1] == SCORES and len(layers) > 1):
        return layers[:-1], layers[-1]
    return layers, SCORES if two_towers else None


def channel_order(part: Any) -> str:
    """Returns the order of both streams' channels, "block" or "interleaved", in a fusion's result or a 3-D filter."""
    return getattr(part, "order", "block")


def filter_over_time(fusion: Any, temporal: Any) -> Any:
    """Returns the fusion to use in place of `fusion` before a 3-D filter, which contains the fusion's own filter.

    Raises ValueError if it leaves no map, or its channels are in another order than the 3-D filter's.
    """
    if not fusion.keeps_map:
        raise ValueError(f"{type(fusion).__name__} leaves no map for temporal=conv3d; choose temporal=pool3d")
    fusion = fusion.before_conv3d()
    if channel_order(fusion) != channel_order(temporal):
        raise ValueError(
            f"temporal.order={temporal.order!r}: the fused map is in another order; choose {channel_order(fusion)!r}"
        )
    return fusion
