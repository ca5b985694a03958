"""Paths in folders that other people have made: links that lead out of such a folder are refused."""

from __future__ import annotations

from pathlib import Path


def inside(folder: Path, name: str) -> Path:
    """Returns FOLDER/name, which need not exist. Raises ValueError if it leads out of the folder, such as by a link.

    Otherwise the author of the folder could make a command read, show, send or overwrite the user's other files.
    """
    path = folder / name
    target = path.resolve()
    if not target.is_relative_to(folder.resolve()):
        raise ValueError(f"{path}: leads out of the folder, to {target}; such links are not followed")
    return path
