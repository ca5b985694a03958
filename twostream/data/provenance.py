"""What something was computed from: file and decoding, recorded when it is written, checked when it is read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from twostream.files.digest import sha256

FACTS = {"!size": int, "!mtime_ns": int, "!sha256": str, "frames": int}  # the shape of a record
# of `data/decoding`: raise it when a file that is read without an error gives other frames
FRAMES_VERSION = 2  # 1, and not on record: decord's widths below 73, palettes and short files were not looked at


def source_facts(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Size, time of change (ns) and SHA-256 of a file, and the version of our decoding that its frames come from."""
    stat = os.stat(path)
    facts = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": sha256(path)}
    return {**facts, "frames": FRAMES_VERSION}


def decoding_change(recorded: Mapping[str, Any]) -> str | None:
    """What is wrong with the version that decoded the frames, or None."""
    version = recorded.get("frames", 1)
    if version == FRAMES_VERSION:
        return None
    return f"the frames are of version {version} of our decoding, and those of version {FRAMES_VERSION} may differ"


def source_change(recorded: Mapping[str, Any], path: str | os.PathLike[str]) -> str | None:
    """What differs between a file, or our decoding, and the record, with both values, or None.

    A file of the same size and time of change is taken for the same; one that was copied (another time) is read and
    its hash compared. Raises OSError where the file is absent.
    """
    if change := decoding_change(recorded):
        return change
    stat = os.stat(path)
    if stat.st_size != recorded["size"]:
        return f"{path} has {stat.st_size:,} bytes, and {recorded['size']:,} when this was computed from it"
    if stat.st_mtime_ns != recorded["mtime_ns"] and (found := sha256(path)) != recorded["sha256"]:
        return f"{path} has SHA-256 {found[:12]}…, and {recorded['sha256'][:12]}… when this was computed from it"
    return None
