"""Folders that others have made: their links lead nowhere."""

from __future__ import annotations

from pathlib import Path


def inside(folder: Path, name: str) -> Path:
    """FOLDER/name, whether it is there or not. Raises ValueError where it is, by a link, somewhere else.

    Who made the folder would otherwise have a command read, show, send or overwrite what only its user may.
    """
    path = folder / name
    target = path.resolve()
    if not target.is_relative_to(folder.resolve()):
        raise ValueError(f"{path}: leads out of the folder, to {target}; such links are not followed")
    return path
