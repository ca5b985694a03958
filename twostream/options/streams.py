"""What a stream is: the one description that data, networks, exports and pictures follow, without a heavy package."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

COMPUTED = ("rgb", "flow", "diff")  # of a video's own file; any other name is a column of data.csv
RANGES = {"uint8": (0, 255), "int8": (-127, 127), "int16": (-255, 255)}  # the values of a stream, by their type
COLOURS, MIRRORS, FIRST_LAYERS = ("rgb", "grey"), ("plain", "invert"), ("summed", "averaged")


@dataclass(frozen=True)
class Stream:
    """What one stream of a network shows.

    - `name`: of its tower, and of the input of an exported network.
    - `made`: how its frames are made: pictures as they are ("frames"), "flow", or "differences" of pictures; see
      `twostream.data.made`. `column`: of data.csv, whose file the pictures are in; "": in the video itself.
    - `channels`: c of a frame of a clip; `length`: L, the fields or differences stacked in it, 0 for a picture.
    - `dtype`: "uint8" for grey levels from 0, "int8" and "int16" for levels around zero.
    - `mean`, `std`: grey levels that its tower takes for 0 and 1; None: the backbone's own.
    - `inverts`: whether a mirror also turns the first channel of pictures round: 255 - value.
    - `jitters`: whether colour jitter makes sense.
    - `sums`: whether filters for R, G, B are summed for its one channel, as for a grey picture, and not averaged.
    """

    name: str
    made: str
    channels: int
    length: int = 0
    dtype: str = "uint8"
    column: str = ""
    mean: float | None = None
    std: float | None = None
    inverts: bool = False
    jitters: bool = False
    sums: bool = False

    @property
    def range(self) -> tuple[int, int]:
        """The lowest and the highest value."""
        return RANGES[self.dtype]

    @property
    def is_signed(self) -> bool:
        """Whether its values lie around zero."""
        return self.range[0] < 0

    @property
    def channel_names(self) -> tuple[str, ...]:
        """The name of each channel: R, G, B, or grey, or u1, v1, u2, …, or R1, G1, B1, R2, …"""
        names = ("u", "v") if self.made == "flow" else ("R", "G", "B") if self.channels > 1 else ("grey",)
        return tuple(f"{name}{k + 1}" for k in range(self.length) for name in names) or names


def rgb() -> Stream:
    """Returns the stream of single frames in colour."""
    return Stream("rgb", "frames", channels=3, jitters=True)


def flow(length: int, *, std: float | None = None) -> Stream:
    """Returns the stream of stacks of `length` flow fields: channels u1, v1, u2, v2, …"""
    return Stream("flow", "flow", channels=2 * length, length=length, dtype="int8", std=std)


def diff(length: int, *, std: float | None = None) -> Stream:
    """Returns the stream of stacks of `length` differences of successive frames in colour (TSN, Wang et al. 2016)."""
    return Stream("diff", "differences", channels=3 * length, length=length, dtype="int16", std=std)


def column(
    name: str,
    *,
    colour: str = "rgb",
    mirror: str = "plain",
    first_layer: str = "summed",
    mean: float | None = None,
    std: float | None = None,
) -> Stream:
    """Returns the stream of single frames of the files in a column of data.csv.

    Raises ValueError for an option that is none of COLOURS, MIRRORS, FIRST_LAYERS.
    """
    for option, value, choices in (
        ("colour", colour, COLOURS),
        ("mirror", mirror, MIRRORS),
        ("first_layer", first_layer, FIRST_LAYERS),
    ):
        if value not in choices:
            raise ValueError(f"column.{option}={value!r}: choose from {', '.join(choices)}")
    return Stream(
        name,
        "frames",
        channels=1 if colour == "grey" else 3,
        column=name,
        mean=mean,
        std=std,
        inverts=mirror == "invert",
        sums=colour == "grey" and first_layer == "summed",
    )


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Returns names of streams in the order of a network's towers: RGB first, flow last.

    >>> in_order(["flow", "depth", "rgb"])
    ('rgb', 'depth', 'flow')
    """
    return tuple(sorted(names, key=lambda name: {"rgb": 0, "flow": 2}.get(name, 1)))


def title_of(stream: str) -> str:
    """Returns the name of a stream in pictures and tables."""
    return "RGB" if stream == "rgb" else stream
