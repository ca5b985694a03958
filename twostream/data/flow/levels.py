"""Converts displacement fields to 8-bit grey levels and back."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Int8


def quantise(fields: Float32[np.ndarray, "*any"], bound: float) -> Int8[np.ndarray, "*any"]:
    """Converts displacements in pixels to int8 grey levels around zero, clipped to ±bound.

    A level is ``round(127 / bound * displacement)``, so that no motion is exactly 0, and mirroring negates a field
    exactly. Adding 128 gives the paper's flow image, ``round(255 * (x + 20) / 40)``, to within one level: in both, 128
    is no motion and 255 is +20, but -20 is 1 here and 0 in the paper, whose grid has no exact zero (127.5). The level
    -128 is unused.

    >>> quantise(np.float32([-99, -20, 0, 0.1, 10, 20]), bound=20.0)
    array([-127, -127,    0,    1,   64,  127], dtype=int8)
    """
    scaled = np.clip(fields, -bound, bound)
    scaled *= 127 / bound
    return np.rint(scaled, out=scaled).astype(np.int8)


def dequantise(levels: Int8[np.ndarray, "*any"], bound: float) -> Float32[np.ndarray, "*any"]:
    """Converts grey levels back to displacements in pixels; the error is at most half a level (bound / 254).

    >>> dequantise(np.int8([-127, 0, 127]), bound=20.0)
    array([-20.,   0.,  20.], dtype=float32)
    """
    return levels.astype(np.float32) * np.float32(bound / 127)
