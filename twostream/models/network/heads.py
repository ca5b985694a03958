"""Finds the last layers of a network."""

from __future__ import annotations

from typing import Any

from torch import nn

from .parts import towers


def classifiers(network: Any) -> dict[str, nn.Module]:
    """Returns {dotted name: linear layer} of all heads. Scores are these layers' outputs, averaged over h, w and t."""
    layers = [one.backbone.classifier for one in towers(network).values() if "fc8" in getattr(one, "stages", ())]
    layers += [head.classifier for head in getattr(network, "heads", [])]
    names = {id(module): name for name, module in network.named_modules()}
    return {names[id(layer)]: layer for layer in layers}
