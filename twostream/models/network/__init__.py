"""Networks of one and of two streams."""

from .multi_level import MultiLevelNetwork
from .single_stream import SingleStreamNetwork
from .tower import LAYERS, STAGES, STREAMS, OverClip, Tower
from .two_stream import TwoStreamNetwork

__all__ = [
    "LAYERS",
    "STAGES",
    "STREAMS",
    "MultiLevelNetwork",
    "OverClip",
    "SingleStreamNetwork",
    "Tower",
    "TwoStreamNetwork",
]
