"""How a linear classifier of new classes begins."""

from __future__ import annotations

from torch import nn


def start_classifier(layer: nn.Conv2d | nn.Linear, *, trained: bool) -> None:
    """Initial values of a classifier of new classes, in place: all classes are about equally likely, the loss ln k.

    `trained`: its input comes from trained layers, and may be of any scale (the maxima of SqueezeNet's last map are
    230 in the mean): zero, as Kolesnikov et al. 2020 do. Otherwise .01 * randn as Feichtenhofer et al. 2016, and less
    above 128 inputs, so that their number does not matter.
    """
    inputs = layer.weight[0].numel()
    nn.init.normal_(layer.weight, std=0.0 if trained else min(0.01, 0.01 * (128 / inputs) ** 0.5))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
