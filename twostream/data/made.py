"""How the frames of a stream are made: which frames of a video they show, and how pictures and fields are cut."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from jaxtyping import Bool, Int, Int8, UInt8

from twostream.data.sampling import flow_pairs
from twostream.data.transform import Box, crop_rgb, mirror_flow
from twostream.options.streams import Stream

Cut = Callable[[np.ndarray, Box], np.ndarray]  # (image, box) -> its crop, (c, h, w)


def positions(
    stream: Stream, starts: Int[np.ndarray, "v t"], span: int, num_frames: int
) -> Int[np.ndarray, "v t *any"]:
    """Returns which frames of the video each frame of the stream shows, as indices that are at most its last.

    In the middle of the span + 1 frames of each chunk: a picture (v, t), or the pairs of L fields (v, t, L, 2).

    >>> from twostream.options.streams import flow, rgb
    >>> positions(rgb(), np.array([[0, 5, 10]]), span=10, num_frames=14)
    array([[ 5, 10, 13]])
    >>> positions(flow(2), np.array([[1]]), span=2, num_frames=9)[0, 0].tolist()
    [[1, 2], [2, 3]]
    """
    first = starts + (span - stream.length) // 2
    if stream.made == "flow":
        return flow_pairs(first, stream.length, num_frames)
    return np.minimum(first, num_frames - 1)


def cut_all(
    images: Iterable[tuple[Bool[np.ndarray, "*any"], np.ndarray]],
    boxes: Sequence[Box],
    views: np.ndarray,
    *,
    cut: Cut,
    mirror: Callable[[np.ndarray], np.ndarray],
) -> None:
    """Fills the views (boxes, *any, c, h, w) with crops; each image comes with the places that show it."""
    for shown, image in images:
        for crop, view in zip(in_boxes(image, boxes, cut, mirror), views, strict=True):
            for place in np.argwhere(shown):
                view[tuple(place)] = crop


def in_boxes(
    image: np.ndarray,
    boxes: Sequence[Box],
    cut: Cut,
    mirror: Callable[[np.ndarray], np.ndarray],
) -> list[np.ndarray]:
    """Returns the crop of each box. If its mirror image is cropped already, mirrors that: the same result, faster."""
    made: dict[Box, np.ndarray] = {}
    for box in boxes:
        twin = made.get(box._replace(flip=not box.flip))
        made[box] = cut(image, box) if twin is None else mirror(twin)
    return [made[box] for box in boxes]


def cut_picture(
    frame: UInt8[np.ndarray, "h w 3"], box: Box, sides: int | tuple[int, int]
) -> UInt8[np.ndarray, "3 h2 w2"]:
    return crop_rgb([frame], box, sides)[0]


def mirrored_picture(crop: UInt8[np.ndarray, "3 h w"]) -> UInt8[np.ndarray, "3 h w"]:
    return crop[..., ::-1]


def mirrored_flow(field: Int8[np.ndarray, "2 h w"]) -> Int8[np.ndarray, "2 h w"]:
    return np.stack(mirror_flow(*field))
