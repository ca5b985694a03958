"""The sources of a store's fields: computing them from a video (here), or importing them (`FromJPEGs`)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Int8

from twostream.data.ahead import ahead
from twostream.data.decoding import VideoError, iterate_frames, iterate_motion, probe
from twostream.data.flow import OpticalFlow, quantise
from twostream.data.sources import Video


class Recording(NamedTuple):
    """The sizes of a video's frames and fields, and an iterator of the quantised fields from each frame to the next."""

    frame_size: tuple[int, int]  # height, width
    field_size: tuple[int, int]  # height, width
    fields: Iterator[Int8[np.ndarray, "h w 2"]]


class Recorder(Protocol):
    """Makes the recording of a video. Has to be picklable, since it is sent to other processes."""

    def __call__(self, video: Video) -> Recording: ...


class FromVideo:
    """Recorder that computes the flow of a video, or reads it, with only a few frames in memory at a time."""

    def __init__(self, flow: OpticalFlow, decoder: str) -> None:
        self.flow = flow
        self.decoder = decoder

    @property
    def on_gpu(self) -> bool:
        """Whether flow is computed on a GPU; one process is then enough to keep the GPU busy."""
        return self.flow.on_gpu

    def __call__(self, video: Video) -> Recording:
        if self.flow.from_video:
            facts = probe(video.path)
            size = facts.height, facts.width
            fields = (quantise(field, self.flow.bound / self.flow.cell) for field in iterate_motion(video.path))
            return Recording(size, self.flow.working_size(*size), fields)
        frames = iterate_frames(video.path, decoder=self.decoder)
        if self.on_gpu:  # decode while it computes
            frames = ahead(frames, 2 * self.flow.batch_size)
        first = next(frames, None)
        if first is None:
            raise VideoError(video.path, "holds no frame that can be decoded")
        levels = (quantise(field, self.flow.bound) for field in self.flow.successive(chain([first], frames)))
        height, width = first.shape[:2]
        return Recording((height, width), self.flow.working_size(height, width), levels)
