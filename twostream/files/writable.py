"""Whether there is a place to write, asked before any work."""

from __future__ import annotations

import os
from pathlib import Path


def is_writable(folder: Path) -> bool:
    """Whether files can be made in a folder, or the folder itself where it is not there yet."""
    there = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def require_writable(folder: Path, otherwise: str) -> None:
    """Raises ValueError, with what to do `otherwise`, where nothing can be written into a folder."""
    if not is_writable(folder):
        raise ValueError(f"{folder}: nothing can be written there; {otherwise}")
