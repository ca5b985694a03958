"""Displacement fields as 8-bit grey levels; mirroring and stacking."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Int8


def quantise(fields: Float32[np.ndarray, "*any"], bound: float) -> Int8[np.ndarray, "*any"]:
    """Displacements in pixels -> int8 grey levels around zero, clipped to ±bound.

    ``round(127 / bound * displacement)``: no motion is exactly 0, and a mirrored field is exactly negated.
    Plus 128 it is the paper's flow image, ``round(255 * (x + 20) / 40)``, to within one level: 128 is no
    motion and 255 is +20 there as here, but -20 is 1 instead of 0, because the paper's grid has no exact
    zero (127.5). -128 is unused.

    >>> quantise(np.float32([-99, -20, 0, 0.1, 10, 20]), bound=20.0)
    array([-127, -127,    0,    1,   64,  127], dtype=int8)
    """
    scaled = np.clip(fields, -bound, bound)
    scaled *= 127 / bound
    return np.rint(scaled, out=scaled).astype(np.int8)


def dequantise(levels: Int8[np.ndarray, "*any"], bound: float) -> Float32[np.ndarray, "*any"]:
    """Grey levels -> displacements in pixels, within half a level (bound / 254) of what was quantised.

    >>> dequantise(np.int8([-127, 0, 127]), bound=20.0)
    array([-20.,   0.,  20.], dtype=float32)
    """
    return levels.astype(np.float32) * np.float32(bound / 127)
