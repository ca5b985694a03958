"""Pooling layers: each makes one vector of a map, or of the maps of several frames."""

from twostream.models.pooling.average_max import GAP, GMP, AddAvgMax, CatAvgMax
from twostream.models.pooling.centre import CenterWeightedPool, SPoC
from twostream.models.pooling.crow import CroW
from twostream.models.pooling.power import GeM, LpPool
from twostream.models.pooling.second_order import BilinearPool, CompactBilinear
from twostream.models.pooling.vlad import ActionVLAD, GhostVLAD, NetVLAD
from twostream.models.pooling.windows import RMAC, SPP, OverlappingMaxPool

__all__ = [
    "GAP",
    "GMP",
    "RMAC",
    "SPP",
    "ActionVLAD",
    "AddAvgMax",
    "BilinearPool",
    "CatAvgMax",
    "CenterWeightedPool",
    "CompactBilinear",
    "CroW",
    "GeM",
    "GhostVLAD",
    "LpPool",
    "NetVLAD",
    "OverlappingMaxPool",
    "SPoC",
]
