"""Makes fields of the motion vectors that a codec has stored with its pictures; knows nothing of files.

A codec predicts a block of a picture from a place in another, its reference, which may be several frames away. So a
vector is divided by that distance in frames, and one that points to an earlier picture is negated. FFmpeg does not hand
out which picture a block refers to, only whether it is shown earlier or later. MPEG-1, 2 and 4 leave no choice. H.264
does: the nearest reference is assumed, which is certain only of files with one reference for each direction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import cv2
import numpy as np
from av import VideoFrame
from av.video.frame import PictureType
from jaxtyping import Bool, Float32

from twostream.data.decoding.facts import quarter_turns

CELL = 8  # side in pixels of a cell, the smallest block for which FFmpeg hands out a vector
MOST_REFERENCES = 32  # that are remembered; H.264 allows 16
MOST_WAITING = 32  # pictures in a row without vectors, which are in memory until one with vectors comes

Field = Float32[np.ndarray, "h2 w2 2"]


class Shown(NamedTuple):
    """A picture and what is known of it. `vectors`: PyAV's records, or None if it has none."""

    index: int
    picture: VideoFrame
    order: int  # the place of its packet in the file
    is_reference: bool  # whether others may be predicted from it
    vectors: Any

    @property
    def is_between(self) -> bool:
        """Whether it is a B picture, predicted also from what is shown later."""
        return self.picture.pict_type == PictureType.B


@dataclass
class Own:
    """The field of a picture's own vectors; `past`, `future`: the pictures (indices) that these may refer to."""

    shown: Shown
    past: int | None
    future: int | None

    @cached_property
    def field(self) -> Field:
        """Is made when it is first asked for: many pictures are decoded only because others need them."""
        vectors, picture = self.shown.vectors.to_ndarray(), self.shown.picture
        size = picture.height, picture.width
        is_past = vectors["source"] < 0
        total, count = np.zeros((*field_size(*size), 2), np.float32), np.zeros(field_size(*size), np.float32)
        for chosen, reference in ((is_past, self.past), (~is_past, self.future)):
            if reference is not None and chosen.any():
                field, known = _layer(vectors[chosen], reference - self.shown.index, size)
                total, count = total + field, count + known
        if count.max(initial=0) > 1:
            total /= np.maximum(count, 1)[..., None]
        return _upright(_filled(total, count > 0), picture)


class Moving(NamedTuple):
    """A picture, and the fields whose mean leads from the picture before to it."""

    shown: Shown
    parts: tuple[Own, ...]

    @property
    def made_of(self) -> tuple[int, ...]:
        """The indices of the pictures whose vectors make up the field."""
        return tuple(part.shown.index for part in self.parts)

    @property
    def field(self) -> Field:
        """The field; zeros if no picture nearby has vectors."""
        if len(self.parts) == 1:
            return self.parts[0].field
        if self.parts:
            return np.stack([part.field for part in self.parts]).mean(axis=0, dtype=np.float32)
        still = np.zeros((*field_size(self.shown.picture.height, self.shown.picture.width), 2), np.float32)
        return _upright(still, self.shown.picture)


def moving(pictures: Iterable[Shown]) -> Iterator[Moving]:
    """Yields the pictures, given in the order in which they are shown, with their fields.

    A field has a vector for each cell of 8x8 pixels (as many cells as the sides have eighths, rounded), in cells:
    u to the right and v down, as far as the scene moves from the picture before. The cells are those of the picture
    itself, the later of the two. Cells without a vector (intra blocks) have that of the nearest cell with one; blocks
    that are predicted from both sides the mean of both.

    A picture without vectors (intra) has the mean of the fields before and after it, of the nearest pictures with
    vectors; a B picture of MPEG-4, of which FFmpeg hands out none, those of the next P picture, whose vectors span it.
    """
    before: tuple[Own, ...] = ()
    waiting: list[Shown] = []
    for shown, own in _own_fields(pictures):
        if own is None:
            waiting.append(shown)
            if len(waiting) > MOST_WAITING:
                yield Moving(waiting.pop(0), before)
            continue
        yield from (Moving(one, (*before, own)) for one in waiting)
        yield Moving(shown, (own,))
        before, waiting = (own,), []
    yield from (Moving(one, before) for one in waiting)


