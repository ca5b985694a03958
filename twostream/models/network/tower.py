"""One stream of a network, from its frames to its scores.

All maps, from the input to the scores, are (n, t, c, h, w); feature vectors are 1×1 maps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from twostream.models.stages import STAGES
from twostream.options.streams import Stream

from .maps import Maps

LAYERS = (*STAGES, "softmax")
LAST_CONV, SCORES = "conv5", "fc8"

MakeBackbone = Callable[..., Any]  # (in_channels=, num_classes=) -> Backbone
MakeTower = Callable[[str], "Tower"]  # (stream)
MakeTemporal = Callable[[int, int], Any]  # (in_channels, out_channels) -> Temporal
MakeLayer = Callable[[int], Any]  # (channels) -> Pooling or Attention
Shape = tuple[int, ...]  # c, h, w


class Tower(nn.Module):
    """One stream: normalises its input, then runs a backbone's stages; attention and temporal fusion follow some.

    Its stages are described in `run_stage`.

    `stream`: what the tower sees. `image_size`: the side of the input. `num_frames`: T, those of a clip; stages that
    see clips cannot do with one, and may need more. `pooling` and a linear classifier replace the backbone's fully
    connected stages. `attention` follows each of the stages `attention_after`.

    If `checkpointing` is set, training keeps no map within a stage: the backward pass computes each stage once more
    (Chen et al. 2016, "Training deep nets with sublinear memory cost"), with the same random numbers.
    """

    checkpointing = False

    def __init__(
        self,
        stream: Stream,
        backbone: MakeBackbone,
        *,
        num_classes: int,
        image_size: int = 224,
        num_frames: int = 16,
        pooling: MakeLayer | None = None,
        attention: MakeLayer = nn.Identity,
        attention_after: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.in_channels = stream.channels
        self.backbone = backbone(in_channels=stream.channels, num_classes=num_classes)
        self.num_classes = num_classes
        if stream.sums and (report := self.backbone.report) is not None and report.adapted:
            with torch.no_grad():  # filters were averaged over R, G, B; a grey picture has the same in each of them
                self.backbone.first[1].weight.mul_(3)
            self.backbone.report = replace(report, adapted_by="summed")
        self.input = Normalise(*statistics(stream, self.backbone))
        self.pooling = pooling
        self.pools_time = False
        if pooling is not None and LAST_CONV not in self.backbone.channels:
            raise ValueError(f"pooling: {self.backbone.name} has no map to pool; choose pooling=native")
        if pooling is not None:
            self.pool(self.backbone.channels[LAST_CONV])
        if num_frames == 1 and any(map(sees_clips, self.stages.values())):
            raise ValueError(
                f"sampling: clips of one frame show {self.backbone.name} no motion; choose sampling=clip "
                "(sampling.num_frames=16), or sampling.num_chunks above 1"
            )
        self.shapes = map_shapes(self.stages, (num_frames, stream.channels, image_size, image_size))
        if LAST_CONV not in self.shapes and getattr(attention, "func", attention) is nn.Identity:
            attention_after = ()  # the default, which names a stage
        for name in attention_after:
            check_choice("attention_after", name, tuple(self.stages))
        self.attention = nn.ModuleDict({name: attention(self.shapes[name][0]) for name in attention_after})
        if LAST_CONV in self.attention and not isinstance(self.attention[LAST_CONV], nn.Identity):
            self.backbone.leave_tokens()
        self.temporal = nn.ModuleDict()  # {stage: the temporal fusion that follows it}

    @property
    def stages(self) -> nn.ModuleDict:
        """The backbone's stages that are in use, by name, in order."""
        return self.backbone.stages

    def pool(self, channels: int) -> None:
        """Makes the tower end in the chosen pooling, of a map of `channels` channels, and a linear classifier."""
        assert self.pooling is not None
        layer = self.pooling(channels)
        self.pools_time = getattr(layer, "pools_time", False)
        self.backbone.replace_head(layer, layer.out_channels, self.num_classes, channels=channels)

    def accept(self, channels: int, *, after: str, order: str) -> None:
        """Makes the stage that follows `after` read a fused map of `channels` channels.

        Tokens beside the last map have not seen what was fused with it, so the scores depend on the map alone.
        """
        following = names_after(after, self.stages)
        if following and following[0] == SCORES:
            self.backbone.leave_tokens()
        if not following or channels == self.shapes[after][0]:
            return
        if following[0] == SCORES and self.pooling is not None:
            self.pool(channels)
        else:
            self.backbone.widen(following[0], channels, order=order)

    def fuse_over_time(self, after: str, temporal: Any) -> None:
        """Makes `temporal` follow stage `after`. Beside a map that it convolves, tokens are left."""
        self.temporal[after] = temporal
        if temporal.convolves:
            self.backbone.leave_tokens()

    def classify(self, vector_channels: int, *, after: str) -> None:
        """Drops the stages between `after` and the scores, so that a linear classifier follows `after` directly.

        Raises ValueError if fully connected stages would be lost.
        """
        following = names_after(after, self.stages)
        lost = [name for name in following if name.startswith("fc") and name != SCORES]
        if lost:
            raise ValueError(
                f"layer={after!r}: this fusion returns a vector without spatial axes, so {', '.join(lost)} cannot "
                "follow; choose fusion=sum, max, concat or conv, or pooling=gap, which replaces them by a linear "
                "classifier (the paper removes them too)"
            )
        for name in following:
            if name != SCORES:
                self.remove(name)
        self.backbone.replace_head(nn.Flatten(), vector_channels, self.num_classes)

    def remove(self, name: str) -> None:
        """Drops stage `name` and its attention."""
        del self.stages[name]
        if name in self.attention:
            del self.attention[name]

    def end_at(self, last: str) -> None:
        """Drops the stages after `last`."""
        for name in names_after(last, self.stages):
            self.remove(name)

    def modules_before(self, name: str) -> list[nn.Module]:
        """Returns the stages before `name`, with the attention and the temporal fusion that follow them."""
        parts = (self.stages, self.attention, self.temporal)
        return [part[stage] for stage in names_before(name, self.stages) for part in parts if stage in part]

    def enter(self, frames: Num[Tensor, "n t c h w"]) -> Maps:
        """Returns the backbone's input: normalised grey levels."""
        return Maps(per_frame(self.input, frames))

    def stage(self, name: str, maps: Maps, *further: Tensor) -> Maps:
        """Returns the maps after stage `name` and its attention; unchanged if the tower has no such stage.

        `further`: what the stage is given beside the maps of the clip.
        """
        if name not in self.stages:
            return maps
        maps = run_stage(self.stages[name], maps, *further, twice=self.checkpointing and self.training)
        if name not in self.attention:
            return maps
        attention = self.attention[name]
        over_clip = isinstance(attention, OverClip)
        return maps.with_map(attention(maps.maps) if over_clip else per_frame(attention, maps.maps))

    def over_time(self, name: str, maps: Maps) -> Maps:
        """Returns the maps after temporal fusion if that follows stage `name`, or else unchanged.

        Tokens are pooled over time as the maps are. A temporal fusion that convolves leaves none.
        """
        if name not in self.temporal:
            return maps
        temporal, tokens = self.temporal[name], None
        if maps.tokens is not None and not temporal.convolves:
            tokens = temporal(maps.tokens.transpose(2, 3).unsqueeze(-1)).squeeze(-1).transpose(2, 3)
        return Maps(temporal(maps.maps), tokens)


