"""Draws maps of evidence, and motion, as colours."""

from __future__ import annotations

from typing import Any

import cv2
import matplotlib
import numpy as np
from jaxtyping import Float, UInt8

from twostream.data.flow import dequantise, flow_colours
from twostream.options.streams import Stream

FULL_AT = 99  # the percentile of motion that gets the full colour: a few wrong vectors do not make the rest pale
LEAST = 0.5  # pixels; smaller motion is noise, which stays pale


def heat_over(
    picture: UInt8[np.ndarray, "h w 3"], heat: Float[np.ndarray, "g v"], largest: float
) -> UInt8[np.ndarray, "h w 3"]:
    """Lays a map of evidence over a grey picture: nothing where the map is 0, red where it is `largest`."""
    height, width = picture.shape[:2]
    share = cv2.resize(heat.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    share = np.clip(share / largest if largest > 0 else 0 * share, 0, 1)
    colours = TURBO[np.rint(255 * share).astype(np.uint8)]
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
    cover = np.minimum(0.75, 1.5 * share)[..., None]
    return np.rint((1 - cover) * grey + cover * colours).astype(np.uint8)


def stream_picture(stream: Stream, frame: np.ndarray, bound: float) -> UInt8[np.ndarray, "h w 3"]:
    """Draws a frame of a stream (c, h, w) as a network reads it; `bound`: of flow."""
    if stream.made == "flow":
        return motion_picture(clip_motion(frame, bound))
    middle = stream.length // 2 * 3
    frame = frame[middle : middle + 3]
    if stream.is_signed:  # grey: no change
        frame = (frame.astype(np.float32) / 2 + 128).clip(0, 255).astype(np.uint8)
    return clip_picture(np.broadcast_to(frame, (3, *frame.shape[1:])))


def clip_picture(rgb: UInt8[np.ndarray, "3 h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """Turns a frame as a network reads it into a picture."""
    return np.ascontiguousarray(np.moveaxis(rgb, 0, -1))


def clip_motion(flow: np.ndarray, bound: float) -> Float[np.ndarray, "h w 2"]:
    """Returns the mean motion of a stack (2L, h, w) of quantised fields, in pixels of the crop."""
    fields = dequantise(flow, bound).reshape(-1, 2, *flow.shape[-2:])
    return np.moveaxis(fields.mean(0), 0, -1)


def full_colour(motion: Float[np.ndarray, "*any 2"]) -> float:
    """Returns how many pixels of motion get the full colour."""
    return max(LEAST, float(np.percentile(np.linalg.norm(motion, axis=-1), FULL_AT)))


def motion_picture(motion: Float[np.ndarray, "h w 2"], largest: float | None = None) -> UInt8[np.ndarray, "h w 3"]:
    """Draws motion in the colours of the Middlebury wheel.

    `largest`: pixels of motion that get the full colour; None: see `full_colour`.
    """
    return flow_colours(motion, full_colour(motion) if largest is None else largest)


def _turbo() -> np.ndarray:
    colours: Any = matplotlib.colormaps["turbo"](np.arange(256))
    return (255 * colours[:, :3]).astype(np.float32)


TURBO = _turbo()
