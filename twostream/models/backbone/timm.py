"""Uses any classifier of the timm library, by its name there."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from twostream.files.errors import first_line
from twostream.files.extras import missing_extra
from twostream.models.backbone import timm_vit as vit
from twostream.models.backbone.base import Backbone, FullyConnected, check_order, widen_convolution
from twostream.models.backbone.weights import load_weights, read_weights

NAMES = ("conv1", "conv2", "conv3", "conv4", "conv5")


class Timm(Backbone):
    """A timm network: its feature levels are the conv stages; fc8 is global pooling, dropout and a linear layer."""

    fetches_itself = True
    has_spare_layers = True  # e.g. a norm before the classifier

    def widen(self, name: str, in_channels: int, *, order: str = "block") -> None:
        """Does as in `Backbone`, but by a 1×1 convolution before the stage; timm's own layers do not change."""
        self.require(name)
        stage = self.stages[name]
        carries_tokens = getattr(stage, "carries_tokens", False)
        if name == "fc8" and not carries_tokens:
            return super().widen(name, in_channels, order=order)
        names = list(self.stages)
        channels = self.channels[names[names.index(name) - 1]]
        like = self.first[1].weight
        reader = nn.Conv2d(channels, channels, 1, bias=False).to(device=like.device, dtype=like.dtype)
        with torch.no_grad():
            nn.init.dirac_(reader.weight)  # the identity; widened, it adds both streams
        check_order(order)
        widen_convolution(reader, in_channels, order=order, where=f"layer={name!r}: {self.name}")
        self.stages[name] = (vit.Widened if carries_tokens else nn.Sequential)(reader, stage)


class VisionTransformer(Timm):
    """A transformer of timm: conv1 is its patch embedding, conv2 … conv5 are its blocks in four groups.

    Maps are the patch tokens (n, c, h, w). The class and register tokens travel beside them through the blocks, and so
    see a map that was fused before the last block. fc8 is timm's own: norm, pooling, classifier.
    """

    has_spare_layers = False

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        tokens = None
        for stage in self.stages.values():
            if getattr(stage, "carries_tokens", False):
                x, tokens = stage(x, tokens)
            else:
                x = stage(x)
        return x.mean(dim=(2, 3))

    @property
    def head(self) -> vit.Head | None:
        """What follows the blocks; None if it was replaced, or the network ends before."""
        parts = self.stages["fc8"].modules() if "fc8" in self.stages else ()
        return next((part for part in parts if isinstance(part, vit.Head)), None)

    def reads_map(self, stage: str) -> bool:
        return stage != NAMES[-1] or self.head is None or self.head.pools_map

    def leave_tokens(self) -> None:
        if self.head is not None:
            self.head.leave_tokens()

    def replace_head(self, pooling: nn.Module, in_features: int, num_classes: int, *, channels: int = 0) -> None:
        """Does as in `Backbone`, after the network's last norm, or a new one for a map of other `channels`."""
        if channels:
            parts = self.stages["fc8"].modules()
            norm = next(part.norm for part in parts if isinstance(part, (vit.Head, vit.Norm)))
            if channels != self.channels["conv5"]:
                norm = nn.LayerNorm(channels).to(self.first[1].weight)
            pooling = nn.Sequential(vit.Norm(norm), pooling)
        super().replace_head(pooling, in_features, num_classes)


class Whole(Timm):
    """A network that is not cut: its one stage is fc8, its scores. There is no map to fuse, to pool or to attend to."""

    @property
    def classifier(self) -> Any:
        return self.stages["fc8"].classifier

    def is_of_classes(self, name: str) -> bool:
        return self.get_submodule(name.rpartition(".")[0]) is self.classifier

    def is_feature(self, name: str) -> bool:
        return not self.is_of_classes(name)


