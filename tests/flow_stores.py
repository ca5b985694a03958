"""Flow stores of single clips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from twostream.data.flow import OpticalFlow
from twostream.data.sources import Video
from twostream.data.storage.flow_store import ClipResult, FromVideo, StoreClip
from twostream.data.storage.flow_store.encodings import decode_halves


def store_clip(root: Path, video: Video, flow: OpticalFlow, *, decoder: str = "pyav") -> ClipResult:
    """The fields of one video, stored in this process."""
    return StoreClip(root, FromVideo(flow, decoder))(video)


def decode_field(blob: bytes, height: int, width: int) -> np.ndarray:
    """The grey levels of a stored field, (h, w, 2)."""
    shifted: Any = cv2.merge(decode_halves(blob, height, width))
    return (shifted.astype(np.int16) - 128).astype(np.int8)
