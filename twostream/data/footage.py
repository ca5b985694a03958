"""Where the frames of a video come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from jaxtyping import UInt8

from twostream.data.decoding import check_decoder, count_frames, read_frames
from twostream.data.sources import Video


class Footage(Protocol):
    """Frames by index; index i is the i-th frame that decoding the whole video yields.

    Both raise `VideoError` (from `twostream.data.decoding`) for a video that cannot be read.
    """

    def count(self, video: Video) -> int:
        """How many frames the video has."""
        ...

    def read(self, video: Video, indices: Sequence[int]) -> UInt8[np.ndarray, "n h w 3"]:
        """The frames at `indices`, any order, as upright RGB."""
        ...


class Decoded:
    """Frames decoded from the video file when they are asked for; `decoder` as in `twostream.data.decoding`.

    Raises ValueError for an unknown decoder, ImportError for one that is not installed.
    """

    def __init__(self, decoder: str = "decord") -> None:
        check_decoder(decoder)
        self.decoder = decoder

    def count(self, video: Video) -> int:
        return count_frames(video.path, decoder=self.decoder)

    def read(self, video: Video, indices: Sequence[int]) -> UInt8[np.ndarray, "n h w 3"]:
        return read_frames(video.path, indices, decoder=self.decoder)
