"""Losses that are not finite numbers: what is kept of them, and doing without their batches."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch.optim import Optimizer

from twostream.checkpoint_io import WholeCheckpoints
from twostream.errors import ExpectedError
from twostream.recovery import random_state

NONFINITE = ("stop", "skip")
log = logging.getLogger(__name__)


class FiniteLoss(pl.Callback):
    """At a loss that is NaN or infinite stops, and keeps what `twostream replay` needs; or leaves its step out.

    `nonfinite="skip"`: no gradient of that step is used, buffers (running means of batch normalisation) are put back,
    the loss is not part of the epoch's, and `skipped` counts the step. Weights are as if the batch had not been.
    """

    def __init__(self, folder: Path, *, nonfinite: str = "stop") -> None:
        if nonfinite not in NONFINITE:
            raise ValueError(f"nonfinite={nonfinite!r}: choose from {', '.join(NONFINITE)}")
        self.folder = folder
        self.skip = nonfinite == "skip"
        self.skipped = 0
        self._skipping = False
        self._before: dict[str, Any] = {}
        self._buffers: list[torch.Tensor] = []
        self._batch: Any = None

    def state_dict(self) -> dict[str, Any]:
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.skipped = state_dict["skipped"]

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._batch = batch
        if self.skip:
            self._buffers = [buffer.clone() for buffer in pl_module.network.buffers()]
        else:
            self._before = random_state()

    def on_before_backward(self, trainer: pl.Trainer, pl_module: Any, loss: torch.Tensor) -> None:
        finite = pl_module.loss_is_finite
        if not finite and not self.skip:
            raise ExpectedError(self._keep(trainer, pl_module))
        if self.skip and not all_finite(trainer, finite):
            self._skipping = True
            if not finite:
                log.warning(
                    "left out: a batch with a loss that is no finite number: %s", ", ".join(self._videos(trainer))
                )

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: Any, optimizer: Optimizer) -> None:
        if not self._skipping:
            return
        optimizer.zero_grad(set_to_none=True)  # without a gradient an optimizer leaves a weight alone
        for buffer, before in zip(pl_module.network.buffers(), self._buffers, strict=True):
            buffer.copy_(before)
        self._skipping = False
        self.skipped += 1

    def _videos(self, trainer: pl.Trainer) -> list[str]:
        videos = trainer.datamodule.train_set.videos  # type: ignore[attr-defined]
        return [videos[index].id for index in self._batch.index.tolist()]

    def _keep(self, trainer: pl.Trainer, pl_module: Any) -> str:
        """Writes the file for `twostream replay`; returns the message."""
        epoch, batch = trainer.current_epoch, trainer.fit_loop.epoch_loop.batch_idx
        path = self.folder / f"nonfinite-{epoch:05d}-{batch:07d}-{trainer.global_rank}.pt"
        content = {
            "epoch": epoch,
            "index": self._batch.index.cpu(),
            "state_dict": {name: value.cpu() for name, value in pl_module.state_dict().items()},
            "random": self._before,
            "rank": trainer.global_rank,
        }
        WholeCheckpoints().save_checkpoint(content, path)
        return (
            f"epoch {epoch + 1}, batch {batch + 1}: the loss is not a finite number; its videos: "
            f"{', '.join(self._videos(trainer))}; `twostream replay {path}` does this step again; "
            "nonfinite=skip leaves out such steps"
        )


def all_finite(trainer: pl.Trainer, finite: bool) -> bool:
    """Whether the loss of every process is."""
    if trainer.world_size == 1:
        return finite
    flag = torch.tensor(int(finite), device=trainer.strategy.root_device)
    torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MIN)
    return bool(flag)
