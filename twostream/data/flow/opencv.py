"""OpenCV's algorithms, which run anywhere without an accelerator.

Loader workers stay on one thread each (`pin_threads`), so that as many samples are made side by side as there are
workers.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from twostream.data.flow.optical_flow import OpticalFlow

DIS_PRESETS = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}
PATCH = 8  # side of DIS's patches in pixels, in every preset


class OpenCVFlow(OpticalFlow):
    """An algorithm of OpenCV; a variant makes OpenCV's object in `_create` and is done.

    Every pair gets an object of its own, about 0.02 ms: kept objects change. DIS and TV-L1 lower the number of their
    pyramid levels for a small frame and leave it so for all that follow. Nothing is shared between threads either.
    """

    @abstractmethod
    def _create(self, height: int, width: int) -> Any:
        """OpenCV's object with its options set, for frames of this size."""

    def compute(
        self, previous: UInt8[np.ndarray, "h w"], following: UInt8[np.ndarray, "h w"]
    ) -> Float32[np.ndarray, "h w 2"]:
        return self._create(*previous.shape).calc(previous, following, None)


class DIS(OpenCVFlow):
    """Dense inverse search (Kroeger et al. 2016): hundreds of times as fast as TV-L1.

    ``preset`` trades speed for accuracy: "ultrafast", "fast" or "medium". Raises ValueError for any other.

    The field is computed on halved frames ("medium") or on quartered ones (the others), then enlarged. Frames whose
    pyramid ends before that (`coarsest_level`) are computed at its end, the finest that DIS would use in larger frames:
    on halved frames where the long side is below 91 pixels or the short one below 32, at full size where the long side
    is below 46. OpenCV by itself goes to full size for all of these, which takes five times as long at 64x64, and
    chooses by the width alone, with a crash for wide frames of a short side below 32.
    """

    version = 2  # 1: as OpenCV does by itself, and for ever after a small frame

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

    def _create(self, height: int, width: int) -> Any:
        algorithm = cv2.DISOpticalFlow.create(DIS_PRESETS[self.preset])
        algorithm.setFinestScale(min(algorithm.getFinestScale(), coarsest_level(height, width)))
        return algorithm


def coarsest_level(height: int, width: int) -> int:
    """The pyramid level on which OpenCV's DIS begins: how often frames of at least 16 pixels a side are halved.

    It finds motion of a quarter of the long side there, and a patch still fits into the short one.

    >>> [coarsest_level(*size) for size in [(16, 16), (64, 64), (24, 200), (120, 160), (240, 320)]]
    [0, 1, 1, 2, 3]
    """
    by_motion = int(math.log2(max(height, width) / (4 * PATCH)) + 0.5)
    return min(by_motion, (min(height, width) // PATCH).bit_length() - 1)


class Farneback(OpenCVFlow):
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

    def _create(self, height: int, width: int) -> Any:
        return cv2.FarnebackOpticalFlow.create(
            numLevels=self.levels,
            pyrScale=self.scale,
            winSize=self.window,
            numIters=self.iterations,
            polyN=self.neighbourhood,
            polySigma=self.sigma,
        )


class TVL1(OpenCVFlow):
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

    version = 2  # 1: with fewer scales for ever after a frame in which not all of them fit

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

    def _create(self, height: int, width: int) -> Any:
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
