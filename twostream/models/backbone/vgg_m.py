"""VGG-M-2048, the small network of the paper."""

from __future__ import annotations

import torch
from torch import nn

from twostream.models.backbone.base import Backbone, FullyConnected, scaled
from twostream.models.backbone.weights import realise

IMAGENET_MEAN = (
    123.68,
    116.779,
    103.939,
)  # R, G, B; the means that the published Caffe networks of that group subtract


def vgg_m(
    in_channels: int,
    num_classes: int,
    *,
    dropout: float = 0.5,
    width: float = 1.0,
    norm2: bool | None = None,
    weights: str | None = None,
    cross_modality: bool = True,
) -> Backbone:
    """CNN-M-2048 of Chatfield et al. 2014 (VGG-M with 2048 features in fc7); images of 224×224 give 1×1 scores.

    `norm2`: whether response normalisation follows conv2. None: as published, only in the RGB network (Simonyan &
    Zisserman 2014 left it out of the flow network). The input's mean is subtracted; it is not divided by a deviation.
    `weights`: a file with the names of the Caffe layers (conv1.weight … fc8.bias), first filters in R, G, B order;
    torchvision has none. `width` multiplies all channels.
    """
    layers = filters(in_channels, num_classes, width)
    has_norm2 = in_channels == 3 if norm2 is None else norm2
    pool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)  # 26 -> 13; without ceil_mode 12, which fits fc6, too
    before = {
        "conv2": [response_norm(), nn.MaxPool2d(3, stride=2)],
        "conv3": [response_norm(), pool2] if has_norm2 else [pool2],
        "fc6": [nn.MaxPool2d(3, stride=2)],
    }
    after = {"fc6": [nn.Dropout(dropout)], "fc7": [nn.Dropout(dropout)]}
    stages = {
        name: nn.Sequential(*before.get(name, []), layer, nn.ReLU(inplace=True), *after.get(name, []))
        for name, layer in layers.items()
        if name != "fc8"
    }
    stages["fc8"] = nn.Sequential(layers["fc8"])
    backbone = Backbone(
        "vgg_m",
        stages,
        channels={name: layer.out_channels for name, layer in layers.items()},
        strides=dict(zip(stages, (2, 8, 16, 16, 16, 32, 32, 32), strict=True)),
        dropout=dropout,
        mean=IMAGENET_MEAN,
        std=(1.0, 1.0, 1.0),
        flow_std=1.0,
        source=nn.ModuleDict(layers),
    )
    return realise(backbone, weights, cross_modality=cross_modality)


def filters(in_channels: int, num_classes: int, width: float) -> dict[str, nn.Conv2d]:
    """Returns the layers with weights by their names in Caffe, on the meta device (without values)."""
    c1, c2, c3, fc6, fc7 = scaled((96, 256, 512, 4096, 2048), width)
    with torch.device("meta"):
        return {
            "conv1": nn.Conv2d(in_channels, c1, 7, stride=2),
            "conv2": nn.Conv2d(c1, c2, 5, stride=2, padding=1),
            "conv3": nn.Conv2d(c2, c3, 3, padding=1),
            "conv4": nn.Conv2d(c3, c3, 3, padding=1),
            "conv5": nn.Conv2d(c3, c3, 3, padding=1),
            "fc6": FullyConnected(c3, fc6, 6),
            "fc7": FullyConnected(fc6, fc7),
            "fc8": FullyConnected(fc7, num_classes),
        }


def response_norm() -> nn.LocalResponseNorm:
    """Returns x / (2 + 1e-4 * sum of squares over 5 channels)^.75 as a layer; PyTorch divides alpha by the 5."""
    return nn.LocalResponseNorm(size=5, alpha=5e-4, beta=0.75, k=2.0)
