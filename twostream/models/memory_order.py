"""Sets the order in which a network's weights are stored in memory."""

from __future__ import annotations

import torch
from torch import nn

from twostream.models.network.tower import Normalise

ORDERS = {4: torch.channels_last, 5: torch.channels_last_3d}  # by the number of a tensor's dimensions


def channels_last(network: nn.Module) -> nn.Module:
    """Stores filters of 2-D and 3-D convolutions with channels as the fastest axis, in place; returns `network`.

    The input is brought into this order while it is whole numbers of one byte; from then on every layer keeps it. On a
    CPU, 2-D convolutions then take about a quarter less time, 3-D ones as long as before.
    `Module.to(memory_format=torch.channels_last)` would fail, because it converts 5-D filters, too, and these need
    `torch.channels_last_3d`.
    """
    for parameter in network.parameters():
        if parameter.ndim in ORDERS:
            parameter.data = parameter.data.contiguous(memory_format=ORDERS[parameter.ndim])
    for module in network.modules():
        if isinstance(module, Normalise):
            module.channels_last = True
    return network
