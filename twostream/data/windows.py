"""Slides a window over a stream of frames and makes clips of it; memory does not grow with the video."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int, Num, UInt8

from twostream.data.dataset import Transform
from twostream.data.decoding import TimedFrame
from twostream.data.flow import OpticalFlow
from twostream.data.made import cut_picture, positions, stacked
from twostream.data.sampling import Chunks, Sampling, chunk_span, rgb_indices
from twostream.data.transform import Box, crop_computed
from twostream.options.streams import Stream


class View(NamedTuple):
    """How a network's clips are made: which frames, which crop, which flow, and the `streams` that it has."""

    sampling: Sampling
    transform: Transform
    flow: OpticalFlow
    streams: tuple[Stream, ...]

    @property
    def span(self) -> int:
        """L of a chunk, which spans L + 1 frames."""
        return chunk_span(self.sampling, self.streams, self.flow.length)

    @property
    def length(self) -> int:
        """The number of frames that a clip spans: chunks at their test stride, or segments of one chunk each."""
        sampling: Any = self.sampling
        if isinstance(sampling, Chunks):
            return (sampling.num_chunks - 1) * sampling.test_stride + self.span + 1
        return sampling.num_chunks * (self.span + 1)


class Step(NamedTuple):
    """A frame, and the motion from the frame before to it, at the flow's working resolution (None at the first).

    `others`: the same frame of the video's other files, by column.
    """

    second: float
    rgb: UInt8[np.ndarray, "h w 3"]
    motion: Float32[np.ndarray, "h2 w2 2"] | None
    others: Mapping[str, UInt8[np.ndarray, "h3 w3 3"]] = {}


class Window(NamedTuple):
    """Frames `start` … `end` - 1, shown at `seconds` (first, last), and the clip that a network reads of them."""

    start: int
    end: int
    seconds: tuple[float, float]
    shown: Int[np.ndarray, " t"]  # the middle frame of each chunk, counted from the start of the video
    streams: tuple[Num[np.ndarray, "t c h w"], ...]
    box: Box  # the part of the frame that the clip shows


def steps(frames: Iterable[TimedFrame], flow: OpticalFlow | None) -> Iterator[Step]:
    """Yields every frame with the motion to it; each frame is prepared once, and each pair computed once.

    Raises ValueError for a flow that the file itself holds, if the frames come without it.
    """
    if flow is None or flow.from_video:
        for count, frame in enumerate(frames):
            if flow is not None and frame.motion is None:
                raise ValueError("flow=motion_vectors: a camera has none; use a video file, or another run")
            yield Step(frame.second, frame.rgb, frame.motion if count else None)
        return
    waiting: deque[TimedFrame] = deque()  # frames whose motion is not computed yet; several if flow is batched

    def pictures() -> Iterator[np.ndarray]:
        for frame in frames:
            waiting.append(frame)
            yield frame.rgb

    first = True
    for motion in flow.successive(pictures()):
        if first:
            yield Step(*waiting.popleft()[:2], None)
            first = False
        yield Step(*waiting.popleft()[:2], motion)
    for frame in waiting:  # a video of one frame
        yield Step(*frame[:2], None)


class Windows:
    """Collects steps and returns a window when one is full: frames 0 … length - 1, then every `stride` frames.

    Keeps only the crops that the network reads, and only those of the last `length` frames.

    Raises ValueError unless 1 <= stride <= length.
    """

    def __init__(self, view: View, *, length: int, stride: int) -> None:
        if length < 1 or not 1 <= stride <= length:
            raise ValueError(f"window={length!r} stride={stride!r} frames: must be 1 <= stride <= window")
        self.view = view
        self.length = length
        self.stride = stride
        self.count = 0
        self._next_end = length
        self._last_end = 0
        self._box: Box | None = None
        self._seconds: deque[float] = deque(maxlen=length)
        self._pictures: dict[Stream, deque[np.ndarray]] = {stream: deque(maxlen=length) for stream in view.streams}
        self._motion: deque[np.ndarray] = deque(maxlen=length - 1)  # from each frame to the next

    def add(self, step: Step) -> Window | None:
        """Adds a frame. Returns the window that ends with it, or None if no window does."""
        height, width = step.rgb.shape[:2]
        if self._box is None:
            [self._box] = self.view.transform.fixed(height, width)
        size, flow = self.view.transform.fixed_size(height, width), self.view.flow
        self._seconds.append(step.second)
        for stream in self.view.streams:
            if stream.made != "flow":
                frame = step.others[stream.column] if stream.column else step.rgb
                self._pictures[stream].append(cut_picture(frame, self._box, size, stream))
        if step.motion is not None:
            self._motion.append(crop_computed(step.motion, self._box, size, flow.bound, flow.cell))
        self.count += 1
        if self.count < self._next_end:
            return None
        self._next_end += self.stride
        return self._window()

    def finish(self) -> Window | None:
        """Returns a window of the last frames, at most `length`, or None if a window has ended with the last frame."""
        return self._window() if self.count > self._last_end else None

    def _window(self) -> Window:
        """Returns the window that ends with the latest frame."""
        assert self._box is not None
        span = self.view.span
        n = min(self.length, self.count)
        start = self.count - n
        self._last_end = self.count
        chunks = self.view.sampling.fixed(n, span)
        streams = tuple(self._made(stream, positions(stream, chunks, span, n)[0]) for stream in self.view.streams)
        shown = start + rgb_indices(chunks, span, n)[0]
        return Window(start, self.count, (self._seconds[0], self._seconds[-1]), shown, streams, self._box)

    def _made(self, stream: Stream, places: np.ndarray) -> Num[np.ndarray, "t c h w"]:
        """Returns the frames of a stream that show these places; see `positions`."""
        if stream.made != "flow":
            crops = np.stack([self._pictures[stream][i] for i in places.ravel()])
            return stacked(stream, crops.reshape(*places.shape, *crops.shape[1:]))
        still = np.zeros((2, self.view.transform.size, self.view.transform.size), np.int8)
        return np.stack([np.concatenate([self._motion[i] if i < j else still for i, j in c]) for c in places])
