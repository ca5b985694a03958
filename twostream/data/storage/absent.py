"""Checks that a folder with one file per video (flow store, packed frames) has all of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from twostream.data.sources.source import Video, first_ten


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
