"""Shows displacement fields as colours, by the colour wheel of the Middlebury benchmark."""

from __future__ import annotations

from functools import cache

import numpy as np
from jaxtyping import Float, UInt8

# The number of colours from each corner (red, yellow, green, cyan, blue, magenta) to the next: they look evenly spaced.
STEPS = (15, 6, 4, 11, 13, 6)
CORNERS = ((255, 0, 0), (255, 255, 0), (0, 255, 0), (0, 255, 255), (0, 0, 255), (255, 0, 255))
TOO_LARGE = 0.75  # factor that darkens displacements beyond the largest


@cache
def colour_wheel() -> Float[np.ndarray, "55 3"]:
    """Returns the 55 colours of the wheel: from red through yellow, green, cyan, blue and magenta back towards red.

    Baker et al., "A Database and Evaluation Methodology for Optical Flow", IJCV 2011; numbers as in their code.

    >>> colour_wheel()[[0, 15, 21, 25, 36, 49]].astype(int).tolist() == [list(corner) for corner in CORNERS]
    True
    """
    parts = []
    for start, end, steps in zip(CORNERS, CORNERS[1:] + CORNERS[:1], STEPS, strict=True):
        part = np.repeat(np.array([start], float), steps, axis=0)
        ramp = np.floor(255 * np.arange(steps) / steps)
        for channel in range(3):
            if start[channel] != end[channel]:
                part[:, channel] = ramp if end[channel] else 255 - ramp
        parts.append(part)
    return np.concatenate(parts)


def flow_colours(field: Float[np.ndarray, "h w 2"], largest: float) -> UInt8[np.ndarray, "h w 3"]:
    """Paints each displacement: its direction gives the hue, its length the saturation.

    No motion is white, and a displacement of `largest` pixels has the full colour; longer ones are darkened.
    Right is red, down yellow, left cyan, up blue-violet.

    >>> flow_colours(np.float32([[[0, 0], [2, 0], [1, 0], [3, 0]]]), largest=2.0).tolist()
    [[[255, 255, 255], [255, 0, 0], [255, 127, 127], [191, 0, 0]]]
    """
    u, v = np.moveaxis(np.asarray(field, np.float64), -1, 0) / largest
    radius = np.hypot(u, v)
    wheel = colour_wheel()
    place = (np.arctan2(-v, -u) / np.pi + 1) / 2 * (len(wheel) - 1)
    place = np.where(radius > 0, place, 0)
    below = np.minimum(np.floor(place).astype(int), len(wheel) - 1)
    share = (place - below)[..., None]
    colour = ((1 - share) * wheel[below] + share * wheel[(below + 1) % len(wheel)]) / 255
    small = 1 - radius[..., None] * (1 - colour)
    return np.floor(255 * np.where(radius[..., None] <= 1, small, TOO_LARGE * colour)).astype(np.uint8)
