"""Crops and flips: one random draw per clip, the same for both streams and all frames.

A transform draws a `Box`, a part of the frame as fractions of its height and width, so that RGB frames at
their own resolution and flow fields at a lower one are cropped alike. `crop_rgb` and `crop_flow` crop and
resize. RGB stays uint8; conversion to float and normalisation happen on the device.

Sizes are relative to the frame's short side: ``crop_fraction=0.875`` is the papers' crop of 224 pixels from frames
resized to a short side of 256, whatever size the file has (UCF101 and HMDB51 have 240). No frame is resized twice.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import ceil, floor
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float32, Int8, Num, UInt8

from twostream.data.colour import NO_COLOUR_JITTER, ColourJitter
from twostream.data.flow import quantise

MOST = 127  # the largest grey level of a field
LEVEL_OF_BYTE = np.arange(256, dtype=np.uint8).view(np.int8).astype(np.float32)  # each level, where cv2.LUT finds it
LARGEST = 4096  # pixels per side of a network's input: a foreign configuration must not use up the memory
# positions (down, right) of a crop in its free room: 0 = top or left border, 1 = bottom or right border
CENTRE = ((0.5, 0.5),)
CORNERS = ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0))
EDGES = ((0.0, 0.5), (0.5, 0.0), (0.5, 1.0), (1.0, 0.5))
QUARTERS = ((0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75))
TEST_CROPS = {"centre": CENTRE, "full": CENTRE, "five": CORNERS + CENTRE, "ten": CORNERS + CENTRE}
POSITIONS = ("borders", "corners")


class Box(NamedTuple):
    """A part of the frame, as fractions of its height and width in [0, 1], and whether it is mirrored."""

    top: float
    left: float
    height: float
    width: float
    flip: bool = False

    def pixels(self, height: int, width: int) -> tuple[slice, slice]:
        """Returns rows and columns of the box in an image of the given size; both have at least one pixel."""
        rows = max(1, round(self.height * height))
        columns = max(1, round(self.width * width))
        top = min(round(self.top * height), height - rows)
        left = min(round(self.left * width), width - columns)
        return slice(top, top + rows), slice(left, left + columns)


class Transform(ABC):
    """Chooses the crops of a clip, the same for both streams; each variant draws training crops in `_random_box`.

    Args:
        size: side of the square training crops after resizing, in pixels.
        crop_fraction: side of the (nominal) crop relative to the frame's short side, in (0, 1].
        flip: probability of mirroring a training clip. Use 0 if classes differ by left and right.
        test: the crops at test time: "centre", "five" (four corners, then the centre), "ten" (those, then
            the same mirrored), or "full": the whole frame at its own aspect, its short side resized to
            ``size / crop_fraction`` (see `fixed_size`).
        test_flip: also score each test crop mirrored.
        colour: jitter of the RGB colours in training.

    Raises ValueError for an unknown ``test`` and for numbers outside their range.
    """

    def __init__(
        self,
        *,
        size: int,
        crop_fraction: float,
        flip: float,
        test: str,
        test_flip: bool,
        colour: ColourJitter,
    ) -> None:
        if not 1 <= size <= LARGEST:
            raise ValueError(f"transform.size={size!r}: must be at least 1 pixel, and at most {LARGEST:,}")
        _check_fraction("crop_fraction", crop_fraction, positive=True)
        _check_fraction("flip", flip)
        _check_choice("test", test, TEST_CROPS)
        self.size = size
        self.crop_fraction = crop_fraction
        self.flip = flip
        self.test = test
        self.test_flip = test_flip
        self.colour = colour

    @abstractmethod
    def _random_box(self, height: int, width: int, rng: np.random.Generator) -> Box:
        """Draws a training crop, not mirrored."""

    def random(self, height: int, width: int, rng: np.random.Generator) -> list[Box]:
        """Draws the one box of a training clip."""
        box = self._random_box(height, width, rng)
        return [box._replace(flip=bool(rng.random() < self.flip))]

    def fixed(self, height: int, width: int) -> list[Box]:
        """Returns the boxes of the test views: all that are not mirrored, then all that are."""
        side = self._side(height, width)
        rows, columns = (height, width) if self.test == "full" else (side, side)
        boxes = [_place(rows, columns, where, height, width) for where in TEST_CROPS[self.test]]
        if self.test_flip or self.test == "ten":
            boxes += [box._replace(flip=True) for box in boxes]
        return boxes

    def fixed_size(self, height: int, width: int) -> tuple[int, int]:
        """Returns height and width of a test view of frames of the given size; not square for ``test="full"``."""
        if self.test != "full":
            return self.size, self.size
        scale = self.size / self.crop_fraction / min(height, width)
        return round(height * scale), round(width * scale)

    def _side(self, height: int, width: int) -> int:
        """Returns the side of the nominal crop, in pixels of a frame of the given size."""
        return max(1, round(self.crop_fraction * min(height, width)))


class JitterCrop(Transform):
    """The paper's crop: height and width vary independently by ±25 %, near the borders of the frame.

    Each side is the nominal one (``crop_fraction`` of the short side) times a number from [1 - jitter, 1 +
    jitter], but at most the frame's; the crop is then resized to ``size``, so that scale and aspect both
    vary. On each axis ``position="borders"`` leaves at most the part ``border`` (by default a quarter) of the free
    room between the crop and the nearer border; "corners" takes one of the four corners or the centre (the paper's
    VGG-16). Feichtenhofer et al. 2016, with the formula of the authors' code.
    """

    def __init__(
        self,
        *,
        size: int = 224,
        crop_fraction: float = 0.875,
        jitter: float = 0.25,
        position: str = "borders",
        border: float = 0.25,
        flip: float = 0.5,
        test: str = "centre",
        test_flip: bool = True,
        colour: ColourJitter = NO_COLOUR_JITTER,
    ) -> None:
        super().__init__(
            size=size, crop_fraction=crop_fraction, flip=flip, test=test, test_flip=test_flip, colour=colour
        )
        _check_fraction("jitter", jitter)
        _check_fraction("border", border)
        _check_choice("position", position, POSITIONS)
        self.jitter = jitter
        self.position = position
        self.border = border

    def _random_box(self, height: int, width: int, rng: np.random.Generator) -> Box:
        nominal = self.crop_fraction * min(height, width)
        factors = rng.uniform(1 - self.jitter, 1 + self.jitter, size=2)
        rows, columns = (
            max(1, round(min(nominal * float(factor), side)))
            for factor, side in zip(factors, (height, width), strict=True)
        )
        return _place(rows, columns, self._position(rng), height, width)

    def _position(self, rng: np.random.Generator) -> tuple[float, float]:
        if self.position == "corners":
            return (CORNERS + CENTRE)[rng.integers(5)]
        distances = rng.uniform(0, self.border, size=2)
        far = rng.random(2) < 0.5  # measured from the bottom or right border instead
        down, right = np.where(far, 1 - distances, distances)
        return float(down), float(right)


class MultiScaleCrop(Transform):
    """TSN's multi-scale corner crop (Wang et al. 2016).

    Height and width are two ``scales`` times the frame's short side, whose places in that list are at most
    ``max_distort`` apart. The crop is in one of the four corners or the centre, or, with ``more_positions``,
    also at the middle of an edge or of a quarter (13 positions in all). ``crop_fraction`` is for testing only.

    Raises ValueError for no scales and for numbers outside their range.
    """

    def __init__(
        self,
        *,
        size: int = 224,
        scales: Sequence[float] = (1.0, 0.875, 0.75, 0.66),
        max_distort: int = 1,
        more_positions: bool = False,
        crop_fraction: float = 0.875,
        flip: float = 0.5,
        test: str = "centre",
        test_flip: bool = False,
        colour: ColourJitter = NO_COLOUR_JITTER,
    ) -> None:
        super().__init__(
            size=size, crop_fraction=crop_fraction, flip=flip, test=test, test_flip=test_flip, colour=colour
        )
        if not scales or max_distort < 0:
            raise ValueError(
                f"transform.scales={list(scales)}, max_distort={max_distort!r}: must be a list and at least 0"
            )
        for scale in scales:
            _check_fraction("scales", scale, positive=True)
        self.pairs = [
            (float(tall), float(wide))
            for i, tall in enumerate(scales)
            for j, wide in enumerate(scales)
            if abs(i - j) <= max_distort
        ]
        self.positions = CORNERS + CENTRE + (EDGES + QUARTERS if more_positions else ())

    def _random_box(self, height: int, width: int, rng: np.random.Generator) -> Box:
        short_side = min(height, width)
        tall, wide = self.pairs[rng.integers(len(self.pairs))]
        where = self.positions[rng.integers(len(self.positions))]
        return _place(max(1, round(tall * short_side)), max(1, round(wide * short_side)), where, height, width)


class CentreCrop(Transform):
    """Crops the centre of the frame, in training too; with ``crop_fraction=1`` square frames stay whole."""

    def __init__(
        self,
        *,
        size: int = 224,
        crop_fraction: float = 0.875,
        flip: float = 0.0,
        test: str = "centre",
        test_flip: bool = False,
        colour: ColourJitter = NO_COLOUR_JITTER,
    ) -> None:
        super().__init__(
            size=size, crop_fraction=crop_fraction, flip=flip, test=test, test_flip=test_flip, colour=colour
        )

    def _random_box(self, height: int, width: int, rng: np.random.Generator) -> Box:
        side = self._side(height, width)
        return _place(side, side, CENTRE[0], height, width)


def crop_rgb(
    frames: Sequence[UInt8[np.ndarray, "h w 3"]] | UInt8[np.ndarray, "n h w 3"],
    box: Box,
    size: int | tuple[int, int],
) -> UInt8[np.ndarray, "n 3 h2 w2"]:
    """Crops the box from every frame and resizes it to ``size``: one side, or (height, width)."""
    height, width = _height_width(size)
    cropped = np.empty((len(frames), 3, height, width), np.uint8)
    for frame, planes in zip(frames, cropped, strict=True):
        resized = _resized(frame[box.pixels(*frame.shape[:2])], height, width)
        cv2.split(cv2.flip(resized, 1) if box.flip else resized, list(planes))
    return cropped


def crop_flow(
    fields: Sequence[Float32[np.ndarray, "h w 2"]] | Float32[np.ndarray, "n h w 2"],
    box: Box,
    size: int | tuple[int, int],
) -> Float32[np.ndarray, "n 2 h2 w2"]:
    """Crops the box from every field, resizes it, and scales its displacements to pixels of the result.

    On each axis, resizing by a factor multiplies displacements by that factor; mirroring negates those in x. In memory
    u and v of a pixel stay side by side.
    """
    height, width = _height_width(size)
    rows, columns = box.pixels(*fields[0].shape[:2])
    scales = np.tile(flow_scales(rows, columns, height, width, box.flip), width)  # of a row: u, v, u, v, …
    cropped = np.empty((len(fields), height, width, 2), np.float32)
    for field, scaled in zip(fields, cropped, strict=True):
        resized = _resized(field[rows, columns], height, width)
        resized = cv2.flip(resized, 1) if box.flip else resized
        np.multiply(resized.reshape(height, -1), scales, out=scaled.reshape(height, -1))
    return cropped.transpose(0, 3, 1, 2)


def crop_computed(
    field: Float32[np.ndarray, "h w 2"], box: Box, size: int | tuple[int, int], bound: float, cell: int = 1
) -> Int8[np.ndarray, "2 h2 w2"]:
    """Crops a field by `crop_flow` and returns its grey levels (see `quantise`); one of cells by `crop_cells`."""
    if cell > 1:
        return crop_cells(field.transpose(2, 0, 1) * np.float32(127 / bound), box, size)
    [cropped] = crop_flow([field], box, size)
    levels: Any = np.empty(cropped.shape, np.int8)
    cv2.split(quantise(cropped.transpose(1, 2, 0), bound), list(levels))
    return levels


def crop_stored(
    levels: Int8[np.ndarray, "2 h w"], box: Box, size: int | tuple[int, int], cell: int = 1
) -> Int8[np.ndarray, "2 h2 w2"]:
    """Crops a field that is stored as grey levels, and returns its grey levels.

    It is `crop_computed` of the same displacements, but for rounding: both are the level next to the exact value, and
    where that lies in the middle between two levels, they may differ by one. Never makes displacements of the whole
    field, and resizes u and v apart, for which OpenCV is twice as fast.

    A field of cells is stored `cell` times as finely; see `crop_cells`.
    """
    if cell > 1:
        return crop_cells(levels / np.float32(cell), box, size)
    height, width = _height_width(size)
    rows, columns = box.pixels(*levels.shape[1:])
    cropped = np.empty((2, height, width), np.int8)
    for plane, scale, target in zip(levels, flow_scales(rows, columns, height, width, box.flip), cropped, strict=True):
        resized = _resized(cv2.LUT(plane[rows, columns].view(np.uint8), scale * LEVEL_OF_BYTE), height, width)
        np.clip(np.rint(resized, out=resized), -MOST, MOST, out=resized)
        target[:] = resized[:, ::-1] if box.flip else resized
    return cropped


def crop_cells(
    levels: Float32[np.ndarray, "2 h w"], box: Box, size: int | tuple[int, int]
) -> Int8[np.ndarray, "2 h2 w2"]:
    """Crops a field with few, large cells, in levels, exactly at the box, which need not begin or end with a cell.

    As with `crop_flow`, levels are multiplied by the factor by which a cell is enlarged.
    """
    sides, parts, cut = _height_width(size), [], []
    for side, cells, start, share in zip(sides, levels.shape[1:], box[:2], box[2:4], strict=True):
        first, last = start * cells, (start + share) * cells  # with half a cell around, which interpolation reads
        low, high = max(0, floor(first - 0.5)), min(cells, ceil(last + 0.5))
        scale = side / (last - first)
        length = max(side, round((high - low) * scale))
        begin = min(length - side, round((first - low) * scale))
        parts.append((slice(low, high), length, scale))
        cut.append(slice(begin, begin + side))
    (rows, height, scale_v), (columns, width, scale_u) = parts
    cropped = np.empty((2, *sides), np.int8)
    for plane, scale, target in zip(levels, (scale_u, scale_v), cropped, strict=True):
        near = np.clip(plane[rows, columns] * np.float32(scale), -MOST, MOST)
        target[:] = np.rint(_resized(near, height, width)[tuple(cut)])
    return np.stack(mirror_flow(*cropped)) if box.flip else cropped


def mirror_flow(u: Num[np.ndarray, "*n h w"], v: Num[np.ndarray, "*n h w"]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the flow of the mirrored scene, which moves the other way in x.

    >>> mirror_flow(np.array([[1, 2]]), np.array([[3, 4]]))
    (array([[-2, -1]]), array([[4, 3]]))
    """
    return -u[..., ::-1], v[..., ::-1]


