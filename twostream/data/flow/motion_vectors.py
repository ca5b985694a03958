"""The motion that a video's codec has stored: nothing is computed."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, UInt8

from twostream.data.decoding.vectors import CELL, field_size
from twostream.data.flow.optical_flow import OpticalFlow


class MotionVectors(OpticalFlow):
    """The codec's own motion vectors (CoViAR: Wu et al. 2018), a vector for each 8x8 pixels of the frames.

    `twostream.data.decoding.read_moving` reads the fields together with the frames, so that there is nothing to
    compute of frames; it says of which files, and what frames without vectors have. Other than in the fields of the
    other algorithms, the cells lie on the later frame of a pair.
    """

    from_video = True
    cell = CELL

    def __init__(self, *, length: int = 10, bound: float = 20.0) -> None:
        super().__init__(length=length, bound=bound)

    def compute(
        self, previous: UInt8[np.ndarray, "h w"], following: UInt8[np.ndarray, "h w"]
    ) -> Float32[np.ndarray, "h w 2"]:
        """Raises ValueError: pixels hold no motion vectors."""
        raise ValueError(
            "flow=motion_vectors: is read from a video file, and pictures alone have none; use another flow"
        )

    def working_size(self, height: int, width: int) -> tuple[int, int]:
        return field_size(*super().working_size(height, width))
