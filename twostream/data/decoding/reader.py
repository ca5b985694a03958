"""The interface of a decoder: pictures in order, converted to RGB on demand."""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from typing import Any

import numpy as np
from jaxtyping import UInt8

from twostream.data.decoding.facts import SeekTable


class Reader:
    """An open video file; a context manager. A picture is the decoder's own object for a frame.

    Opening a file, `pictures` and `seek` raise `VideoError`. Timestamps are in units of the stream's time base.
    Only readers with `can_jump` have `seek` and `timestamp`.
    """

    can_jump = False

    @staticmethod
    def load() -> object:
        """Imports and returns the decoder's library. Raises an ImportError that says what to install."""
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
        """Yields all pictures from here to the end, in the order in which they are shown."""
        raise NotImplementedError

    def rgb(self, picture: Any) -> UInt8[np.ndarray, "h w 3"]:
        """Returns the upright picture in its own memory, which later pictures do not overwrite."""
        raise NotImplementedError

    def seek(self, table: SeekTable, timestamp: int) -> None:
        """Goes to the keyframe at or before `timestamp`; do not go on with an earlier iterator of `pictures`."""
        raise NotImplementedError

    def timestamp(self, table: SeekTable, picture: Any) -> int | None:
        raise NotImplementedError
