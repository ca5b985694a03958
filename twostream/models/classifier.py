"""Initial values of a linear classifier of new classes."""

from __future__ import annotations

from torch import nn


def start_classifier(layer: nn.Conv2d | nn.Linear, *, trained: bool) -> None:
    """Sets the initial values in place: all k classes are about equally likely, so that the loss starts at ln k.

    `trained` says that the input comes from trained layers. Such inputs may have any scale (the maxima of SqueezeNet's
    last map are 230 on average), so the weights are 0, as in Kolesnikov et al. 2020. Otherwise they are .01 * randn as
    in Feichtenhofer et al. 2016; smaller above 128 inputs, so that scores do not grow with the number of inputs, and
    the more so above 512: the maxima of 2048 maps of an untrained ResNet would still be too large.
    """
    inputs = layer.weight[0].numel()
    nn.init.normal_(layer.weight, std=0.0 if trained else min(0.01, 0.01 * (128 / inputs) ** 0.5, 2.56 / inputs))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
