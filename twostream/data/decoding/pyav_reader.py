"""Reads with PyAV, which decodes without converting: only the wanted pictures become RGB."""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike

import av
import numpy as np
from av import Packet, VideoFrame
from av.video.reformatter import VideoReformatter
from jaxtyping import UInt8

from twostream.data.decoding.facts import VideoError, open_video, quarter_turns, video_stream
from twostream.data.decoding.reader import Reader

REPEATING = ("theora", "vp8")  # codecs in which an empty packet means: show the last picture again


class PyAVReader(Reader):
    """A video opened by PyAV, with one decoding thread."""

    @staticmethod
    def load() -> object:
        return av

    def __init__(self, path: str | PathLike[str]) -> None:
        self._path = path
        self.container = open_video(path)
        try:
            self.stream = video_stream(self.container, path)
        except VideoError:
            self.container.close()
            raise
        self.codec = self.stream.codec_context.codec.canonical_name
        self.size = self.stream.codec_context.width, self.stream.codec_context.height  # that the header claims
        self._to_rgb = VideoReformatter()

    def close(self) -> None:
        self.container.close()

    def packets(self) -> Iterator[Packet]:
        """Yields the packets of the stream as they are stored; the last is empty."""
        return self.container.demux(self.stream)

    def pictures(self) -> Iterator[VideoFrame]:
        """Yields all pictures from here to the end; a picture that the file says to show again is yielded again."""
        count, size, before = 0, None, None
        try:
            for packet in self.packets():
                is_repeat = not packet.size and packet.pts is not None and self.codec in REPEATING
                for picture in [before] if is_repeat and before is not None else packet.decode():
                    if size not in (None, (picture.width, picture.height)):
                        raise VideoError(self._path, f"changes its frame size after {count} frames")
                    size = picture.width, picture.height
                    before = picture
                    yield picture
                    count += 1
        except av.FFmpegError as error:
            raise VideoError(self._path, f"is damaged after {count} frames (pyav: {error.strerror})") from None

    def rgb(self, picture: VideoFrame) -> UInt8[np.ndarray, "h w 3"]:
        try:
            # like `picture.to_ndarray(format="rgb24")`, which makes its own converter and threads for each picture
            frame = self._to_rgb.reformat(picture, format="rgb24", threads=1).to_ndarray()
            return np.rot90(frame, quarter_turns(picture.rotation))
        except av.FFmpegError as error:
            raise VideoError(self._path, f"cannot be converted to RGB (pyav: {error.strerror})") from None
