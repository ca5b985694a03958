"""Finds the checkpoint that a run goes on from, if it is the same run."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from twostream.files.errors import UserError
from twostream.files.words import counted
from twostream.launch.claim import difference, identity
from twostream.training.recovery import newest_recovery, read_recovery


def recovery_of(cfg: DictConfig, folder: Path, part: str = "") -> Path | None:
    """Returns the checkpoint that a run in this folder, or its `part`, goes on from; None if there is none.

    Raises UserError, with the difference, if another configuration wrote it, unless `allow_change` is set.
    """
    path = newest_recovery(folder / part)
    if path is None:
        return None
    state = read_recovery(path)
    begun = f"in epoch {state['epoch'] + 1} after {counted(state['batch'], 'batch', 'batches')}"
    where = begun if state["batch"] or not state["epoch"] else f"after epoch {state['epoch']}"
    rank_zero_only(print)(f"{folder / part}: going on {where}", flush=True)
    same_configuration(state["cell"], cfg, folder)
    return path


def same_configuration(cell: str, cfg: DictConfig, folder: Path) -> bool:
    """Whether a run was interrupted under this configuration. Raises UserError if not, unless `allow_change`."""
    if cell == identity(cfg):
        return True
    changes = difference(cfg, folder)
    if not cfg.allow_change:
        raise UserError(
            f"{folder}: its run was interrupted under another configuration ({changes}); "
            "allow_change=true goes on with the present one"
        )
    rank_zero_only(print)(f"WARNING: the configuration has changed since ({changes}); allow_change=true")
    return False