def _resized(part: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes a part of an image, (h, w) or (h, w, c), which may be a view: OpenCV reads it in place."""
    shrinks = part.shape[0] > height and part.shape[1] > width
    return cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def flow_scales(rows: slice, columns: slice, height: int, width: int, flip: bool) -> Float32[np.ndarray, " 2"]:
    """Returns what the displacements u and v of a part are multiplied by when it is resized, and mirrored if `flip`."""
    scale_u, scale_v = width / (columns.stop - columns.start), height / (rows.stop - rows.start)
    return np.float32([-scale_u if flip else scale_u, scale_v])  # type: ignore[return-value]


def _place(rows: int, columns: int, where: tuple[float, float], height: int, width: int) -> Box:
    """Returns a box of `rows` x `columns` pixels at the relative position `where` of its free room."""
    top = round(where[0] * (height - rows))
    left = round(where[1] * (width - columns))
    return Box(top / height, left / width, rows / height, columns / width)


def _height_width(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def _check_fraction(name: str, value: float, *, positive: bool = False) -> None:
    if not (0 < value <= 1 or (value == 0 and not positive)):
        raise ValueError(f"transform.{name}={value!r}: must lie in {'(' if positive else '['}0, 1]")


def _check_choice(name: str, value: str, choices: Sequence[str] | dict[str, object]) -> None:
    if value not in choices:
        raise ValueError(f"transform.{name}={value!r}: no such option; choose from {', '.join(choices)}")
