"""Frame pairs -> displacement fields, on the fly; their 8-bit form, mirroring and stacking.

A field is float32 (h, w, 2): for every pixel of the earlier frame how far it moves, in pixels, u to the
right and v down. All algorithms are OpenCV's, which run anywhere without an accelerator; loader workers
stay on one thread each (`pin_threads`), so that as many samples are made side by side as there are workers.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float32, Int8, UInt8

DIS_PRESETS = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}
SMALLEST_SIDE = 16  # pixels; below it the coarse levels of the algorithms have nothing left to look at


class OpticalFlow(ABC):
    """Dense optical flow; a variant makes OpenCV's object in `_create` and is done.

    Args:
        length: L, fields per stack; a stack reads L+1 frames.
        bound: displacements are clipped to ±bound pixels when they are quantised (the paper: 20).
        short_side: frames are resized to this short side, in pixels, before the flow is computed, and
            fields stay at that working resolution, in its pixels; None keeps the frames' own. Half the side
            is about four times as fast; the paper computes at 256.

    The OpenCV object is made on first use in each process and never pickled, so that fork and spawn both
    work. Raises ValueError for a length below 1, a bound that is not positive, a working resolution below
    16 pixels.
    """

    def __init__(self, *, length: int = 10, bound: float = 20.0, short_side: int | None = None) -> None:
        if length < 1:
            raise ValueError(f"flow.length={length!r}: must be at least 1 field")
        if not bound > 0:
            raise ValueError(f"flow.bound={bound!r}: must be a positive number of pixels")
        if short_side is not None and short_side < SMALLEST_SIDE:
            raise ValueError(f"flow.short_side={short_side!r}: must be at least {SMALLEST_SIDE} pixels, or null")
        self.length = length
        self.bound = float(bound)
        self.short_side = short_side
        self._algorithm: Any = None
        self._process: int | None = None  # the process that made it

    @abstractmethod
    def _create(self) -> Any:
        """OpenCV's object of this algorithm, with its options set."""

    def compute(
        self, previous: UInt8[np.ndarray, "h w"], following: UInt8[np.ndarray, "h w"]
    ) -> Float32[np.ndarray, "h w 2"]:
        """The motion from one gray frame to the next, in pixels."""
        if self._process != os.getpid():
            self._algorithm, self._process = self._create(), os.getpid()
        # no flow to start from: the result depends on the two frames alone, not on what was computed before
        return self._algorithm.calc(previous, following, None)

    def fields(
        self, frames: Mapping[int, UInt8[np.ndarray, "h w 3"]], pairs: Iterable[tuple[int, int]] | np.ndarray
    ) -> dict[tuple[int, int], Float32[np.ndarray, "h2 w2 2"]]:
        """The field of every distinct pair of frame indices, at the working resolution and in its pixels.

        Each frame is converted and each pair computed once, however many stacks share them. A pair of a
        frame with itself is zero motion. ``pairs`` may be an array (n, 2).
        Raises ValueError when the working resolution is below 16 pixels.
        """
        distinct = list(dict.fromkeys((int(i), int(j)) for i, j in pairs))
        moving = [pair for pair in distinct if pair[0] != pair[1]]
        gray = {index: self._gray(frames[index]) for index in sorted({index for pair in moving for index in pair})}
        return {(i, j): self.compute(gray[i], gray[j]) if i != j else self._zeros(frames[i]) for i, j in distinct}

    def settings(self) -> dict[str, Any]:
        """All that a field depends on: the algorithm's name, its options, bound and working resolution."""
        options = {key: value for key, value in vars(self).items() if not key.startswith("_") and key != "length"}
        return {"algorithm": type(self).__name__, **options}

    def working_size(self, height: int, width: int) -> tuple[int, int]:
        """The height and width at which frames of the given size are compared."""
        if min(height, width) < SMALLEST_SIDE:
            raise ValueError(f"frames of {height}x{width}: optical flow needs at least {SMALLEST_SIDE} pixels a side")
        if self.short_side is None:
            return height, width
        scale = self.short_side / min(height, width)
        return round(height * scale), round(width * scale)

    def _gray(self, frame: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h2 w2"]:
        height, width = self.working_size(*frame.shape[:2])
        gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        if gray.shape == (height, width):
            return gray
        interpolation = cv2.INTER_AREA if height < gray.shape[0] else cv2.INTER_LINEAR
        return cv2.resize(gray, (width, height), interpolation=interpolation)

    def _zeros(self, frame: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h2 w2 2"]:
        return np.zeros((*self.working_size(*frame.shape[:2]), 2), np.float32)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_algorithm": None, "_process": None}  # OpenCV's objects cannot be pickled


class DIS(OpticalFlow):
    """Dense inverse search (Kroeger et al. 2016): hundreds of times as fast as TV-L1.

    ``preset`` trades speed for accuracy: "ultrafast", "fast" or "medium". Raises ValueError for any other.
    """

    def __init__(
        self,
        *,
        preset: str = "fast",
        length: int = 10,
        bound: float = 20.0,
        short_side: int | None = None,
    ) -> None:
        super().__init__(length=length, bound=bound, short_side=short_side)
        if preset not in DIS_PRESETS:
            raise ValueError(f"flow.preset={preset!r}: DIS has no such preset; choose from {', '.join(DIS_PRESETS)}")
        self.preset = preset

    def _create(self) -> Any:
        return cv2.DISOpticalFlow.create(DIS_PRESETS[self.preset])


class Farneback(OpticalFlow):
    """Polynomial expansion (Farnebäck 2003).

    Args:
        levels: pyramid levels, the frame itself included.
        scale: size of a level relative to the one below, in (0, 1).
        window: side of the averaging window in pixels; larger is smoother and finds faster motion.
        iterations: iterations per level.
        neighbourhood: side of the polynomials' neighbourhood in pixels, 5 or 7, with
        sigma: its Gaussian weight (1.1 suits 5, 1.5 suits 7).
    """

    def __init__(
        self,
        *,
        levels: int = 5,
        scale: float = 0.5,
        window: int = 15,
        iterations: int = 3,
        neighbourhood: int = 5,
        sigma: float = 1.1,
        length: int = 10,
        bound: float = 20.0,
        short_side: int | None = None,
    ) -> None:
        super().__init__(length=length, bound=bound, short_side=short_side)
        if not 0 < scale < 1:
            raise ValueError(f"flow.scale={scale!r}: must lie between 0 and 1")
        if neighbourhood not in (5, 7):
            raise ValueError(f"flow.neighbourhood={neighbourhood!r}: no such size; choose from 5, 7")
        if min(levels, window, iterations) < 1:
            raise ValueError(
                f"flow.levels={levels!r}, window={window!r}, iterations={iterations!r}: must be at least 1"
            )
        self.levels = levels
        self.scale = scale
        self.window = window
        self.iterations = iterations
        self.neighbourhood = neighbourhood
        self.sigma = sigma

    def _create(self) -> Any:
        return cv2.FarnebackOpticalFlow.create(
            numLevels=self.levels,
            pyrScale=self.scale,
            winSize=self.window,
            numIters=self.iterations,
            polyN=self.neighbourhood,
            polySigma=self.sigma,
        )


class TVL1(OpticalFlow):
    """Dual TV-L1 (Zach et al. 2007), the two-stream papers' choice; seconds per pair on a CPU.

    Args:
        tau: time step of the numerical scheme.
        attachment: lambda, the weight of the data term; smaller is smoother.
        theta: tightness of the coupling between data term and smoothness.
        scales: pyramid levels, each ``scale_step`` times the size of the one below.
        warps: warpings per level.
        epsilon: an iteration stops when the field changes by less.
        inner_iterations, outer_iterations: at most so many per warping.
        median: side of the median filter in pixels, 3 or 5; 1 for none.
    """

    def __init__(
        self,
        *,
        tau: float = 0.25,
        attachment: float = 0.15,
        theta: float = 0.3,
        scales: int = 5,
        scale_step: float = 0.8,
        warps: int = 5,
        epsilon: float = 0.01,
        inner_iterations: int = 30,
        outer_iterations: int = 10,
        median: int = 5,
        length: int = 10,
        bound: float = 20.0,
        short_side: int | None = None,
    ) -> None:
        super().__init__(length=length, bound=bound, short_side=short_side)
        if median not in (1, 3, 5):
            raise ValueError(f"flow.median={median!r}: no such median filter; choose from 1, 3, 5")
        if not hasattr(cv2, "optflow"):
            raise ImportError(
                "flow=tvl1 needs OpenCV's contributed modules: pip install opencv-contrib-python-headless"
            )
        self.tau = tau
        self.attachment = attachment
        self.theta = theta
        self.scales = scales
        self.scale_step = scale_step
        self.warps = warps
        self.epsilon = epsilon
        self.inner_iterations = inner_iterations
        self.outer_iterations = outer_iterations
        self.median = median

    def _create(self) -> Any:
        algorithm = cv2.optflow.DualTVL1OpticalFlow.create()
        algorithm.setTau(self.tau)
        algorithm.setLambda(self.attachment)
        algorithm.setTheta(self.theta)
        algorithm.setScalesNumber(self.scales)
        algorithm.setScaleStep(self.scale_step)
        algorithm.setWarpingsNumber(self.warps)
        algorithm.setEpsilon(self.epsilon)
        algorithm.setInnerIterations(self.inner_iterations)
        algorithm.setOuterIterations(self.outer_iterations)
        algorithm.setMedianFiltering(self.median)
        return algorithm


def quantise(fields: Float32[np.ndarray, "*any"], bound: float) -> Int8[np.ndarray, "*any"]:
    """Displacements in pixels -> int8 grey levels around zero, clipped to ±bound.

    ``round(127 / bound * displacement)``: no motion is exactly 0, and a mirrored field is exactly negated.
    Plus 128 it is the paper's flow image, ``round(255 * (x + 20) / 40)``, to within one level: 128 is no
    motion and 255 is +20 there as here, but -20 is 1 instead of 0, because the paper's grid has no exact
    zero (127.5). -128 is unused.

    >>> quantise(np.float32([-99, -20, 0, 0.1, 10, 20]), bound=20.0)
    array([-127, -127,    0,    1,   64,  127], dtype=int8)
    """
    scaled = np.clip(fields, -bound, bound)
    scaled *= 127 / bound
    return np.rint(scaled, out=scaled).astype(np.int8)


def dequantise(levels: Int8[np.ndarray, "*any"], bound: float) -> Float32[np.ndarray, "*any"]:
    """Grey levels -> displacements in pixels, within half a level (bound / 254) of what was quantised.

    >>> dequantise(np.int8([-127, 0, 127]), bound=20.0)
    array([-20.,   0.,  20.], dtype=float32)
    """
    return levels.astype(np.float32) * np.float32(bound / 127)


def mirror(fields: Float32[np.ndarray, "*any h w 2"]) -> Float32[np.ndarray, "*any h w 2"]:
    """The fields of the mirrored scene: left and right exchanged, and u negated; v stays as it is.

    >>> mirror(np.float32([[[1, 2], [3, 4]]])).tolist()
    [[[-3.0, 4.0], [-1.0, 2.0]]]
    """
    return fields[..., ::-1, :] * np.array([-1, 1], np.float32)  # a mirrored scene moves the other way in x


def interleave(stacks: np.ndarray) -> np.ndarray:
    """Stacks of L fields (…, L, 2, h, w) -> flow channels (…, 2L, h, w) in the order u1, v1, u2, v2, …

    >>> interleave(np.arange(6).reshape(3, 2, 1, 1)).ravel()
    array([0, 1, 2, 3, 4, 5])
    """
    *leading, length, components, height, width = stacks.shape
    return stacks.reshape(*leading, length * components, height, width)


def pin_threads(_worker: int = 0) -> None:
    """Keep this process's OpenCV and torch to one thread each; a loader's ``worker_init_fn``."""
    cv2.setNumThreads(0)  # 0: no thread pool at all
    torch.set_num_threads(1)
