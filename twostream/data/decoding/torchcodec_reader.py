"""Reads with torchcodec's building blocks: unlike its `VideoDecoder`, they decode in order without seeking."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from os import PathLike
from os.path import abspath
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import UInt8

from twostream.data.decoding.facts import SeekTable, VideoError, open_video, video_stream
from twostream.data.decoding.reader import Reader
from twostream.files.errors import first_line
from twostream.files.extras import install


class TorchCodecReader(Reader):
    """A video opened by torchcodec, with one decoding thread."""

    can_jump = True

    @staticmethod
    def load() -> ModuleType:
        return _load()

    def __init__(self, path: str | PathLike[str]) -> None:
        self._path = path
        decoders = _load()
        with open_video(path) as container:  # PyAV gives clear reasons
            index = video_stream(container, path).index
        try:
            self._demuxer = decoders.Demuxer(abspath(path), streams=index)
            self._decoder = self._demuxer.streams[0].make_decoder("cpu", num_ffmpeg_threads=1)
        except (RuntimeError, ValueError) as error:
            raise VideoError(path, f"torchcodec cannot open it ({first_line(error)}): try decoder=pyav") from None
        self._converter = decoders.ColorConverter("cpu")

    def close(self) -> None:
        self._demuxer.streams = ()  # each stream refers to its demuxer, which would keep the file open
        del self._demuxer, self._decoder, self._converter

    def pictures(self) -> Iterator[Any]:
        count = 0
        try:
            for packet in self._demuxer:
                for picture in self._decoder.decode(packet):
                    yield picture
                    count += 1
            for picture in self._decoder.drain():
                yield picture
                count += 1
        except RuntimeError as error:
            reason = f"is damaged after {count} frames (torchcodec: {first_line(error)})"
            raise VideoError(self._path, reason) from None

    def rgb(self, picture: Any) -> UInt8[np.ndarray, "h w 3"]:
        return self._converter.convert(picture).data.permute(1, 2, 0).numpy()  # upright already

    def seek(self, table: SeekTable, timestamp: int) -> None:
        try:
            self._demuxer.seek(float(timestamp * table.time_base))
        except RuntimeError as error:
            raise VideoError(self._path, f"cannot be searched (torchcodec: {first_line(error)})") from None
        self._decoder.reset()

    def timestamp(self, table: SeekTable, picture: Any) -> int:
        return round(picture.pts_seconds / float(table.time_base))


@cache
def _load() -> ModuleType:
    """Imports `torchcodec.decoders`. Raises ImportError without torchcodec >= 0.17 or FFmpeg's shared libraries."""
    needs, ffmpeg = "decoder=torchcodec needs torchcodec >= 0.17", "and FFmpeg's shared libraries"
    try:
        import torchcodec  # pyright: ignore[reportMissingImports]
        from torchcodec import decoders  # pyright: ignore[reportMissingImports]
    except (ImportError, OSError, RuntimeError) as error:  # versions before 0.16 raise RuntimeError without FFmpeg
        raise ImportError(f"{needs} {ffmpeg} ({first_line(error)}): {install('codec')}") from error
    if not hasattr(decoders, "Demuxer"):
        raise ImportError(f"{needs} (found {torchcodec.__version__}): {install('codec')}")
    if torchcodec.ffmpeg_major_version is None:
        raise ImportError(f"{needs} {ffmpeg}, version 4 or later: none was found")
    return decoders
