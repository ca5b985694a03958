"""Colour jitter for RGB frames, in 8 bits; flow has no colours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


@dataclass(frozen=True)
class ColourJitter:
    """Random brightness, contrast, saturation and hue for RGB, the same for all frames of a clip.

    The factors of the first three are drawn from [1 - x, 1 + x]. Hue rotates colours about the grey axis by up to
    ±``hue`` full turns (at most 0.5; a third of a turn turns red into green). Contrast scales the distance from the
    clip's mean grey. All four are applied in this order as one affine map of the colours, which is rounded and
    clipped once. If all four are 0, nothing changes.

    Raises ValueError for a number outside its range.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __post_init__(self) -> None:
        for name, highest in (("brightness", 1), ("contrast", 1), ("saturation", 1), ("hue", 0.5)):
            value = getattr(self, name)
            if not 0 <= value <= highest:
                raise ValueError(f"transform.colour.{name}={value!r}: must lie in [0, {highest}]")

    def __call__(self, rgb: UInt8[np.ndarray, "t 3 h w"], rng: np.random.Generator) -> UInt8[np.ndarray, "t 3 h w"]:
        """Draws the four factors once and applies them to all frames."""
        if self == ColourJitter():
            return rgb
        brightness = rng.uniform(1 - self.brightness, 1 + self.brightness)
        contrast = rng.uniform(1 - self.contrast, 1 + self.contrast)
        saturation = rng.uniform(1 - self.saturation, 1 + self.saturation)
        turn = _hue_rotation(rng.uniform(-self.hue, self.hue)) @ _saturation(saturation)
        grey = brightness * float(LUMA @ rgb.mean(axis=(0, 2, 3), dtype=np.float64))
        matrix = (brightness * contrast) * turn
        offset = (1 - contrast) * grey  # saturation and hue do not change greys
        return _affine_colours(rgb, matrix, offset)


NO_COLOUR_JITTER = ColourJitter()


def _hue_rotation(turns: float) -> np.ndarray:
    """Returns the matrix (3, 3) that rotates colours about the grey axis; 1/3 maps red to green, green to blue."""
    angle = 2 * np.pi * turns
    axis = np.sqrt(1 / 3) * np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    return np.eye(3) * np.cos(angle) + axis * np.sin(angle) + np.full((3, 3), (1 - np.cos(angle)) / 3)


def _saturation(factor: float) -> np.ndarray:
    """Returns the matrix (3, 3) that blends colours with their own grey; factor 0 gives grey, 1 the same colours."""
    return factor * np.eye(3) + (1 - factor) * np.tile(LUMA, (3, 1))


def _affine_colours(rgb: np.ndarray, matrix: np.ndarray, offset: float) -> np.ndarray:
    frames, _, height, width = rgb.shape
    colours = matrix.astype(np.float32) @ rgb.reshape(frames, 3, -1).astype(np.float32)
    colours += np.float32(offset)
    np.rint(np.clip(colours, 0, 255, out=colours), out=colours)
    return colours.astype(np.uint8).reshape(frames, 3, height, width)
