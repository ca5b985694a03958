"""OpenCV's flow algorithms, which run on a CPU.

Each loader worker uses one thread (`pin_threads`), so that the workers make as many samples in parallel as there are
workers.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float32, UInt8

from twostream.data.flow.batched_tvl1 import compute_pairs
from twostream.data.flow.optical_flow import OpticalFlow

DIS_PRESETS = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}
ENGINES = ("opencv", "torch")  # of TV-L1
PATCH = 8  # side of DIS's patches in pixels, in every preset


class OpenCVFlow(OpticalFlow):
    """A flow algorithm of OpenCV; a variant only creates OpenCV's object, in `_create`.

    Every pair gets its own object (about 0.02 ms), because an object that is kept changes: DIS and TV-L1 lower their
    number of pyramid levels for a small frame and never raise it again. So threads do not share an object either.
    """

    @abstractmethod
    def _create(self, height: int, width: int) -> Any:
        """Creates OpenCV's object with its options, for frames of this size."""

    def compute(
        self, previous: UInt8[np.ndarray, "h w"], following: UInt8[np.ndarray, "h w"]
    ) -> Float32[np.ndarray, "h w 2"]:
        return self._create(*previous.shape).calc(previous, following, None)


class DIS(OpenCVFlow):
    """Dense inverse search (Kroeger et al. 2016): hundreds of times as fast as TV-L1.

    ``preset`` trades speed for accuracy: "ultrafast", "fast" or "medium". Raises ValueError for any other.

    The field is computed on frames whose sides are halved ("medium") or quartered (the others), then enlarged. Small
    frames have no pyramid level that coarse (see `coarsest_level`), so their own coarsest level is used: sides are
    halved if the long side is below 91 pixels or the short side below 32, and kept if the long side is below 46.
    OpenCV itself would use full size for all of these frames, which takes five times as long at 64x64. It also chooses
    levels by the width alone, and crashes for wide frames with a short side below 32.
    """

    version = 2  # version 1 used OpenCV's own choice of levels, and kept it for all frames after a small one

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
    """Returns the pyramid level on which OpenCV's DIS begins: how often frames of 16 pixels and more a side are halved.

    On that level DIS finds motion of a quarter of the long side, and a patch still fits into the short side.

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
        neighbourhood: side of the polynomials' neighbourhood in pixels, 5 or 7.
        sigma: width of the Gaussian that weights the neighbourhood (1.1 suits 5, 1.5 suits 7).

    Raises ValueError for options outside their range.
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
    """Dual TV-L1 (Zach et al. 2007), the two-stream papers' choice; takes seconds per pair on a CPU.

    Args:
        tau: time step of the numerical scheme.
        attachment: lambda, the weight of the data term; smaller is smoother.
        theta: tightness of the coupling between data term and smoothness.
        scales: pyramid levels, each ``scale_step`` times the size of the one below.
        warps: warpings per level.
        epsilon: iterations stop when the field changes by less than this.
        inner_iterations: the most inner iterations of an outer one.
        outer_iterations: the most outer iterations per warping.
        median: side of the median filter in pixels, 3 or 5; 1 for none.
        engine: "opencv", or "torch": ``together`` pairs at once, on a GPU if there is one (see `batched_tvl1`).
        together: pairs that "torch" computes side by side.

    Raises ValueError for another ``median`` or ``engine``, ImportError if OpenCV's contributed modules are needed and
    not installed.
    """

    not_in_settings = ("length", "together")
    version = 2  # version 1 kept fewer scales for all frames after one in which not all scales fit

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
        engine: str = "opencv",
        together: int = 32,
        length: int = 10,
        bound: float = 20.0,
        short_side: int | None = None,
    ) -> None:
        super().__init__(length=length, bound=bound, short_side=short_side)
        if median not in (1, 3, 5):
            raise ValueError(f"flow.median={median!r}: no such median filter; choose from 1, 3, 5")
        if engine not in ENGINES:
            raise ValueError(f"flow.engine={engine!r}: no such engine; choose from {', '.join(ENGINES)}")
        if together < 1:
            raise ValueError(f"flow.together={together!r}: must be at least 1")
        if engine == "opencv" and not hasattr(cv2, "optflow"):
            raise ImportError(
                "flow=tvl1 needs OpenCV's contributed modules: pip install opencv-contrib-python-headless; "
                "flow.engine=torch does without"
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
        self.engine = engine
        self.together = together

    @property
    def on_gpu(self) -> bool:
        """Whether fields are computed on a GPU; one process is then enough to keep the GPU busy."""
        return self.engine == "torch" and torch.cuda.is_available()

    @property
    def batch_size(self) -> int:
        """How many pairs are computed together."""
        return self.together if self.engine == "torch" else 1

    def settings(self) -> dict[str, Any]:
        settings = super().settings()
        if self.engine == "opencv":  # stores from before there was another engine do not name it
            del settings["engine"]
        return settings

    def compute(
        self, previous: UInt8[np.ndarray, "h w"], following: UInt8[np.ndarray, "h w"]
    ) -> Float32[np.ndarray, "h w 2"]:
        return self.compute_batch([(previous, following)])[0]

    def compute_batch(self, pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Sequence[np.ndarray]:
        if self.engine == "torch":
            return compute_pairs(pairs, self, "cuda" if self.on_gpu else "cpu")
        return [super(TVL1, self).compute(*pair) for pair in pairs]

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
