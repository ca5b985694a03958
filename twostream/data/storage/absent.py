"""Checks that a folder with one file per video (flow store, packed frames) is there, and has all of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from twostream.data.sources.source import Video, first_ten
from twostream.files.errors import ExpectedError

SHORT_SIDE = 256  # of packed frames: the papers' size before cropping


class FlowStoreError(ExpectedError):
    """A store does not have the flow that is asked for."""


def require_store(root: Path) -> None:
    """Raises `FlowStoreError` if there is no flow store at `root`."""
    if not (root / "manifest.json").is_file():
        raise FlowStoreError(f"{root}: no flow store (no manifest.json); make one with `twostream flow`")


def packed_folder(packed: str | None, root: str | None) -> str:
    """Returns the folder of packed frames: `packed` if the user names one, else the usual one in the data set's root.

    Raises ValueError if both are None.
    """
    if packed is None and root is None:
        raise ValueError("data.frames=packed: name the folder of packed frames with data.packed=DIR")
    return packed or os.path.join(str(root), f"packed-{SHORT_SIDE}")


def require_packed(folder: Path) -> None:
    """Raises ValueError if there is no folder of packed frames."""
    if not folder.is_dir():
        raise ValueError(f"data.packed={str(folder)!r}: no such folder; write it with `twostream prepare … --pack`")


def check_present(
    videos: Sequence[Video], path_of: Callable[[Video], Path], *, folder: Path, otherwise: str, error: type[Exception]
) -> None:
    """Raises `error`, with their number and first names, for videos without a file in `folder` at `path_of`.

    `otherwise`: what the user can do about it, in words. Opens no file and lists each folder once.
    """
    listings: dict[Path, frozenset[str]] = {}
    absent = []
    for video in videos:
        path = path_of(video)
        if path.parent not in listings:
            listings[path.parent] = frozenset(os.listdir(path.parent)) if path.parent.is_dir() else frozenset()
        if path.name not in listings[path.parent]:
            absent.append(video.id)
    if absent:
        what = f"{len(absent):,} of {len(videos):,} videos are not there"
        raise error(f"{folder}: {what}; {otherwise}: {first_ten(absent)}")
