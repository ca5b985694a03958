"""The data set of clips: samples, decodes and crops videos, and computes or reads their flow."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from os import PathLike
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from twostream.data.clip import Clip, Label
from twostream.data.decoding import VideoError
from twostream.data.flow import OpticalFlow
from twostream.data.frames import FrameSource, Kept
from twostream.data.made import cut_all, cut_picture, mirrored_flow, mirrored_picture, positions, stacked
from twostream.data.sampling import Sampling, chunk_span
from twostream.data.sources import Video
from twostream.data.storage.flow_store import FlowStore
from twostream.data.transform import Box, crop_computed, crop_stored
from twostream.files.resources import shortage
from twostream.options.streams import Stream, rgb
from twostream.options.streams import flow as of_flow

AnyPath = str | PathLike[str]
BROKEN = ("error", "skip")
STILL = np.zeros((1, 1, 2), np.float32)  # a field of one cell
SHAPE_TOLERANCE = 0.02  # part by which the aspects of a video's files may differ: sides are rounded, even to tens
log = logging.getLogger(__name__)


class Transform(Protocol):
    """Chooses the crops of a clip; see `twostream.data.transform`."""

    size: int

    def fixed_size(self, height: int, width: int) -> int | tuple[int, int]: ...
    def random(self, height: int, width: int, rng: np.random.Generator) -> list[Box]: ...
    def fixed(self, height: int, width: int) -> list[Box]: ...
    def colour(self, rgb: UInt8[np.ndarray, "t 3 h w"], rng: np.random.Generator) -> UInt8[np.ndarray, "t 3 h w"]: ...


class ClipDataset(Dataset[Clip | None]):
    """Makes one `Clip` of each video; its key is (epoch, index), or (epoch, index, repeat) where one comes repeatedly.

    Every random choice depends only on seed and key, so that a clip is the same whichever worker makes it.
    Training draws one view; testing returns v = temporal views × crops, which share decoded frames and flow.

    `streams`: one or two; None: RGB and flow. Flow is read from `flow_store` if there is one, else computed; each field
    only once where fields are `kept`. `num_classes`: needed where videos have several labels.

    Raises `VideoError` (from `twostream.data.decoding`) for a file that cannot be decoded, `FlowStoreError` for a store
    that lacks a video.
    """

    in_pieces = False  # whether a loader has to leave the pieces of its batches apart

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
        streams: Sequence[Stream] | None = None,
        training: bool = False,
        broken: str = "error",
        seed: int = 0,
        num_classes: int = 0,
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
        self.streams = (rgb(), of_flow(flow.length)) if streams is None else tuple(streams)
        self.training = training
        self.broken = broken
        self.seed = seed
        self.num_classes = num_classes
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
        """Returns the number of frames of video `index`, which all files of its streams have."""
        if self._num_frames[index] == 0:
            self._num_frames[index] = self._count(self.videos[index])
        return int(self._num_frames[index])

    def _count(self, video: Video) -> int:
        """Counts the frames of the files that streams show. Raises `VideoError` if they have not equally many."""
        counts = {}
        for stream in self.streams:
            file = video.in_column(stream.column)
            counted_by = self.frame_source if stream.column or self.flow_store is None else self.flow_store
            counts[file.path] = counts.get(file.path) or counted_by.count(file)
        return same_length(counts)

    def unreadable(self) -> list[str]:
        """Returns the ids of the videos that broken="skip" has left out because they could not be read."""
        return [video.id for video, left_out in zip(self.videos, self.is_unreadable.tolist(), strict=True) if left_out]

    @property
    def span(self) -> int:
        """L of a chunk, which spans L + 1 frames."""
        return chunk_span(self.sampling, self.streams, self.flow.length)

    def no_clips(self) -> Clip:
        """Returns an empty batch in the shape of training batches, for a process that has no clip when others have."""
        t = self.sampling.random(10_000, self.span, np.random.default_rng(0)).shape[1]
        size = self.transform.size
        empty = [np.zeros((0, 1, t, stream.channels, size, size), stream.dtype) for stream in self.streams]
        first, second = with_second(empty)
        nobody = torch.zeros(0, dtype=torch.int64)
        several = any(video.labels is not None for video in self.videos[:1])
        label = torch.zeros(0, self.num_classes) if several else nobody
        return Clip(torch.from_numpy(first), torch.from_numpy(second), label, nobody, nobody)

    def __getitem__(self, key: tuple[int, ...]) -> Clip | None:
        """Returns the clip of a key, or None if broken="skip" and the video cannot be read."""
        try:
            return self._clip(*key)
        except VideoError as error:
            if shortage(error):  # having too many files open is not the video's fault
                raise
            if self.broken == "error":
                raise VideoError(error.path, f"{error.reason}; broken=skip leaves out such videos") from error
            if not self.is_unreadable[key[1]]:
                log.warning("left out: %s", error)
            self.is_unreadable[key[1]] = True
            return None

    def _clip(self, epoch: int, index: int, repeat: int = 0) -> Clip:
        rng = np.random.default_rng((self.seed, epoch, index, repeat)[: 4 if repeat else 3])
        video, num_frames = self.videos[index], self.num_frames(index)
        choose = partial(self.sampling.random, rng=rng) if self.training else self.sampling.fixed
        starts = choose(num_frames, self.span)
        shown = {stream: positions(stream, starts, self.span, num_frames) for stream in self.streams}

        frames = self._frames(video, shown, num_frames)
        if frames:
            height, width = frame_size(video, frames)
        else:
            assert self.flow_store is not None
            height, width = self.flow_store.frame_size(video)
        if self._computes_flow:
            try:
                self.flow.working_size(height, width)
            except ValueError as error:  # a fault of the video, so that broken=skip may leave it out
                raise VideoError(video.path, str(error)) from None
        if self.training:
            boxes, size = self.transform.random(height, width, rng), self.transform.size
        else:
            boxes, size = self.transform.fixed(height, width), self.transform.fixed_size(height, width)
        sides = (size, size) if isinstance(size, int) else size
        made = []
        for stream, places in shown.items():
            make = self._flow if stream.made == "flow" else self._pictures
            views = make(stream, video, frames.get(stream.column, {}), places, boxes, sides)
            made.append(self._coloured(stream, views, rng))
        return Clip(*self._handed_over(made), self._label(video), torch.tensor(index), torch.tensor(repeat))

    def _coloured(self, stream: Stream, views: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if not (self.training and stream.jitters):
            return views
        return self.transform.colour(views.reshape(-1, *views.shape[2:]), rng).reshape(views.shape)

    def _handed_over(self, made: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
        first, second = (torch.from_numpy(views) for views in with_second(made))
        return first, second

    def _label(self, video: Video) -> Label:
        if video.labels is None:
            return torch.tensor(video.label)
        positive = torch.zeros(self.num_classes)
        positive[list(video.labels)] = 1.0
        return positive

    @property
    def _computes_flow(self) -> bool:
        return self.flow_store is None and any(stream.made == "flow" for stream in self.streams)

    def _frames(
        self, video: Video, shown: Mapping[Stream, np.ndarray], num_frames: int
    ) -> dict[str, dict[Any, np.ndarray]]:
        """Reads the frames that streams show, and those that flow is computed from if there is no flow store.

        Returns {column: {index: frame}}; "": of the video itself.
        """
        frames = {}
        for column in dict.fromkeys(stream.column for stream in shown):
            own = {stream: places for stream, places in shown.items() if stream.column == column}
            if read := self._read(video.in_column(column), own, num_frames):
                frames[column] = read
        return frames

    def _read(self, video: Video, shown: Mapping[Stream, np.ndarray], num_frames: int) -> dict[Any, np.ndarray]:
        wanted = [chosen for stream, chosen in shown.items() if stream.made != "flow" or self.flow_store is None]
        if not wanted:
            return {}
        if self._computes_flow and self.flow.from_video and any(stream.made == "flow" for stream in shown):
            return self._moving(video, shown, num_frames)
        needed = np.unique(np.concatenate([chosen.ravel() for chosen in wanted])).tolist()
        return dict(zip(needed, self.frame_source.read(video, needed, num_frames), strict=True))

    def _moving(self, video: Video, shown: Mapping[Stream, np.ndarray], num_frames: int) -> dict[Any, np.ndarray]:
        """Reads the frames that streams show, or one that says how large they are, and by their pairs the fields."""
        pictures = [places.ravel() for stream, places in shown.items() if stream.made != "flow"]
        [pairs] = [places.reshape(-1, 2) for stream, places in shown.items() if stream.made == "flow"]
        needed = np.unique(np.concatenate(pictures) if pictures else pairs.max()).tolist()
        moved = np.unique(pairs[pairs[:, 0] < pairs[:, 1], 1]).tolist()
        frames, motion = self.frame_source.read_moving(video, needed, moved, num_frames)
        fields = {(i, j): motion[j] if i != j else STILL for i, j in pairs.tolist()}
        return {**dict(zip(needed, frames, strict=True)), **fields}

    def _pictures(
        self,
        stream: Stream,
        video: Video,
        frames: dict[int, np.ndarray],
        shown: np.ndarray,
        boxes: list[Box],
        sides: tuple[int, int],
    ) -> np.ndarray:
        """Crops the frames `shown` (v, t, *any): (boxes*v, t, c, h, w). Each frame is resized once per box."""
        colours = stream.channels // (stream.length or 1)
        views = np.empty((len(boxes), *shown.shape, colours, *sides), np.uint8)
        images = ((shown == index, frames[index]) for index in np.unique(shown).tolist())
        cut, mirror = partial(cut_picture, sides=sides, stream=stream), partial(mirrored_picture, stream=stream)
        cut_all(images, boxes, views, cut=cut, mirror=mirror)
        return stacked(stream, views.reshape(-1, *views.shape[2:]))

    def _flow(
        self,
        stream: Stream,
        video: Video,
        frames: dict[Any, np.ndarray],
        pairs: np.ndarray,
        boxes: list[Box],
        sides: tuple[int, int],
    ) -> np.ndarray:
        """Crops the flow of `pairs` (v, t, L, 2): int8 (boxes*v, t, 2L, h, w). Each pair is computed or read once."""
        v, t = pairs.shape[:2]
        distinct = np.unique(pairs.reshape(-1, 2), axis=0)
        if self.flow_store is not None:
            fields = self.flow_store.levels(video, distinct)
            cut = partial(crop_stored, size=sides, cell=self.flow.cell)
        else:
            compute = partial(self.flow.fields, frames)
            if self.flow.from_video:  # read with the frames
                computed = frames
            else:
                computed = compute(distinct) if self.kept is None else self.kept.fields(video, distinct, compute)
            fields = [computed[i, j] for i, j in distinct.tolist()]
            cut = partial(crop_computed, size=sides, bound=self.flow.bound, cell=self.flow.cell)
        views = np.empty((len(boxes), *pairs.shape[:-1], 2, *sides), np.int8)
        images = (((pairs == pair).all(-1), field) for pair, field in zip(distinct, fields, strict=True))
        cut_all(images, boxes, views, cut=cut, mirror=mirrored_flow)
        return views.reshape(len(boxes) * v, t, -1, *sides)  # u1, v1, u2, v2, …


def collate(clips: Sequence[Clip | None], none: Clip | None = None) -> Clip | None:
    """Returns a batch of the clips that are not None, or `none` if there is no such clip."""
    readable = [clip for clip in clips if clip is not None]
    return Clip(*map(stacked_up, zip(*readable, strict=True))) if readable else none


def stacked_up(parts: Sequence[Any]) -> Any:
    """Returns the same part of several clips as one: a tensor, or pictures that are not decoded yet."""
    return default_collate(list(parts)) if isinstance(parts[0], Tensor) else parts[0].joined(parts)


def frame_size(video: Video, frames: Mapping[str, Mapping[int, np.ndarray]]) -> tuple[int, int]:
    """Returns height and width of the frames of the first file. Raises `VideoError` as `same_shape` does."""
    return same_shape({video.in_column(name).path: next(iter(own.values())).shape[:2] for name, own in frames.items()})


def same_length(counts: Mapping[AnyPath, int]) -> int:
    """Returns the number of frames of all files of a video. Raises `VideoError` for a file that has another one."""
    (first, number), *others = counts.items()
    for path, other in others:
        if other != number:
            raise VideoError(path, f"has {other} frames, and {first} has {number}: streams show the same moments")
    return number


def same_shape(sizes: Mapping[AnyPath, tuple[int, int]]) -> tuple[int, int]:
    """Returns height and width of the frames of a video's first file.

    Raises `VideoError` if another file's have another shape, so that one crop would show other parts of the scene.
    """
    (first, (height, width)), *others = sizes.items()
    for path, (h, w) in others:
        if abs(h * width - w * height) > SHAPE_TOLERANCE * w * height:
            raise VideoError(path, f"has frames of {w}×{h}, and {first} of {width}×{height}: another shape")
    return height, width


def with_second(streams: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Returns both streams (v, t, c, h, w); in place of a second one that is absent, one without channels."""
    first, *others = streams
    return first, others[0] if others else first[..., :0, :, :]
