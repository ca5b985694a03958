"""Networks of one and of two streams."""

from .multi_level import MultiLevelNetwork
from .residual import ResidualNetwork
from .single_stream import SingleStreamNetwork
from .tower import LAYERS, STAGES, OverClip, Tower
from .two_stream import TwoStreamNetwork

__all__ = [
    "LAYERS",
    "STAGES",
    "MultiLevelNetwork",
    "OverClip",
    "ResidualNetwork",
    "SingleStreamNetwork",
    "Tower",
    "TwoStreamNetwork",
]
