"""A small network of five convolutions, for the embedded data set."""

from __future__ import annotations

import torch
from torch import nn

from twostream.models.backbone import over_time
from twostream.models.backbone.base import Backbone, FullyConnected, scaled
from twostream.models.backbone.weights import realise

WIDTHS, STRIDES, KERNELS, HIDDEN = (16, 32, 32, 64, 64), (2, 2, 1, 2, 1), (5, 3, 3, 3, 3), 128


def tiny(
    in_channels: int,
    num_classes: int,
    *,
    dropout: float = 0.5,
    width: float = 1.0,
    weights: str | None = None,
    cross_modality: bool = True,
    inflate: bool = False,
) -> Backbone:
    """Five convolutions with batch norm; images of 64×64 give a conv5 map of 64×8×8. About 0.1 M parameters.

    fc8 applies a hidden layer at each location before it averages locations. Otherwise fc8 would be linear in conv5,
    and the sum of two streams at conv5 would give nothing but the sum of their scores.
    `width` multiplies all channels. `inflate`: k×k filters become k×k×k, which see whole clips (see `over_time`).
    Flow is divided by 19 grey levels, which are 3 pixels at the default bound of 20.
    """
    stages: dict[str, nn.Module] = {}
    *widths, hidden = scaled((*WIDTHS, HIDDEN), width)
    with torch.device("meta"):
        channels = in_channels
        for number, (filters, stride, kernel) in enumerate(zip(widths, STRIDES, KERNELS, strict=True), start=1):
            convolution = nn.Conv2d(channels, filters, kernel, stride, padding=kernel // 2, bias=False)
            stages[f"conv{number}"] = nn.Sequential(convolution, nn.BatchNorm2d(filters), nn.ReLU(inplace=True))
            channels = filters
        stages["fc8"] = nn.Sequential(
            FullyConnected(channels, hidden),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1),
            nn.Dropout(dropout),
            FullyConnected(hidden, num_classes),
        )
    backbone = Backbone(
        "tiny",
        stages,
        channels=dict(zip(stages, (*widths, num_classes), strict=True)),
        strides=dict(zip(stages, (2, 4, 4, 8, 8, 8), strict=True)),
        dropout=dropout,
        mean=(127.5, 127.5, 127.5),
        std=(127.5, 127.5, 127.5),
        flow_std=19.0,
    )
    if inflate:
        over_time.inflate(backbone)
    return realise(backbone, weights, cross_modality=cross_modality)
