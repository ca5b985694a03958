"""Uses any convolutional or hierarchical network of the timm library, by its name there."""

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
from twostream.models.backbone.base import Backbone, FullyConnected, check_order, widen_convolution
from twostream.models.backbone.weights import load_weights, read_weights

NAMES = ("conv1", "conv2", "conv3", "conv4", "conv5")


class Timm(Backbone):
    """A timm network: its feature levels are the conv stages; fc8 is global pooling, dropout and a linear layer."""

    fetches_itself = True
    has_spare_layers = True  # e.g. a norm before the classifier

    def widen(self, name: str, in_channels: int, *, order: str = "block") -> None:
        """Does as in `Backbone`, but by a 1×1 convolution before the stage; timm's own layers do not change."""
        if name == "fc8":
            return super().widen(name, in_channels, order=order)
        self.require(name)
        names = list(self.stages)
        channels = self.channels[names[names.index(name) - 1]]
        like = self.first[1].weight
        reader = nn.Conv2d(channels, channels, 1, bias=False).to(device=like.device, dtype=like.dtype)
        with torch.no_grad():
            nn.init.dirac_(reader.weight)  # the identity; widened, it adds both streams
        check_order(order)
        widen_convolution(reader, in_channels, order=order, where=f"layer={name!r}: {self.name}")
        self.stages[name] = nn.Sequential(reader, self.stages[name])


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
    """Builds the network `name` of timm (`pip install "twostream[timm]"`), cut after each of its feature levels.

    The deepest level is conv5, the one before it conv4, and so on. So a network whose first level has a quarter of the
    resolution (ConvNeXt, Swin) has no conv1. `weights`: "imagenet" for timm's pretrained ones, or a file with
    timm's names for this network. Networks of a fixed size need images of that size.
    Raises ValueError for an unknown name or weights, and for networks that are not a chain of levels (ViT, HRNet);
    ImportError without timm.
    """
    library = _library(name)
    if weights not in (None, "imagenet") and not Path(weights).is_file():
        raise ValueError(f"weights={weights!r}: no such file; choose from imagenet, null, the path of a file")
    network = library.create_model(name, features_only=True, in_chans=in_channels)
    levels = _levels(network, name)
    info = network.feature_info.get_dicts()[-len(levels) :]
    published: Mapping[str, Any] = library.get_pretrained_cfg(name, allow_unregistered=True).to_dict()
    linear = FullyConnected(info[-1]["num_chs"], num_classes)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Dropout(dropout), linear)
    backbone = Timm(
        f"timm/{name}",
        {**levels, "fc8": head},
        channels=dict(zip((*levels, "fc8"), (*(level["num_chs"] for level in info), num_classes), strict=True)),
        strides=dict(
            zip((*levels, "fc8"), (*(level["reduction"] for level in info), info[-1]["reduction"]), strict=True)
        ),
        dropout=dropout,
        mean=[255 * value for value in published["mean"]],
        std=[255 * value for value in published["std"]],
        flow_std=255 * sum(published["std"]) / len(published["std"]),
        source=network,
    )
    if weights is not None and not backbone.first[1].weight.is_meta:
        _load(backbone, library, name, weights, cross_modality)
    fresh = backbone.state_dict() if backbone.report is None else backbone.report.random
    backbone.initialise(only=[name for name in fresh if name.startswith("stages.fc8.")])
    return backbone


def _library(name: str) -> Any:
    """Imports timm. Raises ImportError without timm, ValueError if timm has no model of this name."""
    try:
        import timm as library
    except ImportError as error:
        raise ImportError(f'backbone=timm needs timm ({error}): pip install "twostream[timm]"') from error
    if not library.is_model(name):
        near = ", ".join(get_close_matches(name, library.list_models(), 5, 0.5)) or "resnet50d, convnext_tiny"
        raise ValueError(f"backbone.name={name!r}: timm has no such model; choose from timm.list_models(): {near}, …")
    return library


def _levels(network: Any, name: str) -> dict[str, nn.Module]:
    """Returns the layers of each feature level, by stage. Raises ValueError if the network is not a chain of levels."""
    if hasattr(network, "return_layers"):  # a chain of layers; levels end at `return_layers`
        layers, taps = list(network.named_children()), set(network.return_layers)
    elif hasattr(network, "_stage_out_idx") and getattr(network, "feature_hooks", None) is None:  # EfficientNets
        stem = [getattr(network, part) for part in ("conv_stem", "bn1", "act1") if hasattr(network, part)]
        layers = list(enumerate([nn.Sequential(*stem), *network.blocks]))
        taps = set(network._stage_out_idx)
    else:
        raise ValueError(
            f"backbone.name={name!r}: {type(network).__name__} of timm is not a chain of feature levels that could be "
            "fused one by one; choose a network such as resnet50d, convnext_tiny, swin_tiny_patch4_window7_224"
        )
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
    return dict(zip(NAMES[-len(stages) :], stages, strict=True))


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
        load_weights(backbone, found, cross_modality=cross_modality, origin=origin)
        return
    try:  # load the RGB network: for other numbers of channels timm would rescale the filters
        with quiet("huggingface_hub"):
            pretrained = library.create_model(name, features_only=True, pretrained=True)
    except (RuntimeError, OSError) as error:
        published = library.get_pretrained_cfg(name, allow_unregistered=True)
        hub = published.hf_hub_id and f"https://huggingface.co/{published.hf_hub_id}/tree/main"
        raise ValueError(
            f"weights='imagenet': timm cannot give those of {name} ({first_line(error)}); download "
            f"them from {hub or published.url} by other means and give weights=PATH"
        ) from error
    load_weights(backbone, pretrained.state_dict(), cross_modality=cross_modality, origin="timm, pretrained")
