"""Records which file and which version of our decoding a stored result comes from; checks this when it is read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from twostream.files.digest import sha256

FACTS = {"!size": int, "!mtime_ns": int, "!sha256": str, "frames": int}  # the shape of a record
# the version of `data/decoding`: raise it when a file that is read without an error gives other frames than before
FRAMES_VERSION = 2  # version 1 (not recorded) did not check decord's widths below 73, palettes and short files


def source_facts(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns size, time of change (ns) and SHA-256 of a file, and the version of our decoding."""
    stat = os.stat(path)
    facts = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": sha256(path)}
    return {**facts, "frames": FRAMES_VERSION}


def decoding_change(recorded: Mapping[str, Any]) -> str | None:
    """Returns a line that names both versions if another version of our decoding made the frames, or else None."""
    version = recorded.get("frames", 1)
    if version == FRAMES_VERSION:
        return None
    return f"the frames are of version {version} of our decoding, and those of version {FRAMES_VERSION} may differ"


def source_change(recorded: Mapping[str, Any], path: str | os.PathLike[str]) -> str | None:
    """Returns a line that says how a file, or our decoding, differs from the record, or None if neither does.

    A file with the same size and time of change counts as unchanged. If only the time differs (a copy), the file is
    read and its hash compared. Raises OSError if the file is absent.
    """
    if change := decoding_change(recorded):
        return change
    stat = os.stat(path)
    if stat.st_size != recorded["size"]:
        return f"{path} has {stat.st_size:,} bytes, and {recorded['size']:,} when this was computed from it"
    if stat.st_mtime_ns != recorded["mtime_ns"] and (found := sha256(path)) != recorded["sha256"]:
        return f"{path} has SHA-256 {found[:12]}…, and {recorded['sha256'][:12]}… when this was computed from it"
    return None
