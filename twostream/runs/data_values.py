"""Which values of `data` in a configuration say what videos there are, and which how they are read and shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FRAMES = ("video", "packed")  # what `frames` says of videos in files; of rendered ones, it is how many each has
SHOWING = ("cache", "mirror", "packed", "decode")


def which_videos(data: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values that say what videos there are.

    >>> which_videos({"root": "a", "frames": "packed", "packed": None}), which_videos({"frames": 12, "mirror": False})
    ({'root': 'a'}, {'frames': 12})
    """
    reading = SHOWING if data.get("frames") not in FRAMES else (*SHOWING, "frames")
    return {key: value for key, value in data.items() if key not in reading}