def field_size(height: int, width: int) -> tuple[int, int]:
    """Returns the number of rows and columns of cells of a picture.

    >>> field_size(240, 320), field_size(180, 323)
    ((30, 40), (22, 40))
    """
    return round(height / CELL), round(width / CELL)


def _own_fields(pictures: Iterable[Shown]) -> Iterator[tuple[Shown, Own | None]]:
    """Yields every picture with the field of its own vectors; a B picture once the next that is none has come."""
    references: list[tuple[int, int]] = []  # index and order
    run: list[Shown] = []
    for shown in pictures:
        run.append(shown)
        if shown.is_reference:
            references = [*references[-MOST_REFERENCES:], (shown.index, shown.order)]
        if not shown.is_between:
            yield from _settle(run, references)
            run = []
    yield from _settle(run, references)


def _settle(run: list[Shown], references: list[tuple[int, int]]) -> Iterator[tuple[Shown, Own | None]]:
    """Yields the fields of B pictures and of the picture that follows them, given all that they may refer to."""
    fields = [_own_field(shown, references) for shown in run]
    for shown, field in zip(run, fields, strict=True):
        yield shown, fields[-1] if field is None and shown.is_between else field


def _own_field(shown: Shown, references: list[tuple[int, int]]) -> Own | None:
    known = [index for index, order in references if order < shown.order]
    past = max((index for index in known if index < shown.index), default=None)
    future = min((index for index in known if index > shown.index), default=None)
    if shown.vectors is None or (past is None and future is None):
        return None
    return Own(shown, past, future)


def _layer(vectors: np.ndarray, distance: int, size: tuple[int, int]) -> tuple[Field, Bool[np.ndarray, "h2 w2"]]:
    """Returns the field of the vectors of one direction, zeros elsewhere, and which cells have one of these vectors.

    `distance`: to the reference, in frames, negative if it is shown earlier; `size`: height, width of the picture.
    """
    high, wide = vectors["h"], vectors["w"]
    rows, columns = (vectors["dst_y"] - (high >> 1)) >> 3, (vectors["dst_x"] - (wide >> 1)) >> 3
    number = np.arange(1, len(vectors) + 1)
    which = np.zeros([2 * -(-side // 16) for side in size], int)  # the number of the vector of each cell; 0: none
    which[rows, columns] = number
    for there, down, right in ((high > CELL, 1, 0), (wide > CELL, 0, 1), ((high > CELL) & (wide > CELL), 1, 1)):
        which[rows[there] + down, columns[there] + right] = number[there]
    cells = field_size(*size)
    parts = [_places(side, count) for side, count in zip(size, cells, strict=True)]
    which = which[parts[0]][:, parts[1]]
    uv = np.zeros((len(vectors) + 1, 2), np.float32)
    for axis, name in enumerate(("motion_x", "motion_y")):
        scale = cells[1 - axis] / (size[1 - axis] * distance)
        uv[1:, axis] = vectors[name] / vectors["motion_scale"] * scale
    return uv[which], which > 0


def _places(side: int, cells: int) -> slice | np.ndarray:
    """Returns which 8 pixels of a side are in the middle of each of its cells, which are a bit more or less than that.

    >>> _places(32, 4), _places(44, 6)
    (slice(0, 4, None), array([0, 1, 2, 3, 4, 5]))
    """
    if side == cells * CELL:
        return slice(0, cells)
    return ((np.arange(cells) + 0.5) * side / cells).astype(int) // CELL


def _filled(field: Field, known: Bool[np.ndarray, "h w"]) -> Field:
    """Returns the field with the vector of the nearest known cell in each cell that is not known."""
    if known.all() or not known.any():
        return field
    nearest: Any = cv2.distanceTransformWithLabels(
        (~known).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )[1]
    vectors = np.empty((int(nearest.max()) + 1, 2), np.float32)
    vectors[nearest[known]] = field[known]
    field[~known] = vectors[nearest[~known]]
    return field


def _upright(field: Field, picture: VideoFrame) -> Field:
    """Turns the field as its picture is turned to be shown."""
    for _ in range(quarter_turns(picture.rotation)):  # by 90 degrees counter-clockwise: what went down, goes right
        field = np.rot90(np.stack([field[..., 1], -field[..., 0]], axis=-1))
    return field
