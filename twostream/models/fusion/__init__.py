"""Spatial fusion layers: each makes one map of the maps of the two streams (`fusion=<option>`)."""

from .align import Align, UpconvAlign, ZeroPadAlign
from .attention import AttentionFusion
from .base import Fusion
from .bilinear import BilinearFusion, CompactBilinearFusion
from .concat import ConcatFusion
from .conv import ConvFusion
from .cross_attention import CrossAttentionFusion
from .elementwise import MaxFusion, SumFusion
from .gated import GatedFusion
from .multi_level import MultiLevelFusion, PyramidFusion
from .residual import ResidualFusion
from .weighted import WeightedFusion

__all__ = [
    "Align",
    "AttentionFusion",
    "BilinearFusion",
    "CompactBilinearFusion",
    "ConcatFusion",
    "ConvFusion",
    "CrossAttentionFusion",
    "Fusion",
    "GatedFusion",
    "MaxFusion",
    "MultiLevelFusion",
    "PyramidFusion",
    "ResidualFusion",
    "SumFusion",
    "UpconvAlign",
    "WeightedFusion",
    "ZeroPadAlign",
]
