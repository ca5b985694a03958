"""What is seen of a training while it goes on: a bar on a terminal, a line for each epoch, a warning if it is slow."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ProgressBar
from torch import Tensor

from twostream.files.progress import Drawn
from twostream.files.words import duration
from twostream.training.callbacks import Speed

COLUMNS = {  # of the table of epochs: name in the log -> its head
    "train/loss": "train loss",
    "train/top1": "top-1",
    "val/loss": "val loss",
    "val/top1": "top-1",
    "val/mean_class": "mean class",
    "val/map": "mAP",
}
FIRST_STEPS = 5  # that tell how long a training takes, without the very first one
BATCH = 4  # the place of the number of a batch among what Lightning tells
LONG = 3600.0  # seconds that a training on a CPU may take without a warning


class EpochLine(pl.Callback):
    """Prints a row for each epoch, so that a log file shows the progress, too; epochs count from 1."""

    def __init__(self) -> None:
        self.started = 0.0
        self.first = 0
        self._shown: list[str] = []  # the columns below the last heads

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.started = time.perf_counter()
        self.first = trainer.current_epoch

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch > self.first:
            self._print(trainer, trainer.current_epoch)  # only now are the last epoch's training metrics complete
            self.started = time.perf_counter()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._print(trainer, trainer.current_epoch)

    def _print(self, trainer: pl.Trainer, epoch: int) -> None:
        if not trainer.is_global_zero:
            return
        found, last = trainer.callback_metrics, trainer.max_epochs
        place = f"epoch {epoch:>{len(str(last))}}/{last}"
        shown = [name for name in COLUMNS if name in found]
        if shown and shown != self._shown:
            self._shown = shown
            print(" " * len(place) + "".join(f"  {COLUMNS[name]:>10}" for name in shown), flush=True)
        values = "".join(f"  {found[name]:10.3f}" for name in shown)
        print(f"{place}{values}  {duration(time.perf_counter() - self.started):>7}", flush=True)


class Bar(ProgressBar):
    """One line on a terminal: loss and top-1 of the epoch so far, clips per second, time to the end of the training.

    They are read from the device every `every` steps: each reading waits for it. Top-1 and loss are those of the first
    process.
    """

    def __init__(self, every: int = 1) -> None:
        super().__init__()
        self.every = every
        self.line: Drawn | None = None
        self.speed = Speed()
        self._on = True
        self._epoch: int | None = None  # whose sums these are: loss, right clips, clips
        self._sums: Tensor | None = None
        self._note = ""
        self._steps, self._since = 0, 0.0  # of this process

    def enable(self) -> None:
        self._on = True

    def disable(self) -> None:
        self._on = False

    def on_train_start(self, *_: Any) -> None:
        self._steps, self._since = 0, time.perf_counter()

    def on_train_epoch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self.speed.on_train_epoch_start()
        self._begin_epoch(trainer)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.current_epoch != self._epoch:
            self._begin_epoch(trainer)  # a run that goes on in the middle of an epoch
        self.speed.on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if not self._on:
            return
        self._add(pl_module, batch)
        if batch_idx % self.every == 0 or batch_idx + 1 == trainer.num_training_batches:
            self._note = self._read(pl_module.multi)
        self._show(batch_idx + 1, note=self._note, left=self._seconds_left(trainer, batch_idx + 1))

    def on_validation_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self._begin("validation", sum(trainer.num_val_batches))

    def on_validation_batch_end(self, *hook: Any) -> None:
        self._show(hook[BATCH] + 1)

    def on_validation_end(self, *_: Any) -> None:
        self.speed.on_validation_end()

    def on_test_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self._begin("test", sum(trainer.num_test_batches))

    def on_test_batch_end(self, *hook: Any) -> None:
        self._show(hook[BATCH] + 1)

    def teardown(self, *_: Any, **__: Any) -> None:
        self._end()

    def on_exception(self, *_: Any) -> None:
        self._end()

    def _begin_epoch(self, trainer: pl.Trainer) -> None:
        self._epoch, self._sums, self._note = trainer.current_epoch, None, ""
        self._begin(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}", trainer.num_training_batches)

    def _begin(self, title: str, total: float) -> None:
        if not self._on:
            return
        if self.line is None:
            self.line = Drawn(title, int(total), stays=False)
        else:
            self.line.begin(title, int(total))

    def _show(self, done: int, **shown: Any) -> None:
        if self.line is not None:
            self.line.show(done, **shown)

    def _end(self) -> None:
        if self.line is not None:
            self.line.end()
        self.line = None

    def _add(self, system: Any, batch: Any) -> None:
        """Adds a batch to the sums of the epoch, unless its loss is not finite; does not wait for the device."""
        if not (clips := len(batch.label)):
            return
        (loss, _), scores = system.last_losses, system.last_scores
        right = loss if system.multi else (scores.argmax(1) == batch.label).sum()
        row = torch.stack([loss * clips, right.to(loss.dtype), torch.full_like(loss, clips)])
        row = row.where(loss.isfinite(), 0.0)
        self._sums = row if self._sums is None else self._sums + row

    def _read(self, multi: bool) -> str:
        """Returns what stands behind the bar; waits for the device."""
        if self._sums is None:
            return ""
        loss, right, clips = self._sums.tolist()
        parts = [f"loss {loss / max(1, clips):.3f}"] + [f"top-1 {right / max(1, clips):.3f}"] * (not multi)
        if (rate := self.speed.clips_per_second) is not None:
            parts.append(f"{rate:.{int(rate < 10)}f} clips/s")
        return "  ".join(parts)

    def _seconds_left(self, trainer: pl.Trainer, done: int) -> float:
        """Returns how long all further epochs will take, with their validation."""
        self._steps += 1
        return (time.perf_counter() - self._since) / self._steps * steps_left(trainer, done)


class Forecast(pl.Callback):
    """Warns once, on a CPU, that a training will take more than LONG seconds, going by its first steps."""

    def __init__(self) -> None:
        self._times: list[float] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if len(self._times) > FIRST_STEPS or trainer.strategy.root_device.type != "cpu":
            return
        self._times.append(time.perf_counter())
        if len(self._times) <= FIRST_STEPS or not trainer.is_global_zero:
            return
        seconds = (self._times[-1] - self._times[0]) / FIRST_STEPS * steps_left(trainer, batch_idx + 1)
        if seconds > LONG:
            print(
                f"WARNING: at the speed of its first steps this training takes about {duration(seconds)} on this CPU; "
                "a GPU, a smaller backbone (backbone=squeezenet1_0, tiny), a smaller transform.size and fewer epochs "
                "take less, `twostream probe` takes minutes",
                flush=True,
            )


def steps_left(trainer: pl.Trainer, done: int) -> float:
    """Returns how many batches are left to train, after `done` of this epoch."""
    return trainer.num_training_batches * (trainer.max_epochs - trainer.current_epoch) - done  # type: ignore[operator]
