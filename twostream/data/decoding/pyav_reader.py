"""Reads with PyAV, which decodes without converting: only the wanted pictures become RGB."""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike

import av
import numpy as np
from av import VideoFrame
from jaxtyping import UInt8

from twostream.data.decoding.probe import SeekTable, VideoError, open_video, quarter_turns, video_stream


class PyAVReader:
    """A video opened by PyAV; see `frames.Reader`."""

    can_jump = True

    def __init__(self, path: str | PathLike[str]) -> None:
        self._path = path
        self._container = open_video(path)
        try:
            self._stream = video_stream(self._container, path)
        except VideoError:
            self._container.close()
            raise

    def __enter__(self) -> PyAVReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self._container.close()

    def pictures(self) -> Iterator[VideoFrame]:
        count = 0
        try:
            for picture in self._container.decode(self._stream):
                yield picture
                count += 1
        except av.FFmpegError as error:
            raise VideoError(self._path, f"is damaged after {count} frames (pyav: {error.strerror})") from error

    def rgb(self, picture: VideoFrame) -> UInt8[np.ndarray, "h w 3"]:
        return np.rot90(picture.to_ndarray(format="rgb24"), quarter_turns(picture.rotation))

    def seek(self, table: SeekTable, timestamp: int) -> None:
        try:
            self._container.seek(timestamp, stream=self._stream)
        except av.FFmpegError as error:
            raise VideoError(self._path, f"cannot be searched (pyav: {error.strerror})") from error

    def timestamp(self, table: SeekTable, picture: VideoFrame) -> int | None:
        return picture.pts
