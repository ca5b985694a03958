"""Residual networks."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn

from twostream.models.backbone import over_time
from twostream.models.backbone._torchvision import torchvision_models
from twostream.models.backbone.base import (
    Backbone,
    FullyConnected,
    first_convolution,
    first_with_parameters,
    set_in_channels,
)
from twostream.models.backbone.units import EnteredStage, TimeFilter
from twostream.models.backbone.weights import realise


class ResNet(Backbone):
    """A residual network: conv1 is the stem, conv2 … conv5 are residual stages, fc8 is pooling and a linear layer."""

    def _readers(self, name: str) -> list[nn.Conv2d | nn.Conv3d]:
        block: Any = first_with_parameters(self.stages[name])
        if not hasattr(block, "conv1"):
            return super()._readers(name)
        first = first_convolution(block.conv1)
        if block.downsample is None:  # conv2 of ResNet-18 and -34: a shortcut of equal channels becomes a 1×1
            width, like = first.in_channels, first.weight
            convolution = nn.Conv3d if like.ndim == 5 else nn.Conv2d
            shortcut = convolution(width, width, 1, bias=False).to(device=like.device, dtype=like.dtype)
            nn.init.dirac_(shortcut.weight)
            block.downsample = nn.Sequential(shortcut)
        return [first, first_convolution(block.downsample)]

    def open(self, name: str, *, over_time: bool | str) -> None:
        stage: Any = self.stages[name]
        if getattr(stage, "over_clip", False):
            raise ValueError(
                f"fusion=residual: {self.name} sees whole clips here; choose a ResNet of frames for both streams "
                "(backbone=resnet18, resnet34, resnet50 or resnet101, backbone.inflate=false)"
            )
        units = [place for place, part in enumerate(stage) if hasattr(part, "conv1")]
        if not units:
            raise ValueError(
                f"layer={name!r}: fusion=residual needs residual units; {self.name} has some in conv2 … conv5"
            )
        entered = units[1]
        unit, filtered = stage[entered], nn.Identity()
        if over_time == "thirds":
            if not hasattr(unit, "conv3"):
                raise ValueError(
                    f"fusion.over_time=thirds: units of {self.name} have no 1×1 filters; choose backbone=resnet50 or "
                    "resnet101, or fusion.over_time=true"
                )
            unit.conv1, unit.conv3 = TimeFilter.of(unit.conv1), TimeFilter.of(unit.conv3)
        elif over_time:
            filtered = TimeFilter(getattr(unit, "conv3", unit.conv2).in_channels)
        self.stages[name] = EnteredStage(stage, entered, filtered).train(self.training)


def resnet(
    name: str,
    in_channels: int,
    num_classes: int,
    *,
    dropout: float = 0.5,
    weights: str | None = None,
    cross_modality: bool = True,
    inflate: bool = False,
) -> Backbone:
    """A residual network (He et al. 2016) by its name in torchvision: resnet18, resnet34, resnet50, resnet101.

    `inflate`: k×k filters become k×k×k, and the stages see whole clips (see `twostream.models.backbone.over_time`).
    """
    models = torchvision_models(name)
    with torch.device("meta"):
        source = models.get_model(name, num_classes=num_classes)
        set_in_channels(source.conv1, in_channels)
        features = source.fc.in_features
        source.fc = FullyConnected(features, num_classes)
    stages = {
        "conv1": nn.Sequential(source.conv1, source.bn1, source.relu),
        "conv2": nn.Sequential(source.maxpool, *source.layer1),
        "conv3": source.layer2,
        "conv4": source.layer3,
        "conv5": source.layer4,
        "fc8": nn.Sequential(source.avgpool, nn.Dropout(dropout), source.fc),
    }
    published = models.get_model_weights(name)
    urls = {"imagenet": published.IMAGENET1K_V1.url}  # V2, better on ImageNet, exists for large ones
    if "IMAGENET1K_V2" in published.__members__:
        urls["imagenet_v2"] = published.IMAGENET1K_V2.url
    widths = (64, features // 8, features // 4, features // 2, features, num_classes)
    backbone = ResNet(
        name,
        stages,
        channels=dict(zip(stages, widths, strict=True)),
        strides=dict(zip(stages, (2, 4, 8, 16, 32, 32), strict=True)),
        dropout=dropout,
        source=source,
        urls=urls,
    )
    if inflate:
        over_time.inflate(backbone)
    return realise(backbone, weights, cross_modality=cross_modality)


resnet18 = partial(resnet, "resnet18")
"""ResNet-18 (He et al. 2016)."""
resnet34 = partial(resnet, "resnet34")
"""ResNet-34 (He et al. 2016)."""
resnet50 = partial(resnet, "resnet50")
"""ResNet-50 (He et al. 2016), stride in the 3×3 convolutions as in torchvision."""
resnet101 = partial(resnet, "resnet101")
"""ResNet-101 (He et al. 2016), stride in the 3×3 convolutions as in torchvision."""
