"""Which pictures decord and torchcodec turn into the same RGB as PyAV; all others are refused, never guessed.

The lists here come from sweeps over codecs, pixel formats and sizes (`tests/data/test_agreement.py`). For other
pictures, decord's and torchcodec's versions of FFmpeg convert colours differently, or decord returns black pictures
(palettes), arrays of 4 to 48 channels (widths 2, 3, 4, 6, 8, 12, 16, 24, 48, 72), or too few pictures (QuickTime
Animation).
"""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from typing import Any

import numpy as np
from av import VideoFrame
from jaxtyping import UInt8

from twostream.data.decoding.facts import VideoError
from twostream.data.decoding.pyav_reader import REPEATING, PyAVReader
from twostream.data.decoding.reader import Reader

QUARTERED = ("yuv420p", "yuvj420p")  # colour at half the height and half the width
HALVED = ("yuv422p", "yuvj422p")  # colour at half the width
WHOLE = ("yuv444p", "yuvj444p", "gray", "gbrp", "bgr24", "bgr0")
MARKED_RGB = 0  # FFmpeg's number for the colour space RGB
REFERENCE = "pyav"
BY_PYAV = ("auto", REFERENCE)
CLOSE = 0.1  # mean difference in grey levels up to which two frames count as the same (UCF101 and HMDB51: 5e-5 at most)


def difference(codec: str, picture: VideoFrame) -> str | None:
    """Returns why other decoders do not give PyAV's `picture` exactly, in words, or None if they do."""
    if codec in REPEATING:
        return f"codec {codec}, which repeats pictures"
    name = picture.format.name
    if name not in (*QUARTERED, *HALVED, *WHOLE):
        return f"pixel format {name}"
    if name.startswith("yuv") and picture.colorspace == MARKED_RGB:  # a contradiction
        return f"pixel format {name} marked as RGB"
    if name in WHOLE:
        return None
    if picture.width % 2 or picture.height % 2:
        return f"{picture.width} x {picture.height} pixels, an odd number, in {name}"
    if picture.interlaced_frame:
        return f"interlaced pictures in {name}"
    if name in HALVED and picture.rotation:
        return f"rotated pictures in {name}"
    return None


def refused(path: str | PathLike[str], decoder: str, what: str) -> VideoError:
    return VideoError(path, f"{decoder} is not exact for {what}: use decoder={REFERENCE}")


def check_close(
    path: str | PathLike[str], decoder: str, index: int, found: np.ndarray, wanted: UInt8[np.ndarray, "h w 3"]
) -> None:
    """Raises `VideoError` unless a decoder's frame `index`, `found`, is close to `wanted`, PyAV's frame in sequence."""
    if found.shape != wanted.shape:
        reason = f"{decoder}'s frame {index} has shape {found.shape}, not {wanted.shape}"
    else:
        distance = np.abs(found.astype(np.int16) - wanted).mean()
        if distance <= CLOSE:
            return
        reason = f"{decoder}'s frame {index} is off by {distance:.1f} grey levels on average"
    raise VideoError(path, f"{reason}: use decoder={REFERENCE}")


class Compared(Reader):
    """An open reader of another decoder, checked against PyAV: raises `VideoError` where its frames differ.

    PyAV decodes the first frame. Opening raises if the decoder is not exact for that kind of picture; reading raises
    if the reader's own first frame is not like PyAV's, or if a frame has another shape than the first.
    """

    def __init__(self, path: str | PathLike[str], decoder: str, kind: type[Reader]) -> None:
        self._path, self._decoder = path, decoder
        reference = PyAVReader(path)
        with reference:
            picture = next(iter(reference.pictures()), None)
            if picture is None:
                raise VideoError(path, "holds no frame that can be decoded")
            if what := difference(reference.codec, picture):
                raise refused(path, decoder, what)
            self._first = reference.rgb(picture)
        self._reader = kind(path)
        self.can_jump = kind.can_jump
        self._is_at_start = True

    def close(self) -> None:
        self._reader.close()

    def pictures(self) -> Iterator[Any]:
        for picture in self._reader.pictures():
            if self._is_at_start:
                check_close(self._path, self._decoder, 0, self._reader.rgb(picture), self._first)
                self._is_at_start = False
            yield picture

    def rgb(self, picture: Any) -> UInt8[np.ndarray, "h w 3"]:
        frame = self._reader.rgb(picture)
        if frame.shape != self._first.shape:
            shapes = sorted({frame.shape, self._first.shape})
            raise VideoError(self._path, f"changes its frame size ({self._decoder}: {shapes}): use decoder={REFERENCE}")
        return frame

    def seek(self, table: Any, timestamp: int) -> None:
        self._is_at_start = False
        self._reader.seek(table, timestamp)

    def timestamp(self, table: Any, picture: Any) -> int | None:
        return self._reader.timestamp(table, picture)