def statistics(stream: Stream, backbone: Any) -> tuple[list[float], list[float]]:
    """Returns the mean and the standard deviation of each channel of a stream: its own, or else the backbone's."""
    mean, std = backbone.mean, backbone.std
    if stream.made == "flow":
        mean, std = (0.0,), (backbone.flow_std,)
    elif stream.is_signed:
        mean, std = (0.0,), (2 * sum(std) / len(std),)  # differences have twice the range; as in TSN
    mean = mean if stream.mean is None else (stream.mean,)
    std = std if stream.std is None else (stream.std,)
    return per_channel(mean, stream.channels), per_channel(std, stream.channels)


def per_channel(values: Sequence[float], channels: int) -> list[float]:
    """Returns a value for each channel: the same one for all, their mean, if there are others than `channels`.

    >>> per_channel((1.0, 2.0), 2), per_channel((1.0, 2.0), 1), per_channel((3.0,), 2)
    ([1.0, 2.0], [1.5], [3.0, 3.0])
    """
    return list(values) if len(values) == channels else [sum(values) / len(values)] * channels


class Normalise(nn.Module):
    """Normalises grey levels: (x - mean) / std per channel, computed in float.

    Two passes over memory: whole numbers become floats as the mean is subtracted; under autocast what is written is in
    the precision that the first convolution would convert it to. `channels_last`: in this order in memory.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.channels_last = False
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, x: Num[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        if self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        centred = x - self.mean
        kind = x.device.type
        if centred.requires_grad or not (torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)):
            return centred / self.std
        return torch.div(centred, self.std, out=torch.empty_like(centred, dtype=torch.get_autocast_dtype(kind)))


class OverClip(nn.Module):
    """Lets an attention see all frames of a clip at once, as (n, c, t, h, w), instead of one by one."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, maps: Float[Tensor, "n t c h w"]) -> Float[Tensor, "n t c h w"]:
        return self.attention(maps.transpose(1, 2)).transpose(1, 2)


