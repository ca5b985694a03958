"""GoogLeNet."""

from __future__ import annotations

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
from twostream.models.backbone.weights import realise


class GoogLeNet(Backbone):
    """A network of Inception blocks; all stages but the first begin with a pool and a convolution or such a block."""

    def _readers(self, name: str) -> list[nn.Conv2d | nn.Conv3d]:
        block = first_with_parameters(self.stages[name])
        if not hasattr(block, "branch1"):
            return [first_convolution(block)]
        return [first_convolution(branch) for branch in block.children()]


def googlenet(
    in_channels: int,
    num_classes: int,
    *,
    dropout: float = 0.5,
    weights: str | None = None,
    cross_modality: bool = True,
    inflate: bool = False,
) -> Backbone:
    """GoogLeNet (Szegedy et al. 2015) as torchvision has it: with batch norm, and 3×3 filters for 5×5.

    conv3, conv4, conv5 are Inception 3, 4 and 5. The two further classifiers that helped to train it are left out.
    `inflate`: k×k filters become k×k×k, as in I3D (see `twostream.models.backbone.over_time`). Input is (x - .5) / .5,
    which is what the weights for ImageNet were trained with.
    """
    models = torchvision_models("googlenet")
    with torch.device("meta"):
        source = models.googlenet(num_classes=num_classes, aux_logits=False, init_weights=False)
        set_in_channels(source.conv1.conv, in_channels)
        source.fc = FullyConnected(source.fc.in_features, num_classes)
    stages = {
        "conv1": nn.Sequential(source.conv1),
        "conv2": nn.Sequential(source.maxpool1, source.conv2, source.conv3),
        "conv3": nn.Sequential(source.maxpool2, source.inception3a, source.inception3b),
        "conv4": nn.Sequential(source.maxpool3, *(getattr(source, f"inception4{letter}") for letter in "abcde")),
        "conv5": nn.Sequential(source.maxpool4, source.inception5a, source.inception5b),
        "fc8": nn.Sequential(source.avgpool, nn.Dropout(dropout), source.fc),
    }
    backbone = GoogLeNet(
        "googlenet",
        stages,
        channels=dict(zip(stages, (64, 192, 480, 832, 1024, num_classes), strict=True)),
        strides=dict(zip(stages, (2, 4, 8, 16, 32, 32), strict=True)),
        dropout=dropout,
        mean=(127.5, 127.5, 127.5),
        std=(127.5, 127.5, 127.5),
        flow_std=127.5,
        source=source,
        urls={"imagenet": models.GoogLeNet_Weights.IMAGENET1K_V1.url},
    )
    if inflate:
        over_time.inflate(backbone)
    return realise(backbone, weights, cross_modality=cross_modality)
