"""Writes checkpoints atomically: a file in `checkpoints/` is always whole, whatever stops the process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io import TorchCheckpointIO

from twostream.files.atomic import atomic_file

UNFINISHED = ".*.part"


class WholeCheckpoints(TorchCheckpointIO):
    """Writes to a temporary name in the same folder, waits for the disk, renames; a failure leaves the earlier file.

    Lightning's own class writes into the system's folder for temporary files, then moves the file. If that folder is on
    another disk, the move is a copy: a full disk or a kill leaves a part of the file under the final name.
    """

    def __init__(self) -> None:
        self._tidy: set[Path] = set()  # folders from which leftovers of killed processes have been deleted

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        target = Path(path)
        if target.parent not in self._tidy:
            target.parent.mkdir(parents=True, exist_ok=True)
            remove_unfinished(target.parent)
            self._tidy.add(target.parent)
        save_whole(checkpoint, target)


def save_whole(content: dict[str, Any], path: Path) -> None:
    """As `torch.save`, but atomic; raises the OSError of the disk (ENOSPC, EDQUOT, EIO …), which PyTorch would hide."""
    with atomic_file(path) as aside:
        _write(content, aside)
    _wait_for_disk(path.parent)  # so that a power cut does not undo the rename


def remove_unfinished(folder: Path) -> None:
    """Deletes what a killed process left half written; only the holder of the run's claim may call it."""
    for path in folder.glob(UNFINISHED):
        path.unlink(missing_ok=True)


def _write(checkpoint: dict[str, Any], path: Path) -> None:
    with path.open("wb") as file:
        torch.save(checkpoint, file)
        file.flush()
        os.fsync(file.fileno())


def _wait_for_disk(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
