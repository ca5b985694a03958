"""Small videos for the tests beside: a bright square that moves 3 pixels a frame over a fixed texture."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np


def picture(index: int, height: int = 48, width: int = 64) -> np.ndarray:
    texture = np.random.default_rng(0).integers(60, 120, (height // 4 + 1, width // 4 + 1, 3)).repeat(4, 0).repeat(4, 1)
    frame = texture[:height, :width].astype(np.uint8)
    left = 3 * index % (width - 16)
    frame[8:24, left : left + 16] = 230
    return frame


def write_video(path: Path, num_frames: int, *, size: tuple[int, int] = (48, 64), codec: str = "mpeg4") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = size
        stream.pix_fmt, stream.bit_rate = "yuvj420p" if codec == "mjpeg" else "yuv420p", 2_000_000
        for index in range(num_frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(index, *size), format="rgb24")))
        container.mux(stream.encode(None))
    return path
