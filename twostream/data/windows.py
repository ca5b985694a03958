"""Slides a window over a stream of frames and makes clips of it; memory does not grow with the video."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int, Int8, UInt8

from twostream.data.dataset import Transform
from twostream.data.decoding import TimedFrame
from twostream.data.flow import OpticalFlow
from twostream.data.sampling import Chunks, Sampling, flow_pairs, rgb_indices
from twostream.data.transform import Box, crop_computed, crop_rgb


class View(NamedTuple):
    """How a network's clips are made: which frames, which crop, which flow, and the `streams` that it has."""

    sampling: Sampling
    transform: Transform
    flow: OpticalFlow
    streams: tuple[str, ...]

    @property
    def length(self) -> int:
        """The number of frames that a clip spans: chunks at their test stride, or segments of one chunk each."""
        sampling: Any = self.sampling
        if isinstance(sampling, Chunks):
            return (sampling.num_chunks - 1) * sampling.test_stride + self.flow.length + 1
        return sampling.num_chunks * (self.flow.length + 1)


class Step(NamedTuple):
    """A frame, and the motion from the frame before to it, at the flow's working resolution (None at the first)."""

    second: float
    rgb: UInt8[np.ndarray, "h w 3"]
    motion: Float32[np.ndarray, "h2 w2 2"] | None


class Window(NamedTuple):
    """Frames `start` … `end` - 1, shown at `seconds` (first, last), and the clip that a network reads of them."""

    start: int
    end: int
    seconds: tuple[float, float]
    shown: Int[np.ndarray, " t"]  # the RGB frame of each chunk, counted from the start of the video
    rgb: UInt8[np.ndarray, "t a h w"]
    flow: Int8[np.ndarray, "t b h w"]
    box: Box  # the part of the frame that the clip shows


def steps(frames: Iterable[TimedFrame], flow: OpticalFlow | None) -> Iterator[Step]:
    """Yields every frame with the motion to it; each frame is prepared once, and each pair computed once."""
    if flow is None:
        for frame in frames:
            yield Step(frame.second, frame.rgb, None)
        return
    waiting: deque[TimedFrame] = deque()  # frames whose motion is not computed yet; several if flow is batched

    def pictures() -> Iterator[np.ndarray]:
        for frame in frames:
            waiting.append(frame)
            yield frame.rgb

    first = True
    for motion in flow.successive(pictures()):
        if first:
            yield Step(*waiting.popleft(), None)
            first = False
        yield Step(*waiting.popleft(), motion)
    for frame in waiting:  # a video of one frame
        yield Step(*frame, None)


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
        self._rgb: deque[np.ndarray] = deque(maxlen=length)
        self._motion: deque[np.ndarray] = deque(maxlen=length - 1)  # from each frame to the next

    def add(self, step: Step) -> Window | None:
        """Adds a frame. Returns the window that ends with it, or None if no window does."""
        height, width = step.rgb.shape[:2]
        if self._box is None:
            [self._box] = self.view.transform.fixed(height, width)
        size = self.view.transform.fixed_size(height, width)
        self._seconds.append(step.second)
        if "rgb" in self.view.streams:
            self._rgb.append(crop_rgb([step.rgb], self._box, size)[0])
        if step.motion is not None:
            self._motion.append(crop_computed(step.motion, self._box, size, self.view.flow.bound))
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
        length = self.view.flow.length
        n = min(self.length, self.count)
        start = self.count - n
        self._last_end = self.count
        chunks = self.view.sampling.fixed(n, length)
        shown, pairs = rgb_indices(chunks, length, n)[0], flow_pairs(chunks, length, n)[0]
        size = self.view.transform.size
        rgb, flow = np.zeros((len(shown), 0, size, size), np.uint8), np.zeros((len(shown), 0, size, size), np.int8)
        if "rgb" in self.view.streams:
            rgb = np.stack([self._rgb[i] for i in shown])
        if "flow" in self.view.streams:
            still = np.zeros((2, size, size), np.int8)
            flow = np.stack([np.concatenate([self._motion[i] if i < j else still for i, j in c]) for c in pairs])
        seconds = (self._seconds[0], self._seconds[-1])
        return Window(start, self.count, seconds, start + shown, rgb, flow, self._box)