class Scores(nn.Module):
    """A whole network, from images to scores (n, k, 1, 1). Raises ValueError if it has not one linear classifier."""

    title = "network as a whole"

    def __init__(self, network: Any, name: str, num_classes: int) -> None:
        super().__init__()
        self.network = network
        found = network.get_classifier() if hasattr(network, "get_classifier") else ()
        parts = [part for one in (found if isinstance(found, tuple) else (found,)) for part in one.modules()]
        layers = [part for part in parts if isinstance(part, nn.Linear | nn.Conv2d) and len(part.weight) == num_classes]
        if len(layers) != 1:
            raise ValueError(
                f"backbone.name={name!r}: {type(network).__name__} of timm has {len(layers)} classifiers; choose a "
                "network with one, such as vit_tiny_patch16_224, resnet50d, convnext_tiny"
            )
        self.classifier_name = next(name for name, part in network.named_modules() if part is layers[0])

    @property
    def classifier(self) -> nn.Module:
        return self.network.get_submodule(self.classifier_name)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k 1 1"]:
        return self.network(images)[:, :, None, None]


class Level(nn.Module):
    """Wraps layers that work on (n, h, w, c) as a stage of maps (n, c, h, w); the first level reads (n, c, h, w)."""

    def __init__(self, layers: nn.Module, *, is_first: bool) -> None:
        super().__init__()
        self.layers, self.is_first = layers, is_first

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d g v"]:
        x = self.layers(x if self.is_first else x.permute(0, 2, 3, 1))  # the first level reads the image as it is
        return x.permute(0, 3, 1, 2)


def timm(
    in_channels: int,
    num_classes: int,
    *,
    name: str,
    dropout: float = 0.5,
    weights: str | None = None,
    cross_modality: bool = True,
) -> Backbone:
    """Builds the network `name` of timm (`pip install "twostream[timm]"`), cut into stages where that is possible.

    - A chain of feature levels: the deepest is conv5, the one before it conv4, and so on. So a network whose first
      level has a quarter of the resolution (ConvNeXt, Swin) has no conv1.
    - A vision transformer: see `VisionTransformer`.
    - Any other classifier (HRNet, MLP-Mixer, BEiT) is one stage, fc8: see `Whole`.

    `weights`: "imagenet" for timm's pretrained ones, or a file with timm's names for this network. A vision transformer
    takes images of any size that its patches divide: timm resamples its position embeddings. Other networks of a fixed
    size need images of that size.
    Raises ValueError for an unknown name or weights, and for networks without one classifier; ImportError without timm.
    """
    library = _library(name)
    if weights not in (None, "imagenet") and not Path(weights).is_file():
        raise ValueError(f"weights={weights!r}: no such file; choose from imagenet, null, the path of a file")
    kind, network, stages, levels = _made(library, name, in_channels, num_classes, dropout)
    strides = [level["reduction"] for level in levels]
    published: Mapping[str, Any] = library.get_pretrained_cfg(name, allow_unregistered=True).to_dict()
    backbone = kind(
        f"timm/{name}",
        stages,
        channels=dict(zip(stages, (*(level["num_chs"] for level in levels), num_classes), strict=True)),
        strides=dict(zip(stages, (*strides, strides[-1] if strides else 1), strict=True)),
        dropout=dropout,
        mean=[255 * value for value in published["mean"]],
        std=[255 * value for value in published["std"]],
        flow_std=255 * sum(published["std"]) / len(published["std"]),
        source=network,
    )
    if weights is not None and not backbone.first[1].weight.is_meta:
        _load(backbone, library, name, weights, cross_modality)
    fresh = backbone.state_dict() if backbone.report is None else backbone.report.random
    classifier = next(name for name, part in backbone.named_modules() if part is backbone.classifier)
    backbone.initialise(only=[name for name in fresh if name.rpartition(".")[0] == classifier])
    return backbone


def _made(library: Any, name: str, in_channels: int, num_classes: int, dropout: float) -> tuple[Any, ...]:
    """Returns the class of backbone, timm's network, its stages, and timm's facts about each of them but fc8."""
    options = {"in_chans": in_channels, "num_classes": num_classes, "drop_rate": dropout}
    with torch.device("meta"):
        plain = library.create_model(name, num_classes=num_classes)
    if vit.can_be_cut(plain):
        network = library.create_model(name, dynamic_img_size=True, **options)
        return VisionTransformer, network, vit.stages_of(network), network.feature_info[:1] * len(NAMES)
    network, levels = _levels(library, name, in_channels)
    if not levels:
        network = library.create_model(name, **options)
        return Whole, network, {"fc8": Scores(network, name, num_classes)}, []
    info = network.feature_info.get_dicts()[-len(levels) :]
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Dropout(dropout), FullyConnected(info[-1]["num_chs"], num_classes))
    return Timm, network, {**levels, "fc8": head}, info