class FoldTime(nn.Module):
    """Folds time into height, for a pooling that takes the descriptors of all frames at once (ActionVLAD)."""

    convolves = False

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.out_channels = in_channels

    def pooling_only(self) -> FoldTime:
        return self

    def forward(self, maps: Float[Tensor, "n t c h w"]) -> Float[Tensor, "n 1 c th w"]:
        return maps.transpose(1, 2).flatten(2, 3).unsqueeze(1)


def run_stage(stage: Any, maps: Maps, *further: Tensor, twice: bool = False) -> Maps:
    """Returns the maps after one stage; `twice`: keeps its input only, and computes it again in the backward pass.

    A stage (n, c, h, w) -> (n, d, g, v) sees each frame by itself. One with `over_clip` is given whole clips,
    (n, t, c, h, w), with what it takes `further`, and may shorten t. One with `carries_tokens` takes and returns (maps,
    tokens), of single frames or, with both, of clips.
    """
    run = computed_again(stage) if twice else stage
    carries_tokens = getattr(stage, "carries_tokens", False)
    if sees_clips(stage):
        return Maps(*run(*maps)) if carries_tokens else maps.with_map(run(maps.maps, *further))
    if not carries_tokens:
        return maps.with_map(per_frame(run, maps.maps))
    time = maps.maps.shape[:2]
    frames, tokens = run(maps.maps.flatten(0, 1), None if maps.tokens is None else maps.tokens.flatten(0, 1))
    return Maps(frames.unflatten(0, time), None if tokens is None else tokens.unflatten(0, time))


def sees_clips(stage: Any) -> bool:
    """Whether a stage takes whole clips (n, t, c, h, w), not frame by frame."""
    return getattr(stage, "over_clip", False)


def computed_again(stage: nn.Module) -> Callable[..., Any]:
    """Returns a stage as a function that keeps its input only, from which the backward pass computes it again."""
    contexts = partial(once_and_again, stage)
    return lambda *inputs: checkpoint(stage, *inputs, use_reentrant=False, context_fn=contexts)


def once_and_again(stage: nn.Module) -> tuple[Any, Any]:
    """Returns the contexts of both computations of a stage: its running means take in a batch only once."""
    return nullcontext(), without_running_means(stage)


