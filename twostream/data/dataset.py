"""The data set of clips: samples, decodes and crops videos, and computes or reads their flow."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Bool, Int8, UInt8
from torch.utils.data import Dataset, default_collate

from twostream.data.clip import Clip
from twostream.data.decoding import VideoError
from twostream.data.flow import OpticalFlow
from twostream.data.frames import FrameSource, Kept
from twostream.data.sampling import Sampling, flow_pairs, rgb_indices
from twostream.data.sources import Video
from twostream.data.storage.flow_store import FlowStore
from twostream.data.transform import Box, crop_computed, crop_rgb, crop_stored, mirror_flow
from twostream.files.resources import shortage
from twostream.options.choices import STREAMS

BROKEN = ("error", "skip")
log = logging.getLogger(__name__)


class Transform(Protocol):
    """Chooses the crops of a clip; see `twostream.data.transform`."""

    size: int

    def fixed_size(self, height: int, width: int) -> int | tuple[int, int]: ...
    def random(self, height: int, width: int, rng: np.random.Generator) -> list[Box]: ...
    def fixed(self, height: int, width: int) -> list[Box]: ...
    def colour(self, rgb: UInt8[np.ndarray, "t 3 h w"], rng: np.random.Generator) -> UInt8[np.ndarray, "t 3 h w"]: ...


class ClipDataset(Dataset[Clip | None]):
    """Makes one `Clip` of each video; its key is (epoch, index).

    Every random choice depends only on (seed, epoch, index), so that a clip is the same whichever worker makes it.
    Training draws one view; testing returns v = temporal views × crops, which share decoded frames and flow.

    Flow is read from `flow_store` if there is one, else computed; each field only once where fields are `kept`. Raises
    `VideoError` (from `twostream.data.decoding`) for a file that cannot be decoded, `FlowStoreError` for a store that
    lacks a video.
    """

    def __init__(
        self,
        videos: Sequence[Video],
        *,
        sampling: Sampling,
        transform: Transform,
        flow: OpticalFlow,
        frame_source: FrameSource,
        flow_store: FlowStore | None = None,
        kept: Kept | None = None,
        streams: Collection[str] = STREAMS,
        training: bool = False,
        broken: str = "error",
        seed: int = 0,
    ) -> None:
        if broken not in BROKEN:
            raise ValueError(f"broken={broken!r}: choose from {', '.join(BROKEN)}")
        self.videos = tuple(videos)
        self.sampling = sampling
        self.transform = transform
        self.flow = flow
        self.frame_source = frame_source
        self.flow_store = flow_store
        self.kept = kept
        self.streams = frozenset(streams)
        self.training = training
        self.broken = broken
        self.seed = seed
        self.is_unreadable = torch.zeros(len(self.videos), dtype=torch.bool).share_memory_()
        # only decoding counts frames exactly; all workers share these counts, so it is done once (0: not counted yet)
        self._num_frames = torch.zeros(len(self.videos), dtype=torch.int32).share_memory_()

    def __len__(self) -> int:
        return len(self.videos)

    def in_fixed_views(self, *, sampling: Sampling, transform: Transform) -> ClipDataset:
        """Returns the same videos with test views by `sampling` and `transform`; both share `is_unreadable`."""
        views = copy.copy(self)
        views.sampling, views.transform, views.training = sampling, transform, False
        return views

    def num_frames(self, index: int) -> int:
        """Returns the number of frames of video `index`."""
        if self._num_frames[index] == 0:
            counted_by = self.flow_store or self.frame_source
            self._num_frames[index] = counted_by.count(self.videos[index])
        return int(self._num_frames[index])

    def unreadable(self) -> list[str]:
        """Returns the ids of the videos that broken="skip" has left out because they could not be read."""
        return [video.id for video, left_out in zip(self.videos, self.is_unreadable.tolist(), strict=True) if left_out]

    def no_clips(self) -> Clip:
        """Returns an empty batch in the shape of training batches, for a process that has no clip when others have."""
        t = self.sampling.random(10_000, self.flow.length, np.random.default_rng(0)).shape[1]
        size = self.transform.size
        rgb, flow = (3 if "rgb" in self.streams else 0), (2 * self.flow.length if "flow" in self.streams else 0)
        return Clip(
            rgb=torch.zeros(0, 1, t, rgb, size, size, dtype=torch.uint8),
            flow=torch.zeros(0, 1, t, flow, size, size, dtype=torch.int8),
            label=torch.zeros(0, dtype=torch.int64),
            index=torch.zeros(0, dtype=torch.int64),
        )

    def __getitem__(self, key: tuple[int, int]) -> Clip | None:
        """Returns the clip of `key` = (epoch, index), or None if broken="skip" and the video cannot be read."""
        try:
            return self._clip(*key)
        except VideoError as error:
            if self.broken == "error" or shortage(error):  # having too many files open is not the video's fault
                raise
            if not self.is_unreadable[key[1]]:
                log.warning("left out: %s", error)
            self.is_unreadable[key[1]] = True
            return None

    def _clip(self, epoch: int, index: int) -> Clip:
        rng = np.random.default_rng((self.seed, epoch, index))
        video, num_frames, length = self.videos[index], self.num_frames(index), self.flow.length
        if self.training:
            starts = self.sampling.random(num_frames, length, rng)
        else:
            starts = self.sampling.fixed(num_frames, length)
        shown = rgb_indices(starts, length, num_frames)
        pairs = flow_pairs(starts, length, num_frames)

        frames = self._frames(video, shown, pairs)
        if frames:
            height, width = next(iter(frames.values())).shape[:2]
        else:
            assert self.flow_store is not None
            height, width = self.flow_store.frame_size(video)
        if "flow" in self.streams and self.flow_store is None:
            try:
                self.flow.working_size(height, width)
            except ValueError as error:  # a fault of the video, so that broken=skip may leave it out
                raise VideoError(video.path, str(error)) from None
        if self.training:
            boxes, size = self.transform.random(height, width, rng), self.transform.size
        else:
            boxes, size = self.transform.fixed(height, width), self.transform.fixed_size(height, width)
        sides = (size, size) if isinstance(size, int) else size
        rgb = self._rgb(frames, shown, boxes, sides)
        if self.training and "rgb" in self.streams:
            rgb = self.transform.colour(rgb.reshape(-1, *rgb.shape[2:]), rng).reshape(rgb.shape)
        return Clip(
            rgb=torch.from_numpy(rgb),
            flow=torch.from_numpy(self._flow(video, frames, pairs, boxes, sides)),
            label=torch.tensor(video.label),
            index=torch.tensor(index),
        )

    def _frames(self, video: Video, shown: np.ndarray, pairs: np.ndarray) -> dict[int, np.ndarray]:
        """Reads the frames that RGB shows, and those that flow is computed from if there is no flow store."""
        wanted = [shown] if "rgb" in self.streams else []
        if "flow" in self.streams and self.flow_store is None:
            wanted.append(pairs)
        if not wanted:
            return {}
        needed = np.unique(np.concatenate([chosen.ravel() for chosen in wanted])).tolist()
        return dict(zip(needed, self.frame_source.read(video, needed), strict=True))

    def _rgb(
        self, frames: dict[int, np.ndarray], shown: np.ndarray, boxes: list[Box], sides: tuple[int, int]
    ) -> np.ndarray:
        """Crops the frames `shown` (v, t): uint8 (boxes*v, t, 3, h, w). Each frame is resized once per box."""
        if "rgb" not in self.streams:
            return np.zeros((len(boxes) * shown.shape[0], shown.shape[1], 0, *sides), np.uint8)
        views = np.empty((len(boxes), *shown.shape, 3, *sides), np.uint8)
        for index in np.unique(shown).tolist():
            crops = in_boxes(frames[index], boxes, lambda frame, box: crop_rgb([frame], box, sides)[0], mirrored_rgb)
            write(crops, views, shown == index)
        return views.reshape(-1, *views.shape[2:])

    def _flow(
        self,
        video: Video,
        frames: dict[int, np.ndarray],
        pairs: np.ndarray,
        boxes: list[Box],
        sides: tuple[int, int],
    ) -> np.ndarray:
        """Crops the flow of `pairs` (v, t, L, 2): int8 (boxes*v, t, 2L, h, w). Each pair is computed or read once."""
        v, t = pairs.shape[:2]
        if "flow" not in self.streams:
            return np.zeros((len(boxes) * v, t, 0, *sides), np.int8)
        distinct = np.unique(pairs.reshape(-1, 2), axis=0)
        if self.flow_store is not None:
            fields = self.flow_store.levels(video, distinct)
            crop = partial(crop_stored, size=sides)
        else:
            compute = partial(self.flow.fields, frames)
            computed = compute(distinct) if self.kept is None else self.kept.fields(video, distinct, compute)
            fields = [computed[i, j] for i, j in distinct.tolist()]
            crop = partial(crop_computed, size=sides, bound=self.flow.bound)
        views = np.empty((len(boxes), *pairs.shape[:-1], 2, *sides), np.int8)
        for pair, field in zip(distinct, fields, strict=True):
            write(in_boxes(field, boxes, crop, mirrored_flow), views, (pairs == pair).all(-1))
        return views.reshape(len(boxes) * v, t, -1, *sides)  # u1, v1, u2, v2, …


def in_boxes(
    image: np.ndarray,
    boxes: Sequence[Box],
    crop: Callable[[np.ndarray, Box], np.ndarray],
    mirror: Callable[[np.ndarray], np.ndarray],
) -> list[np.ndarray]:
    """Returns the crop of each box. If its mirror image is cropped already, mirrors that: the same result, faster."""
    cut: dict[Box, np.ndarray] = {}
    for box in boxes:
        twin = cut.get(box._replace(flip=not box.flip))
        cut[box] = crop(image, box) if twin is None else mirror(twin)
    return [cut[box] for box in boxes]


def write(crops: Sequence[np.ndarray], views: np.ndarray, shown: Bool[np.ndarray, "*any"]) -> None:
    """Writes the crop of each box to the places of its view (*any, c, h, w) that show the image."""
    for crop, view in zip(crops, views, strict=True):
        for place in np.argwhere(shown):
            view[tuple(place)] = crop


def mirrored_rgb(crop: UInt8[np.ndarray, "3 h w"]) -> UInt8[np.ndarray, "3 h w"]:
    return crop[..., ::-1]


def mirrored_flow(field: Int8[np.ndarray, "2 h w"]) -> Int8[np.ndarray, "2 h w"]:
    return np.stack(mirror_flow(*field))


def collate(clips: Sequence[Clip | None], none: Clip | None = None) -> Clip | None:
    """Returns a batch of the clips that are not None, or `none` if there is no such clip."""
    readable = [clip for clip in clips if clip is not None]
    return default_collate(readable) if readable else none
