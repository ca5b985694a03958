"""Networks of one and of two streams."""

from .multi_level import MultiLevelNetwork
from .single_stream import SingleStreamNetwork
from .tower import LAYERS, STAGES, OverClip, Tower
from .two_stream import TwoStreamNetwork

__all__ = [
    "LAYERS",
    "STAGES",
    "MultiLevelNetwork",
    "OverClip",
    "SingleStreamNetwork",
    "Tower",
    "TwoStreamNetwork",
]
