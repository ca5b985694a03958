"""How the frames of a stream are made: which frames of a video they show, and how pictures and fields are cut."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Int, Int8, Int16, UInt8

from twostream.data.sampling import flow_pairs
from twostream.data.transform import Box, crop_rgb, mirror_flow
from twostream.options.streams import Stream

Cut = Callable[[np.ndarray, Box], np.ndarray]  # (image, box) -> its crop, (c, h, w)


def positions(
    stream: Stream, starts: Int[np.ndarray, "v t"], span: int, num_frames: int
) -> Int[np.ndarray, "v t *any"]:
    """Returns which frames of the video each frame of the stream shows, as indices that are at most its last.

    In the middle of the span + 1 frames of each chunk: a picture (v, t), the pairs of L fields (v, t, L, 2), or the
    L + 1 frames of L differences (v, t, L + 1).

    >>> from twostream.options.streams import diff, flow, rgb
    >>> positions(rgb(), np.array([[0, 5, 10]]), span=10, num_frames=14)
    array([[ 5, 10, 13]])
    >>> positions(flow(2), np.array([[1]]), span=2, num_frames=9)[0, 0].tolist()
    [[1, 2], [2, 3]]
    >>> positions(diff(2), np.array([[1]]), span=4, num_frames=4)
    array([[[2, 3, 3]]])
    """
    first = starts + (span - stream.length) // 2
    if stream.made == "flow":
        return flow_pairs(first, stream.length, num_frames)
    if stream.made == "differences":
        first = first[..., None] + np.arange(stream.length + 1)
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
    frame: UInt8[np.ndarray, "h w 3"], box: Box, sides: int | tuple[int, int], stream: Stream
) -> UInt8[np.ndarray, "c h2 w2"]:
    """Returns the crop of a picture in the colours of its stream."""
    crop = crop_rgb([frame], box, sides)[0]
    if stream.channels == 1:
        crop = cv2.cvtColor(np.moveaxis(crop, 0, -1), cv2.COLOR_RGB2GRAY)[None]
    return inverted(crop) if box.flip and stream.inverts else crop


def mirrored_picture(crop: UInt8[np.ndarray, "c h w"], stream: Stream) -> UInt8[np.ndarray, "c h w"]:
    """Returns the crop of the mirrored scene."""
    return inverted(crop[..., ::-1]) if stream.inverts else crop[..., ::-1]


def inverted(crop: UInt8[np.ndarray, "c h w"]) -> UInt8[np.ndarray, "c h w"]:
    """Turns the first channel round: where it stores a displacement in x, a mirrored scene moves the other way."""
    crop = crop.copy()
    crop[0] = 255 - crop[0]
    return crop


def stacked(stream: Stream, frames: UInt8[np.ndarray, "*any c h w"]) -> np.ndarray:
    """Returns what a stream makes of its cut pictures: the same, or their differences, a stack for each chunk."""
    return differences(frames) if stream.made == "differences" else frames


def differences(frames: UInt8[np.ndarray, "*any l 3 h w"]) -> Int16[np.ndarray, "*any c h w"]:
    """Returns how much each colour of each frame but the first is brighter than in the frame before: R1, G1, B1, R2, …

    >>> differences(np.uint8([5, 2, 255]).reshape(3, 1, 1, 1)).ravel()
    array([ -3, 253], dtype=int16)
    """
    changes = np.subtract(frames[..., 1:, :, :, :], frames[..., :-1, :, :, :], dtype=np.int16)
    return changes.reshape(*changes.shape[:-4], -1, *changes.shape[-2:])


def mirrored_flow(field: Int8[np.ndarray, "2 h w"]) -> Int8[np.ndarray, "2 h w"]:
    return np.stack(mirror_flow(*field))