@contextmanager
def without_running_means(module: nn.Module) -> Iterator[None]:
    """Has batch normalisation in training leave its running means alone, in the block."""
    layers = [layer for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    before = [(layer, layer.momentum, layer.num_batches_tracked) for layer in layers]
    for layer in layers:
        layer.momentum, layer.num_batches_tracked = 0.0, None  # the means stay to the last bit, and nothing is counted
    try:
        yield
    finally:
        for layer, momentum, number in before:
            layer.momentum, layer.num_batches_tracked = momentum, number


def per_frame(module: Callable[[Tensor], Tensor], maps: Num[Tensor, "n t c h w"]) -> Float[Tensor, "n t c2 h2 w2"]:
    """Applies `module` to each frame as if it were a separate image."""
    return module(maps.flatten(0, 1)).unflatten(0, maps.shape[:2])


def make_temporal(make: MakeTemporal, tower: Tower, in_channels: int, out_channels: int) -> Any:
    """Returns the temporal fusion of a tower, or FoldTime if the tower's pooling takes all frames at once.

    Raises ValueError for such a pooling with a temporal fusion that convolves.
    """
    temporal = make(in_channels, out_channels)
    if not tower.pools_time:
        return temporal
    if temporal.convolves:
        raise ValueError("temporal=conv3d: this pooling pools over time itself; choose temporal=pool3d")
    return FoldTime(in_channels)


def has_maps(tower: Tower, make: MakeTemporal) -> bool:
    """Whether a tower has maps that can be fused over time; if not, its scores are averaged over the frames.

    Raises ValueError if it has none, and the temporal fusion has a filter.
    """
    if LAST_CONV not in tower.shapes and make(tower.num_classes, tower.num_classes).convolves:
        raise ValueError(f"temporal=conv3d: {tower.backbone.name} has no map to convolve; choose temporal=pool2d")
    return LAST_CONV in tower.shapes


def averaged(maps: Maps) -> Float[Tensor, "n c"]:
    """Averages maps over space (score maps: fully convolutional testing) and over time (2-D pooling)."""
    return maps.maps.mean(dim=(1, 3, 4))


def map_shapes(stages: nn.ModuleDict, shape: Shape) -> dict[str, Shape]:
    """Returns (c, h, w) of each stage's output for an input of `shape` (t, c, h, w); computes shapes only, no values.

    Raises ValueError if the input is too small, or too short, for the network, or of a size that it does not take.
    """
    shapes, maps = {}, Maps(torch.zeros(2, *shape, device="meta"))
    for name, stage in stages.items():
        own = [*stage.named_parameters(), *stage.named_buffers()]
        state = {key: torch.empty_like(value, device="meta") for key, value in own}
        try:
            with torch.no_grad():
                maps = run_stage(OnMeta(stage, state), maps)
        except (RuntimeError, ValueError) as error:
            short = f", or too few frames ({shape[0]})" if sees_clips(stage) else ""
            raise ValueError(f"size={shape[-1]}: too small an image{short} for stage {name} ({error})") from None
        except AssertionError as error:  # of timm's transformers
            raise ValueError(f"size={shape[-1]}: stage {name} takes images of another size ({error})") from None
        shapes[name] = tuple(maps.maps.shape[2:])
    return shapes


class OnMeta:
    """A stage that is computed with other tensors than its own, those on the meta device."""

    def __init__(self, stage: nn.Module, state: dict[str, Tensor]) -> None:
        self.stage, self.state = stage, state
        self.over_clip = sees_clips(stage)
        self.carries_tokens = getattr(stage, "carries_tokens", False)

    def __call__(self, *inputs: Any) -> Any:
        return torch.func.functional_call(self.stage, self.state, inputs)


def names_before(name: str, stages: Iterable[str]) -> list[str]:
    """Returns those of `stages` that come before `name`; `name` need not be one of them."""
    return [stage for stage in stages if LAYERS.index(stage) < LAYERS.index(name)]


def names_after(name: str, stages: Iterable[str]) -> list[str]:
    """Returns those of `stages` that come after `name`."""
    return [stage for stage in stages if LAYERS.index(stage) > LAYERS.index(name)]


def check_choice(what: str, value: str, choices: Sequence[str]) -> None:
    """Raises ValueError unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{what}={value!r}: choose from {', '.join(choices)}")
