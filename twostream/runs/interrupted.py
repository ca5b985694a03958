"""What an interrupted run has left to go on from."""

from __future__ import annotations

from pathlib import Path

SELECTION = "selection"  # folder in a run's folder: the training that chose the epochs (refit=true)
CHOICE = "choice.json"  # file in that folder: what was chosen


def recovery_files(folder: Path) -> list[Path]:
    """Returns the recovery checkpoints of a run's `checkpoints` folder, newest first."""
    return sorted(folder.glob("recovery-*.ckpt"), reverse=True)


def has_begun(folder: Path) -> bool:
    """Returns whether a run folder has anything to resume from."""
    parts = (folder, folder / SELECTION)
    return any(recovery_files(part / "checkpoints") for part in parts) or (folder / SELECTION / CHOICE).exists()
