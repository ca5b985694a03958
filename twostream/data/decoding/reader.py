"""What a decoder has to offer: pictures in order, RGB on demand."""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from typing import Any

import numpy as np
from jaxtyping import UInt8

from twostream.data.decoding.facts import SeekTable


class Reader:
    """An open video file, a context manager. A picture is whatever the decoder hands out.

    Opening a file, `pictures` and `seek` raise `VideoError`. `seek` and `timestamp` count in the stream's time base;
    only readers with `can_jump` have them.
    """

    can_jump = False

    @staticmethod
    def load() -> object:
        """The decoder's library. Raises ImportError that says what to install."""
        raise NotImplementedError

    def __init__(self, path: str | PathLike[str]) -> None:
        raise NotImplementedError

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        raise NotImplementedError

    def pictures(self) -> Iterator[Any]:
        """All pictures from here to the end, in the order in which they are shown."""
        raise NotImplementedError

    def rgb(self, picture: Any) -> UInt8[np.ndarray, "h w 3"]:
        """The upright picture, in memory of its own."""
        raise NotImplementedError

    def seek(self, table: SeekTable, timestamp: int) -> None:
        """Go to the keyframe at or before `timestamp`; calls of `pictures` from before are over."""
        raise NotImplementedError

    def timestamp(self, table: SeekTable, picture: Any) -> int | None:
        raise NotImplementedError
