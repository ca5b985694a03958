"""Decodes JPEG and PNG from untrusted files: checks the size of a picture before memory is allocated for it."""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np

from twostream.files.errors import one_line

MOST_PIXELS = 1 << 26  # of a frame or a field: 8192 x 8192
JPEG_START = b"\xff\xd8"
PNG = b"\x89PNG\r\n\x1a\n"
SIZE_MARKERS = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})  # SOF0 to SOF15; the others are tables
NO_LENGTH = frozenset({0x00, 0x01, *range(0xD0, 0xDB)})  # 0xDA starts a scan, which has to come after the size


def decode_picture(blob: bytes, flags: int, *, most_pixels: int = MOST_PIXELS) -> np.ndarray:
    """Decodes like cv2.imdecode. Raises ValueError if `blob` is no whole JPEG or PNG, or has over `most_pixels`."""
    height, width = picture_size(blob)
    if not 0 < height * width <= most_pixels:
        raise ValueError(f"a picture of {width} x {height} pixels, more than {most_pixels:,} or none")
    try:
        picture: Any = cv2.imdecode(np.frombuffer(blob, np.uint8), flags)
    except cv2.error as error:
        raise ValueError(f"no picture that can be read ({one_line(error)})") from None
    if picture is None:
        raise ValueError("no picture that can be read")
    if sorted(picture.shape[:2]) != sorted((height, width)):  # EXIF may have turned it
        raise ValueError(f"a picture of {width} x {height} pixels that has {picture.shape[1]} x {picture.shape[0]}")
    return picture


def picture_size(blob: bytes) -> tuple[int, int]:
    """Returns (height, width) from the header of a JPEG or PNG. Raises ValueError if `blob` is neither.

    >>> picture_size(bytes.fromhex("ffd8 ffe00004abcd ffc0000b 08 0010 0020 01"))
    (16, 32)
    """
    if blob[:8] == PNG and len(blob) >= 24:
        width, height = struct.unpack(">II", blob[16:24])
        return height, width
    place = 2 if blob[:2] == JPEG_START else len(blob)
    while place + 9 <= len(blob) and blob[place] == 0xFF:
        marker, length = blob[place + 1], int.from_bytes(blob[place + 2 : place + 4], "big")
        if marker in NO_LENGTH:
            break  # decoders skip some of these markers, and might find another size than we would
        if marker in SIZE_MARKERS:
            height, width = struct.unpack(">HH", blob[place + 5 : place + 9])
            return height, width
        place += 1 if marker == 0xFF else 2 + length
    raise ValueError("neither JPEG nor PNG")
