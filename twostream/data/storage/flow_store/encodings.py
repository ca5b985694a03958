"""Encodes a field as a blob and back: one grey picture of u and v side by side, where level 0 (no motion) is 128.

Both halves are padded to whole blocks of the codec by repeating their last column, so that u does not affect v.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import cv2
import numpy as np
from jaxtyping import Int8, UInt8

from twostream.data.picture import MOST_PIXELS, decode_picture
from twostream.options.choices import ENCODINGS, QUALITY

SEAM = {"jpeg": 8, "png": 8, "small": 16}  # side of a block in pixels
X264_RATE = 17  # constant rate factor of `small`: about half the bytes of JPEG at QUALITY
START_CODE = b"\0\0\0\1"  # the first bytes of H.264
LOWEST = -127  # levels go from -127 to 127; a lossy encoding may give -128


def check_encoding(encoding: str, quality: int) -> None:
    """Raises ValueError for an unknown encoding or a quality that JPEG does not have."""
    if encoding not in ENCODINGS:
        raise ValueError(f"encoding={encoding!r}: choose from {', '.join(ENCODINGS)}")
    if not 1 <= quality <= 100:
        raise ValueError(f"quality={quality!r}: must lie between 1 and 100")


def encode_field(levels: Int8[np.ndarray, "h w 2"], encoding: str, quality: int = QUALITY) -> bytes:
    """Encodes a field as JPEG of the given quality, PNG (lossless), or one H.264 picture (small, slower to read)."""
    height, width = levels.shape[:2]
    half = -(-width // SEAM[encoding]) * SEAM[encoding]
    picture = np.empty((height, 2 * half), np.uint8)
    shifted = levels.view(np.uint8) ^ np.uint8(128)  # -128 … 127 -> 0 … 255
    for component, start in enumerate((0, half)):
        picture[:, start : start + width] = shifted[..., component]
        picture[:, start + width : start + half] = shifted[:, -1:, component]
    if encoding == "small":
        return _encode_h264(picture)
    # Huffman tables made for this picture save a quarter of the bytes, since most blocks of a field are empty
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1] if encoding == "jpeg" else []
    written, blob = cv2.imencode(".jpg" if encoding == "jpeg" else ".png", picture, options)
    assert written
    return blob.tobytes()


def decode_halves(blob: bytes, height: int, width: int) -> tuple[UInt8[np.ndarray, "h w"], UInt8[np.ndarray, "h w"]]:
    """Returns u and v of a field of that size as level + 128 (1 to 255), both views of the decoded picture.

    Raises ValueError if `blob` is not a picture of such a field.
    """
    most = 2 * height * (width + max(SEAM.values()))
    still = blob[:4] != START_CODE
    picture = decode_picture(blob, cv2.IMREAD_GRAYSCALE, most_pixels=most) if still else _decode_h264(blob)
    if picture.shape[0] != height or not width <= picture.shape[1] // 2 < width + max(SEAM.values()):
        raise ValueError(f"a picture of {picture.shape[::-1]}, which is none of a field of {width} x {height}")
    if not picture.min():  # rare: a motion at the negative bound, with the encoding's error
        picture = np.maximum(picture, 128 + LOWEST)
    half = picture.shape[1] // 2
    return picture[:, :width], picture[:, half : half + width]


def _encode_h264(picture: UInt8[np.ndarray, "h w"]) -> bytes:
    import av  # only this encoding needs FFmpeg

    codec: Any = av.CodecContext.create("libx264", "w")
    codec.height, codec.width = picture.shape
    codec.pix_fmt, codec.time_base, codec.thread_count = "gray", Fraction(1, 25), 1
    codec.options = {"crf": str(X264_RATE), "preset": "veryfast", "x264-params": "log-level=none"}
    frame = av.VideoFrame.from_ndarray(picture, format="gray")
    return b"".join(bytes(packet) for packet in [*codec.encode(frame), *codec.encode(None)])


def _decode_h264(blob: bytes) -> UInt8[np.ndarray, "h w"]:
    import av

    codec: Any = av.CodecContext.create("h264", "r")
    codec.thread_count, codec.options = 1, {"max_pixels": str(MOST_PIXELS)}
    try:
        packets = [*codec.parse(blob), *codec.parse(b""), None]
        [frame] = [frame for packet in packets for frame in codec.decode(packet)]
    except (av.FFmpegError, ValueError) as error:
        raise ValueError(f"no picture that can be read ({error})") from None
    luma = frame.planes[0]
    rows = np.frombuffer(luma, np.uint8).reshape(-1, luma.line_size)
    return rows[: frame.height, : frame.width].copy()  # the decoder frees its own memory
