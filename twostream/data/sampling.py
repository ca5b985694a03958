"""Chooses which frames of a video a clip shows: pure index arithmetic with explicit randomness.

A *chunk* that starts at frame s reads the ``flow_length + 1`` frames s … s+L: flow field j is the motion
from frame s+j to frame s+j+1, and its RGB frame is s + L//2, the middle one. With ``flow_length=0`` a chunk is
one RGB frame.

If a video is too short, the chunks first move closer together until they fit, in the end all onto the same start.
If it has fewer than L+1 frames, indices past its end become its last frame, which repeats, so that the missing flow
fields are zero motion. Frames are never made up or looped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from jaxtyping import Int

from twostream.options.streams import Stream

MOST = 10_000  # chunks, views, or frames of stride: a foreign configuration must not use up the memory


class Sampling(Protocol):
    """Chooses where the chunks of a clip start."""

    def random(self, num_frames: int, flow_length: int, rng: np.random.Generator) -> Int[np.ndarray, "1 t"]: ...
    def fixed(self, num_frames: int, flow_length: int) -> Int[np.ndarray, "v t"]: ...


class Chunks:
    """Places T chunks at t + k·stride, k = 0 … T-1; t and stride are random (Feichtenhofer et al. 2016).

    The chunks span (T-1)·stride + L + 1 frames. (The paper writes "up to t + T·tau", which would be T+1
    chunks.) Strides are drawn evenly from those in ``stride`` = (lowest, highest), both included, that fit
    into the clip; if not even the lowest fits, the stride is the largest one that does, down to 0.
    Neighbouring chunks share flow fields if the stride is below L.

    Testing uses ``test_stride`` (by default the middle of the range, rounded down; also reduced until it fits) and
    spreads ``test_views`` starts evenly from the first to the last possible one; a single view is centred.

    >>> Chunks(num_chunks=3, stride=(2, 6)).fixed(num_frames=30, flow_length=5)  # stride 4 spans 14
    array([[ 8, 12, 16]])
    >>> Chunks(num_chunks=3, stride=(2, 6), test_views=3).fixed(num_frames=30, flow_length=5)
    array([[ 0,  4,  8],
           [ 8, 12, 16],
           [16, 20, 24]])
    >>> Chunks(num_chunks=3, stride=(2, 6)).fixed(num_frames=10, flow_length=5)  # only stride 2 fits
    array([[0, 2, 4]])

    Raises ValueError for a count below 1 or strides that are not 1 <= lowest <= highest.
    """

    def __init__(
        self,
        num_chunks: int = 5,
        stride: Sequence[int] = (1, 10),
        *,
        test_stride: int | None = None,
        test_views: int = 1,
    ) -> None:
        lowest, highest = _stride_range(stride)
        self.num_chunks = _at_least_one("num_chunks", num_chunks)
        self.stride = (lowest, highest)
        self.test_stride = (lowest + highest) // 2 if test_stride is None else _at_least_one("test_stride", test_stride)
        self.test_views = _at_least_one("test_views", test_views)

    def random(self, num_frames: int, flow_length: int, rng: np.random.Generator) -> Int[np.ndarray, "1 t"]:
        """The starts of one random view, for training."""
        lowest, highest = self.stride
        fitting = self._largest_stride(num_frames, flow_length)
        stride = int(rng.integers(lowest, min(highest, fitting) + 1)) if fitting >= lowest else fitting
        start = rng.integers(self._room(num_frames, flow_length, stride) + 1)
        return (start + stride * np.arange(self.num_chunks))[None]

    def fixed(self, num_frames: int, flow_length: int) -> Int[np.ndarray, "v t"]:
        """The starts of every test view; no randomness."""
        stride = min(self.test_stride, self._largest_stride(num_frames, flow_length))
        starts = _spread(self._room(num_frames, flow_length, stride), self.test_views)
        return starts[:, None] + stride * np.arange(self.num_chunks)

    def _largest_stride(self, num_frames: int, flow_length: int) -> int:
        """Returns the largest stride at which all chunks fit into the video; 0 if all must share one start."""
        _check_clip(num_frames, flow_length)
        gaps = self.num_chunks - 1
        if gaps == 0:
            return max(self.stride[1], self.test_stride)  # the stride does not matter for a single chunk
        return max(0, (num_frames - flow_length - 1) // gaps)

    def _room(self, num_frames: int, flow_length: int, stride: int) -> int:
        """Returns the last frame at which the first chunk may start."""
        return max(0, num_frames - ((self.num_chunks - 1) * stride + flow_length + 1))


class Clip(Chunks):
    """Takes T frames in a row, `stride` apart, for networks that see motion in the frames themselves.

    A chunk starts at each of them, so with ``flow_length=1`` each frame comes with one flow field, and with 0, as where
    no stream is a stack (`chunk_span`), all frames of the video can be shown. The start is random
    in training; testing spreads ``test_views`` starts as `Chunks` does. In a video that is too short the last possible
    chunk repeats.

    >>> Clip(num_frames=4, stride=2, test_views=2).fixed(num_frames=12, flow_length=1)
    array([[ 0,  2,  4,  6],
           [ 4,  6,  8, 10]])
    >>> Clip(num_frames=6).fixed(num_frames=5, flow_length=1)
    array([[0, 1, 2, 3, 3, 3]])

    Raises ValueError for a number below 1.
    """

    def __init__(self, num_frames: int = 16, stride: int = 1, *, test_views: int = 1) -> None:
        steps = _at_least_one("stride", stride)
        super().__init__(_at_least_one("num_frames", num_frames), (steps, steps), test_views=test_views)

    def random(self, num_frames: int, flow_length: int, rng: np.random.Generator) -> Int[np.ndarray, "1 t"]:
        return np.minimum(super().random(num_frames, flow_length, rng), _num_starts(num_frames, flow_length) - 1)

    def fixed(self, num_frames: int, flow_length: int) -> Int[np.ndarray, "v t"]:
        return np.minimum(super().fixed(num_frames, flow_length), _num_starts(num_frames, flow_length) - 1)

    def _largest_stride(self, num_frames: int, flow_length: int) -> int:
        return self.test_stride  # frames are never nearer to each other


class Segments:
    """Places one chunk in each of T equal segments: at random in training, in the middle when testing (TSN).

    The segments divide the M = num_frames - L possible starts (at least 1), so that their lengths differ by at most
    one start and every start can be drawn. If a video has fewer possible starts than segments, neighbouring segments
    share a start.

    Testing follows int(tick/2 + tick·k), tick = M/T, of Temporal Segment Networks (Wang et al. 2016). With
    several views it does so for T·V positions, of which view v takes every V-th: ``num_chunks=5,
    test_views=5`` scores TSN's 25 positions.

    >>> Segments(num_chunks=3).fixed(num_frames=35, flow_length=5)  # 30 starts, segments of 10
    array([[ 5, 15, 25]])
    >>> Segments(num_chunks=3, test_views=2).fixed(num_frames=35, flow_length=5)
    array([[ 2, 12, 22],
           [ 7, 17, 27]])
    >>> Segments(num_chunks=3).fixed(num_frames=4, flow_length=5)  # no room for a chunk
    array([[0, 0, 0]])

    Raises ValueError for a count below 1.
    """

    def __init__(self, num_chunks: int = 3, *, test_views: int = 1) -> None:
        self.num_chunks = _at_least_one("num_chunks", num_chunks)
        self.test_views = _at_least_one("test_views", test_views)

    def random(self, num_frames: int, flow_length: int, rng: np.random.Generator) -> Int[np.ndarray, "1 t"]:
        """The starts of one random view, for training."""
        num_starts = _num_starts(num_frames, flow_length)
        borders = np.arange(self.num_chunks + 1) * num_starts // self.num_chunks
        lengths = np.maximum(1, np.diff(borders))  # an empty segment shares the next segment's first start
        return (borders[:-1] + rng.integers(lengths))[None]

    def fixed(self, num_frames: int, flow_length: int) -> Int[np.ndarray, "v t"]:
        """The starts of every test view; no randomness."""
        num_starts = _num_starts(num_frames, flow_length)
        count = self.num_chunks * self.test_views
        middles = (2 * np.arange(count) + 1) * num_starts // (2 * count)  # int(tick/2 + tick·k) in whole numbers
        return middles.reshape(self.num_chunks, self.test_views).T.copy()


def chunk_span(sampling: Sampling, streams: Sequence[Stream], flow_length: int) -> int:
    """Returns L of a chunk, which spans L + 1 frames: that of the longest stack of the streams.

    Without a stack it is `flow_length`, so that RGB alone shows the frames that it shows beside flow; or 0 in a `Clip`,
    of which no frame stays free for flow that nobody shows.
    """
    return max((stream.length for stream in streams), default=0) or (0 if isinstance(sampling, Clip) else flow_length)


def rgb_indices(starts: Int[np.ndarray, "v t"], flow_length: int, num_frames: int) -> Int[np.ndarray, "v t"]:
    """Returns the RGB frame of each chunk: the middle of the L+1 frames of its flow, clamped to the last frame.

    >>> rgb_indices(np.array([[0, 5, 10]]), flow_length=10, num_frames=14)
    array([[ 5, 10, 13]])
    """
    return np.minimum(starts + flow_length // 2, num_frames - 1)


def flow_pairs(starts: Int[np.ndarray, "v t"], flow_length: int, num_frames: int) -> Int[np.ndarray, "v t l 2"]:
    """Returns the frame pairs (from, to) of each chunk's flow fields; past the end they are (last, last): zero motion.

    >>> flow_pairs(np.array([[1]]), flow_length=3, num_frames=4)[0, 0].tolist()
    [[1, 2], [2, 3], [3, 3]]
    """
    first = starts[..., None] + np.arange(flow_length)
    return np.minimum(np.stack([first, first + 1], axis=-1), num_frames - 1)


def _num_starts(num_frames: int, flow_length: int) -> int:
    """Returns how many frames can start a chunk; 1 if the video is too short for a whole chunk."""
    _check_clip(num_frames, flow_length)
    return max(1, num_frames - flow_length)


def _spread(last: int, count: int) -> Int[np.ndarray, " v"]:
    """Returns ``count`` whole numbers spread evenly from 0 to ``last``, both included; the middle if ``count`` is 1.

    >>> _spread(10, 1), _spread(10, 4)
    (array([5]), array([ 0,  3,  7, 10]))
    """
    if count == 1:
        return np.array([last // 2])
    return (2 * last * np.arange(count) + (count - 1)) // (2 * (count - 1))  # rounded to nearest


def _stride_range(stride: Sequence[int]) -> tuple[int, int]:
    values = tuple(stride)
    if len(values) != 2 or not 1 <= values[0] <= values[1] <= MOST:
        raise ValueError(f"stride={list(values)}: must be two whole numbers, 1 <= lowest <= highest <= {MOST:,}")
    return int(values[0]), int(values[1])


def _at_least_one(name: str, value: int) -> int:
    if value < 1:
        raise ValueError(f"{name}={value!r}: must be at least 1")
    if value > MOST:
        raise ValueError(f"{name}={value!r}: must be at most {MOST:,}")
    return value


def _check_clip(num_frames: int, flow_length: int) -> None:
    if num_frames < 1 or flow_length < 0:
        raise ValueError(f"num_frames={num_frames!r}, flow_length={flow_length!r}: must be at least 1 and at least 0")
