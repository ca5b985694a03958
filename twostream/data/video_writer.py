"""Writes pictures to an H.264 video file."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from jaxtyping import UInt8

from twostream.files.atomic import aside_of, remove_left_behind
from twostream.files.disk_errors import naming

TIME_BASE = Fraction(1, 90_000)  # seconds; MPEG's unit of time


class Film:
    """Context manager that writes an MP4 file: beside the final name first, then renamed if no error occurred.

    Height and width of the pictures must be even.
    """

    def __init__(self, path: str | Path, *, height: int, width: int) -> None:
        self.path = Path(path)
        remove_left_behind(self.path.parent, of=self.path)
        self._aside = aside_of(self.path, "mp4")
        self._container = av.open(str(self._aside), "w", options={"movflags": "+faststart"})
        self._stream: Any = self._container.add_stream("libx264", options={"crf": "20", "preset": "veryfast"})
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = TIME_BASE
        self._stream.codec_context.thread_count = 1
        self._last = -1

    def write(self, picture: UInt8[np.ndarray, "h w 3"], second: float) -> None:
        """Shows an RGB picture from `second` on, or directly after the picture before it if that is later."""
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        self._last = max(self._last + 1, round(second / TIME_BASE))
        frame.pts, frame.time_base = self._last, TIME_BASE
        with naming(self.path):
            self._container.mux(self._stream.encode(frame))

    def __enter__(self) -> Film:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._container.mux(self._stream.encode())
        finally:
            self._container.close()
            if kind is None:
                os.replace(self._aside, self.path)
            self._aside.unlink(missing_ok=True)