def _library(name: str) -> Any:
    """Imports timm. Raises ImportError without timm, ValueError if timm has no model of this name."""
    try:
        import timm as library
    except ImportError as error:
        raise missing_extra("backbone=timm", "timm", "timm", error) from error
    if not library.is_model(name):
        near = ", ".join(get_close_matches(name, library.list_models(), 5, 0.5)) or "resnet50d, convnext_tiny"
        raise ValueError(f"backbone.name={name!r}: timm has no such model; choose from timm.list_models(): {near}, …")
    return library


def _levels(library: Any, name: str, in_channels: int) -> tuple[Any, dict[str, nn.Module]]:
    """Returns a network and the layers of each of its feature levels, by stage; no layers if it is no chain of them."""
    try:
        network = library.create_model(name, features_only=True, in_chans=in_channels)
    except (RuntimeError, AttributeError):  # it has none
        return None, {}
    if hasattr(network, "return_layers"):  # a chain of layers; levels end at `return_layers`
        layers, taps = list(network.named_children()), set(network.return_layers)
    elif hasattr(network, "_stage_out_idx") and getattr(network, "feature_hooks", None) is None:  # EfficientNets
        stem = [getattr(network, part) for part in ("conv_stem", "bn1", "act1") if hasattr(network, part)]
        layers = list(enumerate([nn.Sequential(*stem), *network.blocks]))
        taps = set(network._stage_out_idx)
    else:
        return network, {}
    levels: list[list[nn.Module]] = [[]]
    for layer_name, layer in layers:
        levels[-1].append(layer)
        if layer_name in taps:
            levels.append([])
    levels.pop()  # the layers after the last tap belong to no level
    while len(levels) > len(NAMES):  # timm's VGG has six levels: the first joins the second
        levels[:2] = [levels[0] + levels[1]]
    stages: list[nn.Module] = [nn.Sequential(*level) for level in levels]
    if str(getattr(network, "output_fmt", "NCHW")).endswith("NHWC"):
        stages = [Level(stage, is_first=index == 0) for index, stage in enumerate(stages)]
    return network, dict(zip(NAMES[-len(stages) :], stages, strict=True))


@contextmanager
def quiet(library: str) -> Iterator[None]:
    """Silences the warnings of a library inside the block; an error is reported in one line instead."""
    log = logging.getLogger(library)
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def _load(backbone: Timm, library: Any, name: str, weights: str, cross_modality: bool) -> None:
    if weights != "imagenet":
        found, origin = read_weights(backbone, weights)
        joined = {key: key.replace(".", "_", 1) for key in found}  # timm renames layers when it cuts levels
        levels = set(backbone.source_names.values())
        found = {joined[key] if joined[key] in levels else key: value for key, value in found.items()}
        if isinstance(backbone, VisionTransformer):
            found = vit.resampled(found, backbone.stages["conv1"])
        load_weights(backbone, found, cross_modality=cross_modality, origin=origin)
        return
    is_chain = type(backbone) is Timm
    try:  # load the RGB network: for other numbers of channels timm would rescale the filters
        with quiet("huggingface_hub"):
            pretrained = library.create_model(name, pretrained=True, **({"features_only": True} if is_chain else {}))
    except (RuntimeError, OSError) as error:
        published = library.get_pretrained_cfg(name, allow_unregistered=True)
        hub = published.hf_hub_id and f"https://huggingface.co/{published.hf_hub_id}/tree/main"
        raise ValueError(
            f"weights='imagenet': timm cannot give those of {name} ({first_line(error)}); download "
            f"them from {hub or published.url} by other means and give weights=PATH"
        ) from error
    load_weights(backbone, pretrained.state_dict(), cross_modality=cross_modality, origin="timm, pretrained")
