"""Checks, before any work, that a folder can be written to."""

from __future__ import annotations

import os
from pathlib import Path


def is_writable(folder: Path) -> bool:
    """Whether files can be made in a folder; if the folder does not exist yet, whether it can be made."""
    there = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def require_writable(folder: Path, otherwise: str) -> None:
    """Raises ValueError if nothing can be written into a folder; the message says what to do `otherwise`."""
    if not is_writable(folder):
        raise ValueError(f"{folder}: nothing can be written there; {otherwise}")
