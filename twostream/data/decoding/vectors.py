"""Makes fields of the motion vectors that a codec has stored with its pictures; knows nothing of files.

A codec predicts a block of a picture from a place in another, its reference, which may be several frames away. So a
vector is divided by that distance in frames, and one that points to an earlier picture is negated. FFmpeg does not hand
out which picture a block refers to, only whether it is shown earlier or later. MPEG-1, 2 and 4 leave no choice. H.264
does: the nearest reference is assumed, which is certain only of files with one reference for each direction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
    """A picture and what is known of it. `vectors`: FFmpeg's records, or None if it has none."""

    index: int
    picture: VideoFrame
    order: int  # the place of its packet in the file
    is_reference: bool  # whether others may be predicted from it
    vectors: np.ndarray | None

    @property
    def is_between(self) -> bool:
        """Whether it is a B picture, predicted also from what is shown later."""
        return self.picture.pict_type == PictureType.B


class Moving(NamedTuple):
    """A picture and the field from the picture before to it, `made_of` the vectors of these pictures (indices)."""

    shown: Shown
    field: Field
    made_of: tuple[int, ...]


def moving(pictures: Iterable[Shown]) -> Iterator[Moving]:
    """Yields the pictures, given in the order in which they are shown, with their fields.

    A field has a vector for each cell of 8x8 pixels (as many cells as the sides have eighths, rounded), in cells:
    u to the right and v down, as far as the scene moves from the picture before. The cells are those of the picture
    itself, the later of the two. Cells without a vector (intra blocks) have that of the nearest cell with one; blocks
    that are predicted from both sides the mean of both.

    A picture without vectors (intra) has the mean of the fields before and after it, of the nearest pictures with
    vectors; a B picture of MPEG-4, of which FFmpeg hands out none, those of the next P picture, whose vectors span it.
    """
    before: Moving | None = None
    waiting: list[Shown] = []
    for shown, field in _own_fields(pictures):
        if field is None:
            waiting.append(shown)
            if len(waiting) > MOST_WAITING:
                yield _between(before, waiting.pop(0), None)
            continue
        after = Moving(shown, field, (shown.index,))
        yield from (_between(before, one, after) for one in waiting)
        yield after
        before, waiting = after, []
    yield from (_between(before, one, None) for one in waiting)


def field_size(height: int, width: int) -> tuple[int, int]:
    """Returns the number of rows and columns of cells of a picture.

    >>> field_size(240, 320), field_size(180, 323)
    ((30, 40), (22, 40))
    """
    return round(height / CELL), round(width / CELL)


def _between(before: Moving | None, shown: Shown, after: Moving | None) -> Moving:
    """Returns a picture without vectors with the mean of the fields before and after it; zeros if there is none."""
    near = [one for one in (before, after) if one is not None]
    if near:
        field: Field = np.stack([one.field for one in near]).mean(axis=0, dtype=np.float32)
    else:
        size = field_size(shown.picture.height, shown.picture.width)
        field = _upright(np.zeros((*size, 2), np.float32), shown.picture)
    return Moving(shown, field, tuple(one.shown.index for one in near))


def _own_fields(pictures: Iterable[Shown]) -> Iterator[tuple[Shown, Field | None]]:
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


def _settle(run: list[Shown], references: list[tuple[int, int]]) -> Iterator[tuple[Shown, Field | None]]:
    """Yields the fields of B pictures and of the picture that follows them, given all that they may refer to."""
    fields = [_own_field(shown, references) for shown in run]
    for shown, field in zip(run, fields, strict=True):
        yield shown, fields[-1] if field is None and shown.is_between else field


def _own_field(shown: Shown, references: list[tuple[int, int]]) -> Field | None:
    if shown.vectors is None:
        return None
    known = [index for index, order in references if order < shown.order]
    past = max((index for index in known if index < shown.index), default=None)
    future = min((index for index in known if index > shown.index), default=None)
    is_past = shown.vectors["source"] < 0
    size = shown.picture.height, shown.picture.width
    layers = []
    for chosen, reference in ((is_past, past), (~is_past, future)):
        if reference is not None and chosen.any():
            vectors = shown.vectors if chosen.all() else shown.vectors[chosen]
            layers.append(_layer(vectors, reference - shown.index, size))
    if not layers:
        return None
    fields, there = zip(*layers, strict=True)
    if len(layers) == 1:
        return _upright(_filled(fields[0], there[0]), shown.picture)
    count = there[0].astype(np.float32) + there[1]
    field = (fields[0] + fields[1]) / np.maximum(count, 1)[..., None]
    return _upright(_filled(field, count > 0), shown.picture)


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
    if known.all():
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
