"""What a stream is: the one description that data, networks, exports and pictures follow, without a heavy package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

RANGES = {"uint8": (0, 255), "int8": (-127, 127)}  # the values of a stream, by their type


@dataclass(frozen=True)
class Stream:
    """What one stream of a network shows.

    - `name`: of its tower, and of the input of an exported network.
    - `made`: how its frames are made: see `twostream.data.made`.
    - `channels`: c of a frame of a clip; `length`: L, how many fields are stacked in it, 0 for a picture.
    - `dtype`: "uint8" for grey levels from 0, "int8" for levels around zero.
    - `std`: grey levels that its tower takes for 1; None: the backbone's own.
    - `jitters`: whether colour jitter makes sense.
    """

    name: str
    made: str
    channels: int
    length: int = 0
    dtype: str = "uint8"
    std: float | None = None
    jitters: bool = False

    @property
    def range(self) -> tuple[int, int]:
        """The lowest and the highest value."""
        return RANGES[self.dtype]

    @property
    def channel_names(self) -> tuple[str, ...]:
        """The name of each channel, such as R, G, B, or u1, v1, u2, …"""
        if self.made == "flow":
            return tuple(f"{axis}{field + 1}" for field in range(self.length) for axis in "uv")
        return ("R", "G", "B")


def rgb() -> Stream:
    """Returns the stream of single frames in colour."""
    return Stream("rgb", "frames", channels=3, jitters=True)


def flow(length: int, *, std: float | None = None) -> Stream:
    """Returns the stream of stacks of `length` flow fields: channels u1, v1, u2, v2, …"""
    return Stream("flow", "flow", channels=2 * length, length=length, dtype="int8", std=std)


def span_of(streams: Sequence[Stream], otherwise: int) -> int:
    """Returns L of a chunk, which spans L + 1 frames: that of the longest stack, or `otherwise` without any.

    So RGB alone shows the frames that it shows beside flow.
    """
    return max((stream.length for stream in streams), default=0) or otherwise


def title_of(stream: str) -> str:
    """Returns the name of a stream in pictures and tables."""
    return "RGB" if stream == "rgb" else stream
