"""VGG-16, with and without batch norm."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from twostream.models.backbone._torchvision import torchvision_models
from twostream.models.backbone.base import Backbone, FullyConnected, scaled, set_in_channels
from twostream.models.backbone.weights import realise

WIDTHS, DEPTHS = (64, 128, 256, 512, 512), (2, 2, 3, 3, 3)  # channels and convolutions of each stage


def vgg(
    name: str,
    in_channels: int,
    num_classes: int,
    *,
    dropout: float = 0.5,
    width: float = 1.0,
    weights: str | None = None,
    cross_modality: bool = True,
) -> Backbone:
    """VGG-16 (Simonyan & Zisserman 2014): 13 convolutions, 3 fully connected layers; images of 224×224 or larger.

    `name`: vgg16, or vgg16_bn with batch norm after every convolution. Unlike torchvision's, it has no adaptive pooling
    before fc6, so that larger images give maps of scores. `width` multiplies all channels.
    """
    models = torchvision_models(name)
    *convolved, fc = scaled((*WIDTHS, 4096), width)
    plan = [part for channels, depth in zip(convolved, DEPTHS, strict=True) for part in (*[channels] * depth, "M")]
    with torch.device("meta"):
        layers = models.vgg.make_layers(plan, batch_norm=name.endswith("_bn"))
        source = models.VGG(layers, num_classes=num_classes, dropout=dropout, init_weights=False)
        set_in_channels(source.features[0], in_channels)
        source.classifier[0] = FullyConnected(convolved[-1], fc, 7)
        source.classifier[3] = FullyConnected(fc, fc)
        source.classifier[6] = FullyConnected(fc, num_classes)

    parts: list[list[nn.Module]] = [[]]
    for layer in source.features:
        if isinstance(layer, nn.MaxPool2d):
            parts.append([])  # a pool starts the next stage
        parts[-1].append(layer)
    parts[-1] += source.classifier[:3]  # fc6: pool5, fully connected, ReLU, dropout
    parts += [source.classifier[3:6], source.classifier[6:]]
    names = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
    backbone = Backbone(
        name,
        {stage: nn.Sequential(*layers) for stage, layers in zip(names, parts, strict=True)},
        channels=dict(zip(names, (*convolved, fc, fc, num_classes), strict=True)),
        strides=dict(zip(names, (1, 2, 4, 8, 16, 32, 32, 32), strict=True)),
        dropout=dropout,
        source=source,
        urls={"imagenet": models.get_model_weights(name).IMAGENET1K_V1.url},
    )
    return realise(backbone, weights, cross_modality=cross_modality)


vgg16 = partial(vgg, "vgg16")
"""VGG-16 (Simonyan & Zisserman 2014)."""
vgg16_bn = partial(vgg, "vgg16_bn")
"""`vgg16` with batch norm after every convolution."""
