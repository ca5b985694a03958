"""Checks, before anything is written or loaded, whether a run may go on from a recovery checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from twostream.data.history import History
from twostream.data.module import VideoDataModule
from twostream.data.record import Record, differences, renamed
from twostream.files.errors import UserError
from twostream.training.distill import teacher_facts
from twostream.training.recovery import place_in

EARLIER = "it was interrupted under an earlier version, which did not note its videos"


def trained_before(
    content: Mapping[str, Any], folder: Path, data: VideoDataModule, *, allow_change: bool, accumulate: int | str = 1
) -> History:
    """Returns all that the weights in a recovery checkpoint were ever trained on, if the run may go on from it.

    Videos that have been renamed since are in the history under both names. Raises UserError that names what has
    changed if the data are no longer the same, unless `allow_change`; also, in the middle of an epoch, for another
    batch size, or another number of batches a step that does not divide the batches done.
    """
    state, history, now = content["recovery"], History.from_content(content), data.record
    assert now is not None
    before = Record.from_text(state["data"]) if "data" in state else None
    same_data(before, now, folder, allow_change=allow_change)
    if before is not None and (ids := renamed(before, now)):
        history |= History.renamed(ids)
    done = place_in(state, now)[1]  # batches of the epoch
    is_auto = accumulate == "auto"  # then a checkpoint notes the size of one part of the batch
    size = state["batch_size"] * (state["parts"] if is_auto else 1)
    if done > 0 and size != data.batch_size:
        raise UserError(f"batch_size={data.batch_size}: was {size}; it cannot change in the middle of an epoch")
    if not is_auto and done % int(accumulate):
        raise UserError(
            f"accumulate={accumulate}: was {state['parts']}; {done} batches of the epoch are done, and a step cannot "
            "begin in its middle"
        )
    return history


def same_data(before: Record | None, now: Record, folder: Path, *, allow_change: bool) -> bool:
    """Whether a run has the data that it was interrupted with. Raises UserError if not, unless `allow_change`."""
    found = [EARLIER] if before is None else differences(before, now)
    if found and not allow_change:
        raise UserError(
            f"{folder}: the data are not those that its run was interrupted with: {'; '.join(found)}; put them back, "
            "begin a new run, or go on with the present ones by allow_change=true"
        )
    if found:
        rank_zero_only(print)(f"WARNING: the data have changed since ({'; '.join(found)}); allow_change=true")
    return not found


def same_teacher(content: Mapping[str, Any], folder: Path, system: torch.nn.Module, *, allow_change: bool) -> None:
    """Raises UserError if the teacher of `distill.from` has other weights than at the recovery checkpoint.

    With `allow_change` that is said, and the run goes on.
    """
    before, now = ((facts or {}).get("weights") for facts in (content.get("teacher"), teacher_facts(system)))
    if before == now:
        return
    changed = f"the teacher (distill.from) was {(before or 'none')[:12]}, now {(now or 'none')[:12]}"
    if not allow_change:
        raise UserError(f"{folder}: {changed}; put it back, or go on with the present one by allow_change=true")
    rank_zero_only(print)(f"WARNING: {changed}; allow_change=true")


def check_weights(content: Mapping[str, Any], folder: Path, system: torch.nn.Module) -> None:
    """Raises UserError if a recovery checkpoint has the weights of another network."""
    there = {name: tuple(tensor.shape) for name, tensor in content["state_dict"].items()}
    here = {name: tuple(tensor.shape) for name, tensor in system.state_dict().items()}
    if other := [name for name in {**there, **here} if there.get(name) != here.get(name)]:
        name = other[0]
        raise UserError(
            f"{folder}: its run was interrupted with another network: {len(other)} of {len(here)} tensors differ, such "
            f"as {name} ({there.get(name, 'none')} there, {here.get(name, 'none')} here); begin a new run"
        )
