"""torchvision's 3-D convolutional networks, with weights of Kinetics-400."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn

from twostream.models.backbone._torchvision import torchvision_models
from twostream.models.backbone.base import Backbone, FullyConnected, first_convolution, set_in_channels
from twostream.models.backbone.googlenet import GoogLeNet
from twostream.models.backbone.over_time import ClipStage
from twostream.models.backbone.resnet import ResNet
from twostream.models.backbone.weights import realise


def video_resnet(
    name: str,
    in_channels: int,
    num_classes: int,
    *,
    dropout: float = 0.5,
    weights: str | None = None,
    cross_modality: bool = True,
) -> Backbone:
    """A 3-D residual network (Tran et al. 2018) by its name in torchvision: r3d_18, mc3_18, r2plus1d_18.

    conv3, conv4 and conv5 halve time, but in mc3_18. fc8 is pooling and a linear layer; without temporal fusion, scores
    are torchvision's own.
    """
    models = torchvision_models(name)
    with torch.device("meta"):
        source = models.get_model(name, num_classes=num_classes)
        set_in_channels(first_convolution(source.stem), in_channels)
        source.fc = FullyConnected(source.fc.in_features, num_classes)
    stages = {
        "conv1": ClipStage(*source.stem),
        "conv2": ClipStage(*source.layer1),
        "conv3": ClipStage(*source.layer2),
        "conv4": ClipStage(*source.layer3),
        "conv5": ClipStage(*source.layer4),
        "fc8": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Dropout(dropout), source.fc),
    }
    backbone = ResNet(
        name,
        stages,
        channels=dict(zip(stages, (64, 64, 128, 256, 512, num_classes), strict=True)),
        strides=dict(zip(stages, (2, 2, 4, 8, 16, 16), strict=True)),
        dropout=dropout,
        source=source,
        **published(models, name),
    )
    return realise(backbone, weights, cross_modality=cross_modality)


r3d_18 = partial(video_resnet, "r3d_18")
"""R3D-18 (Tran et al. 2018): 3×3×3 convolutions."""
mc3_18 = partial(video_resnet, "mc3_18")
"""MC3-18 (Tran et al. 2018): 3×3×3 convolutions in conv1 and conv2, 1×3×3 behind them."""
r2plus1d_18 = partial(video_resnet, "r2plus1d_18")
"""R(2+1)D-18 (Tran et al. 2018): 1×3×3 and 3×1×1 convolutions in turns, with ReLUs between them."""


def s3d(
    in_channels: int,
    num_classes: int,
    *,
    dropout: float = 0.5,
    weights: str | None = None,
    cross_modality: bool = True,
) -> Backbone:
    """S3D (Xie et al. 2018): I3D with 1×k×k and k×1×1 convolutions in turns, without gates.

    conv1, conv4 and conv5 halve time. fc8 is pooling and a linear layer; without temporal fusion, scores of 16 frames
    of 224×224 are torchvision's own, which averages windows of that size in longer or larger clips.
    """
    models = torchvision_models("s3d")
    with torch.device("meta"):
        source = models.get_model("s3d", num_classes=num_classes)
        set_in_channels(first_convolution(source), in_channels)
        source.classifier[1] = FullyConnected(1024, num_classes)
    features = source.features
    stages = {
        "conv1": ClipStage(*features[0]),
        "conv2": ClipStage(*features[1:4]),
        "conv3": ClipStage(*features[4:7]),
        "conv4": ClipStage(*features[7:13]),
        "conv5": ClipStage(*features[13:]),
        "fc8": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Dropout(dropout), source.classifier[1]),
    }
    backbone = GoogLeNet(
        "s3d",
        stages,
        channels=dict(zip(stages, (64, 192, 480, 832, 1024, num_classes), strict=True)),
        strides=dict(zip(stages, (2, 4, 8, 16, 32, 32), strict=True)),
        dropout=dropout,
        source=source,
        **published(models, "s3d"),
    )
    return realise(backbone, weights, cross_modality=cross_modality)


def published(models: Any, name: str) -> dict[str, Any]:
    """Returns the statistics of the input and the URLs of the weights of a video network, by torchvision's names."""
    enum = models.get_model_weights(name)
    preset = enum.KINETICS400_V1.transforms()
    return {
        "mean": [255 * value for value in preset.mean],
        "std": [255 * value for value in preset.std],
        "flow_std": 255 * sum(preset.std) / 3,
        "urls": {one.name.removesuffix("_V1").replace("KINETICS400", "kinetics").lower(): one.url for one in enum},
    }
