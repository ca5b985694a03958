"""Which videos a folder of files, one for each video, lacks."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from twostream.data.sources.source import Video


def absent_videos(videos: Sequence[Video], path_of: Callable[[Video], Path]) -> list[str]:
    """The ids of the videos without a file at `path_of`. No file is opened; each folder is listed once."""
    listings: dict[Path, frozenset[str]] = {}
    absent = []
    for video in videos:
        path = path_of(video)
        if path.parent not in listings:
            listings[path.parent] = frozenset(os.listdir(path.parent)) if path.parent.is_dir() else frozenset()
        if path.name not in listings[path.parent]:
            absent.append(video.id)
    return absent
