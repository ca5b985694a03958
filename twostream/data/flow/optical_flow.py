"""The interface of a flow algorithm: it computes the displacement field of a pair of frames.

A field is float32 (h, w, 2). It says of every pixel of the earlier frame how far it moves, in pixels: u to the
right and v down.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float32, UInt8

LARGEST_SIDE = 4096
SMALLEST_SIDE = 16  # pixels; in smaller frames the coarse pyramid levels of the algorithms would be empty


class OpticalFlow(ABC):
    """Computes dense optical flow: a field depends only on its two frames and the options, not on earlier calls.

    Args:
        length: L, fields per stack; a stack reads L+1 frames.
        bound: displacements are clipped to ±bound pixels when they are quantised (the paper: 20).
        short_side: frames are resized to this short side, in pixels, before the flow is computed. Fields
            stay at that working resolution and are measured in its pixels; None keeps the frames' size. Half
            the side is about four times as fast; the paper computes at 256.

    Raises ValueError for a length below 1, a bound that is not positive, a short side below 16 or above 4096 pixels.
    """

    version = 1  # of the algorithm: raise it when the same frames and options give another field than before
    batch_size = 1  # pairs that are computed together
    on_gpu = False
    from_video = False  # whether the file holds the fields: frame sources read them with the frames (`read_moving`)
    cell = 1  # side in pixels of the frame that one vector stands for; fields are stored that many times as finely
    not_in_settings: tuple[str, ...] = ("length",)  # attributes that do not change a field

    def __init__(self, *, length: int = 10, bound: float = 20.0, short_side: int | None = None) -> None:
        if length < 1:
            raise ValueError(f"flow.length={length!r}: must be at least 1 field")
        if not bound > 0:
            raise ValueError(f"flow.bound={bound!r}: must be a positive number of pixels")
        if short_side is not None and not SMALLEST_SIDE <= short_side <= LARGEST_SIDE:
            sides = f"at least {SMALLEST_SIDE} pixels and at most {LARGEST_SIDE:,}"
            raise ValueError(f"flow.short_side={short_side!r}: must be {sides}, or null")
        self.length = length
        self.bound = float(bound)
        self.short_side = short_side

    @abstractmethod
    def compute(
        self, previous: UInt8[np.ndarray, "h w"], following: UInt8[np.ndarray, "h w"]
    ) -> Float32[np.ndarray, "h w 2"]:
        """Returns the motion from one prepared frame to the next, in pixels. Frames have at least 16 pixels a side."""

    def compute_batch(self, pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Sequence[np.ndarray]:
        """Returns the fields of several pairs of prepared frames; variants that compute pairs together override it."""
        return [self.compute(previous, following) for previous, following in pairs]

    def fields(
        self, frames: Mapping[int, UInt8[np.ndarray, "h w 3"]], pairs: Iterable[tuple[int, int]] | np.ndarray
    ) -> dict[tuple[int, int], Float32[np.ndarray, "h2 w2 2"]]:
        """Returns the field of every distinct pair of frame indices, at the working resolution and in its pixels.

        Each frame is converted once and each pair computed once, however often it occurs. A pair of a frame
        with itself is zero motion. ``pairs`` may be an array (n, 2).
        Raises ValueError if the frames have fewer than 16 pixels a side.
        """
        distinct = list(dict.fromkeys((int(i), int(j)) for i, j in pairs))
        moving = [pair for pair in distinct if pair[0] != pair[1]]
        ready = {index: self._prepare(frames[index]) for index in sorted({index for pair in moving for index in pair})}
        computed: dict[tuple[int, int], np.ndarray] = {}
        for start in range(0, len(moving), self.batch_size):
            batch = moving[start : start + self.batch_size]
            fields = self.compute_batch([(ready[i], ready[j]) for i, j in batch])
            computed |= dict(zip(batch, fields, strict=True))
        return {(i, j): computed[i, j] if i != j else self._zeros(frames[i]) for i, j in distinct}

    def successive(self, frames: Iterable[UInt8[np.ndarray, "h w 3"]]) -> Iterator[Float32[np.ndarray, "h2 w2 2"]]:
        """Yields the field from each frame to the next, equal to that of `fields`; keeps at most a batch of pairs."""
        batch: list[tuple[np.ndarray, np.ndarray]] = []
        previous = None
        for frame in frames:
            following = self._prepare(frame)
            if previous is not None:
                batch.append((previous, following))
            previous = following
            if len(batch) == self.batch_size:
                yield from self.compute_batch(batch)
                batch = []
        if batch:
            yield from self.compute_batch(batch)

    def settings(self) -> dict[str, Any]:
        """Returns everything that decides a field: two objects with equal settings compute equal fields."""
        options = {k: v for k, v in vars(self).items() if not k.startswith("_") and k not in self.not_in_settings}
        return {"algorithm": type(self).__name__, "version": self.version, **options}

    def working_size(self, height: int, width: int) -> tuple[int, int]:
        """Returns the working resolution (height, width) for frames of the given size.

        Raises ValueError if the frames have fewer than 16 pixels a side.
        """
        if min(height, width) < SMALLEST_SIDE:
            raise ValueError(f"frames of {height}x{width}: optical flow needs at least {SMALLEST_SIDE} pixels a side")
        if self.short_side is None:
            return height, width
        scale = self.short_side / min(height, width)
        return round(height * scale), round(width * scale)

    def _prepare(self, frame: UInt8[np.ndarray, "h w 3"]) -> np.ndarray:
        """Returns the frame as the algorithm reads it: grey, at the working resolution."""
        return self._resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))

    def _resize(self, image: np.ndarray) -> np.ndarray:
        height, width = self.working_size(*image.shape[:2])
        if image.shape[:2] == (height, width):
            return image
        interpolation = cv2.INTER_AREA if height < image.shape[0] else cv2.INTER_LINEAR
        return cv2.resize(image, (width, height), interpolation=interpolation)

    def _zeros(self, frame: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h2 w2 2"]:
        return np.zeros((*self.working_size(*frame.shape[:2]), 2), np.float32)


def pin_threads(_worker: int = 0) -> None:
    """Limits OpenCV and torch to one thread each in this process; can be a loader's ``worker_init_fn``."""
    cv2.setNumThreads(0)  # 0: no thread pool at all
    torch.set_num_threads(1)
