"""SqueezeNet 1.0: AlexNet's accuracy with 50 times fewer parameters."""

from __future__ import annotations

import torch
from torch import nn

from twostream.models.backbone._torchvision import torchvision_models
from twostream.models.backbone.base import Backbone, first_with_parameters, set_in_channels
from twostream.models.backbone.weights import realise


class SqueezeNet(Backbone):
    """SqueezeNet: all stages but the first and the last begin with a Fire module, with or without a pool before it."""

    def _readers(self, name: str) -> list[nn.Conv2d | nn.Conv3d]:
        first = first_with_parameters(self.stages[name])
        return [first.squeeze] if hasattr(first, "squeeze") else super()._readers(name)


def squeezenet1_0(
    in_channels: int,
    num_classes: int,
    *,
    dropout: float = 0.5,
    relu: bool = False,
    weights: str | None = None,
    cross_modality: bool = True,
) -> Backbone:
    """SqueezeNet 1.0 (Iandola et al. 2016): 8 Fire modules, no fully connected layer.

    Stages: conv1; fire2-4; fire5-6; fire7-8 (at the resolution of conv3, since there are only four); fire9. fc8 is the
    network's own classifier: dropout, 1×1 convolution, mean. `relu` adds the published ReLU after the convolution, for
    the published scores of ImageNet. With it scores are never negative, and new classes may stop learning.
    """
    models = torchvision_models("squeezenet1_0")
    with torch.device("meta"):
        source = models.squeezenet1_0(num_classes=num_classes, dropout=dropout)
        set_in_channels(source.features[0], in_channels)
    features, classifier = source.features, source.classifier
    stages = {
        "conv1": nn.Sequential(*features[:2]),
        "conv2": nn.Sequential(*features[2:6]),
        "conv3": nn.Sequential(*features[6:9]),
        "conv4": nn.Sequential(*features[9:11]),
        "conv5": nn.Sequential(*features[11:]),
        "fc8": classifier if relu else nn.Sequential(*(part for part in classifier if not isinstance(part, nn.ReLU))),
    }
    backbone = SqueezeNet(
        "squeezenet1_0",
        stages,
        channels=dict(zip(stages, (96, 256, 384, 512, 512, num_classes), strict=True)),
        strides=dict(zip(stages, (2, 4, 8, 8, 16, 16), strict=True)),
        dropout=dropout,
        source=source,
        urls={"imagenet": models.SqueezeNet1_0_Weights.IMAGENET1K_V1.url},
    )
    return realise(backbone, weights, cross_modality=cross_modality)
