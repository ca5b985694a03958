"""Networks that fuse several stages, of which none goes back into a tower."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

from twostream.models.classifier import start_classifier
from twostream.options.choices import STREAMS

from .late import MeanScore
from .maps import equal_times
from .parts import towers
from .tower import SCORES, STAGES, MakeLayer, MakeTemporal, MakeTower, check_choice
from .two_stream import MakeAlign, read_layers

MakeLevels = Callable[[Sequence[int], Sequence[int]], Any]  # (rgb channels, flow channels of all levels)


class MultiLevelNetwork(nn.Module):
    """Two towers whose maps are fused after each of several stages; fused maps do not go back into a tower.

    `fusion` takes the maps of all these stages and returns a list of maps (`.out_channels`). Each of them is fused over
    time and pooled, and has its own linear classifier and loss. `forward` and `combine` are as in TwoStreamNetwork:
    (m, n, k) heads, whose mean is evaluated. The towers end at the last fused stage. `tower(stream)` makes one of them,
    which needs no pooling, since the heads pool. If maps differ in time, all are averaged, as in `equal_times`.

    Raises ValueError unless `layer` names at least two convolutional stages, in order.
    """

    def __init__(
        self,
        *,
        tower: MakeTower,
        fusion: MakeLevels,
        temporal: MakeTemporal,
        align: MakeAlign,
        pooling: MakeLayer,
        layer: Sequence[str],
        dropout: float = 0.0,
        streams: tuple[str, str] = STREAMS,
    ) -> None:
        super().__init__()
        self.streams = streams
        for stream in streams:
            self.add_module(stream, tower(stream))
        first, second = towers(self).values()
        self.layers, kept = read_layers(layer, False, tuple(first.stages), tuple(second.stages))
        if kept or len(self.layers) < 2 or not all(name.startswith("conv") for name in self.layers):
            choices = ", ".join(name for name in first.stages if name.startswith("conv"))
            raise ValueError(
                f"layer={layer!r}: this fusion takes two or more convolutional stages; choose from {choices}, "
                "e.g. layer=[conv3,conv5]"
            )
        for one in towers(self).values():
            one.end_at(self.layers[-1])
        aligns: list[Any] = [align(first.shapes[name], second.shapes[name]) for name in self.layers]
        self.align = nn.ModuleDict(dict(zip(self.layers, aligns, strict=True)))
        self.fusion = fusion(*zip(*(one.out_channels for one in aligns), strict=True))
        trained = any(one.backbone.report is not None for one in towers(self).values())
        self.heads = nn.ModuleList(
            Head(channels, first.num_classes, temporal=temporal, pooling=pooling, dropout=dropout, trained=trained)
            for channels in self.fusion.out_channels
        )
        self.late = MeanScore()

    def forward(self, rgb: Num[Tensor, "n t a h w"], flow: Num[Tensor, "n t b h w"]) -> Float[Tensor, "m n k"]:
        first, second = towers(self).values()
        a, b = first.enter(rgb), second.enter(flow)
        ours, theirs = [], []
        for name in STAGES:
            a, b = first.stage(name, a), second.stage(name, b)
            if name in self.layers:
                ours.append(a.maps)
                theirs.append(b.maps)
        clips, time = rgb.shape[0], min(one.shape[1] for one in ours + theirs)
        folded = [one.flatten(0, 1) for one in equal_times(*ours, *theirs)]
        pairs = zip(self.layers, folded[: len(ours)], folded[len(ours) :], strict=True)
        aligned = [self.align[name](one, other) for name, one, other in pairs]
        fused = self.fusion([one for one, _ in aligned], [other for _, other in aligned])
        maps = [level.unflatten(0, (clips, time)) for level in fused]
        return torch.stack([head(level) for head, level in zip(self.heads, maps, strict=True)])

    def combine(self, heads: Float[Tensor, "m n k"]) -> Float[Tensor, "n k"]:
        """Returns the one score per class that is evaluated."""
        return self.late.combine(heads)

    def modules_below(self, train_from: str) -> list[nn.Module]:
        """Returns the modules that are not trained if training starts at `train_from`.

        `train_from` is a stage, `fusion` (both towers are not trained), or `all` (everything is trained). Raises
        ValueError for anything else.
        """
        both = towers(self).values()
        check_choice("train_from", train_from, ("all", "fusion", *next(iter(both)).stages))
        if train_from == "all":
            return []
        first = SCORES if train_from == "fusion" else train_from
        return [module for tower in both for module in tower.modules_before(first)]


class Head(nn.Module):
    """Turns a fused map into scores: temporal fusion, pooling, dropout, a linear classifier."""

    def __init__(
        self,
        channels: int,
        num_classes: int,
        *,
        temporal: MakeTemporal,
        pooling: MakeLayer,
        dropout: float,
        trained: bool,
    ) -> None:
        super().__init__()
        self.temporal = temporal(channels, channels)
        self.pooling = pooling(channels)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(self.pooling.out_channels, num_classes)
        start_classifier(self.classifier, trained=trained)

    def forward(self, maps: Float[Tensor, "n t c h w"]) -> Float[Tensor, "n k"]:
        maps = self.temporal(maps)
        vectors = self.pooling(maps.flatten(0, 1))
        return self.classifier(self.dropout(vectors)).unflatten(0, maps.shape[:2]).mean(1)
