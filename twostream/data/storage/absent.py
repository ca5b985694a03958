"""Finds the videos that have no file in a folder with one file per video (flow store, packed frames)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from twostream.data.sources.source import Video


def absent_videos(videos: Sequence[Video], path_of: Callable[[Video], Path]) -> list[str]:
    """Returns the ids of the videos without a file at `path_of`. Opens no file and lists each folder once."""
    listings: dict[Path, frozenset[str]] = {}
    absent = []
    for video in videos:
        path = path_of(video)
        if path.parent not in listings:
            listings[path.parent] = frozenset(os.listdir(path.parent)) if path.parent.is_dir() else frozenset()
        if path.name not in listings[path.parent]:
            absent.append(video.id)
    return absent
