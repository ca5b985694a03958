"""Callbacks of training."""

from __future__ import annotations

import time

import pytorch_lightning as pl


class EpochLine(pl.Callback):
    """Prints one line for each epoch, so that a log file shows the progress, too."""

    def __init__(self) -> None:
        self.started = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.started:
            self._print(trainer, trainer.current_epoch)  # only now are the last epoch's training metrics complete
        self.started = time.perf_counter()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._print(trainer, trainer.current_epoch)

    def _print(self, trainer: pl.Trainer, epoch: int) -> None:
        if not trainer.is_global_zero:
            return
        names = ("train/loss", "train/top1", "val/loss", "val/top1", "val/mean_class")
        found = trainer.callback_metrics
        values = "  ".join(f"{name} {found[name]:.3f}" for name in names if name in found)
        seconds = time.perf_counter() - self.started
        print(f"epoch {epoch}/{trainer.max_epochs}  {values}  ({seconds:.1f} s)", flush=True)
