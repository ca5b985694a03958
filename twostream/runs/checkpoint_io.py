"""How checkpoints are written: a name in `checkpoints/` is always a whole file, whatever stops the process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io import TorchCheckpointIO

from twostream.files.atomic import atomic_file

UNFINISHED = ".*.part"


class WholeCheckpoints(TorchCheckpointIO):
    """Writes aside in the same folder, waits for the disk, renames; a failure leaves the file of before.

    Lightning's own writes into the system's folder for temporary files and moves the file here: a copy, where that is
    another disk, which a full disk or a kill cuts short under the final name.
    """

    def __init__(self) -> None:
        self._tidy: set[Path] = set()  # folders without leftovers of a process that was killed

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
    """`torch.save`. Raises the OSError of the disk (ENOSPC, EDQUOT, EIO …), which PyTorch hides behind another."""
    with atomic_file(path) as aside:
        _write(content, aside)
    _wait_for_disk(path.parent)  # or a power cut forgets the rename


def remove_unfinished(folder: Path) -> None:
    """Delete what a process that was killed left half written; for who holds the claim of the run."""
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
