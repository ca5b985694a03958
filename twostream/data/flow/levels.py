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


def mirror(fields: Float32[np.ndarray, "*any h w 2"]) -> Float32[np.ndarray, "*any h w 2"]:
    """The fields of the mirrored scene: left and right exchanged, and u negated; v stays as it is.

    >>> mirror(np.float32([[[1, 2], [3, 4]]])).tolist()
    [[[-3.0, 4.0], [-1.0, 2.0]]]
    """
    return fields[..., ::-1, :] * np.array([-1, 1], np.float32)  # a mirrored scene moves the other way in x


def interleave(stacks: np.ndarray) -> np.ndarray:
    """Stacks of L fields (…, L, 2, h, w) -> flow channels (…, 2L, h, w) in the order u1, v1, u2, v2, …

    >>> interleave(np.arange(6).reshape(3, 2, 1, 1)).ravel()
    array([0, 1, 2, 3, 4, 5])
    """
    *leading, length, components, height, width = stacks.shape
    return stacks.reshape(*leading, length * components, height, width)
