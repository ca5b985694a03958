"""Recovery checkpoints: after a crash a run continues from one as if nothing had happened."""

from __future__ import annotations

import random
import time
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torch.distributed
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from torchmetrics import Metric

from twostream.data.record import Record
from twostream.files.errors import one_line
from twostream.files.json_yaml import has_shape
from twostream.files.signals import Signals, Stopped
from twostream.runs.checkpoint import check_size, load_without_memory, read_plain
from twostream.runs.interrupted import recovery_files
from twostream.runs.results import write_text
from twostream.training.distributed import of_all_processes
from twostream.training.ranks import lost_others

KEPT = 2  # recovery checkpoints that are kept, the newest ones
SHARE = 0.02  # share of training time that checkpoints at the ends of epochs may take
GRACE_SECONDS = 15.0  # how long a validation goes on after a signal
STATE = {"!recovery": {"!cell": str, "!epoch": int, "!batch": int}}  # what a recovery checkpoint has to contain
WORTH_SECONDS = 60.0  # of unsaved training, after which to save before a validation: none is possible in it


class Recovery(pl.Callback):
    """Writes `checkpoints/recovery-EPOCH-BATCH.ckpt` every `minutes` minutes, at ends of epochs and before stopping.

    Besides what Lightning saves, a file has the random numbers of every process, the place in the epoch, the metrics of
    the epoch so far and `metrics.csv`. Files are written between two batches, so that no batch is trained on twice.

    Raises ValueError for negative `minutes`.
    """

    def __init__(self, folder: Path, *, minutes: float, cell: str, signals: Signals) -> None:
        if not minutes >= 0:
            raise ValueError(f"checkpoint_minutes={minutes!r}: minutes between recovery checkpoints, 0 or more")
        self.folder = folder / "checkpoints"
        self.minutes = minutes
        self.cell = cell
        self.signals = signals
        self.seconds_before = 0.0  # that earlier processes spent on this run
        self._began = time.perf_counter()
        self._saved_at = time.monotonic()
        self._cost = 0.0  # seconds that the last save took
        self._saving: tuple[int, int] | None = None
        self._between: tuple[int, int] | None = None  # the next epoch and batch; None while a batch is trained on
        self._restored: dict[str, Any] | None = None

    @property
    def seconds(self) -> float:
        """Seconds that all processes until now have spent on the run."""
        return self.seconds_before + time.perf_counter() - self._began

    # when to save

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit" and trainer.ckpt_path:  # FSDP makes the loader before the rest is loaded
            state = read_recovery(Path(trainer.ckpt_path))
            trainer.datamodule.begin_at(*place_in(state, trainer.datamodule.record))  # type: ignore[attr-defined]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.signals.install()
        self.signals.patient = True
        self._accept(trainer)
        if self._restored is not None and self._restored["batch"] == 0:
            trainer.fit_loop.restarting = False  # an epoch begins: there is nothing that Lightning has to catch up with

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._accept(trainer)  # no epoch was left to train

    def _accept(self, trainer: pl.Trainer) -> None:
        """Restores `metrics.csv`: the checkpoint has been loaded as a whole, so the run's files may be written now."""
        if self._restored is not None and trainer.is_global_zero:
            restore_csv(trainer, self._restored["metrics.csv"])

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._restored is None and trainer.current_epoch > 0:
            self._save_if_due(trainer, 0)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if self._restored is not None:
            settle(trainer, self._restored)
            self._restored = None
        elif batch_idx > 0 and batch_idx % trainer.accumulate_grad_batches == 0:
            self._save_if_due(trainer, batch_idx)
        self._between = None

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        following = batch_idx + 1
        if following < trainer.num_training_batches and following % trainer.accumulate_grad_batches == 0:
            self._between = (trainer.current_epoch, following)

    def on_validation_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if self.signals.seconds_waiting() > GRACE_SECONDS:
            raise Stopped(self.signals.received or 0)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.save(trainer, trainer.current_epoch, 0)
        self.signals.patient = False
        if self.signals.received is not None:
            raise Stopped(self.signals.received)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.signals.install()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.signals.patient = False
        if self._between is not None and trainer.world_size == 1 and not isinstance(exception, Stopped):
            with suppress(Exception):  # the user has to see the first error, not this one
                self.save(trainer, *self._between)
        if self.signals.received is not None and follows(exception):
            raise Stopped(self.signals.received) from exception

    def _save_if_due(self, trainer: pl.Trainer, batch: int) -> None:
        due, number = agreed(trainer, self._is_due(trainer, batch), self.signals.received or 0)
        if due or number:
            self.save(trainer, trainer.current_epoch, batch)
        if number:
            raise Stopped(number)

    def _is_due(self, trainer: pl.Trainer, batch_idx: int) -> bool:
        elapsed = time.monotonic() - self._saved_at
        if elapsed >= self.minutes * 60:
            return True
        if batch_idx == 0:
            return self._cost <= SHARE * elapsed
        last = batch_idx == trainer.num_training_batches - 1
        return last and bool(trainer.limit_val_batches) and elapsed > WORTH_SECONDS

    # what is saved

    def save(self, trainer: pl.Trainer, epoch: int, batch: int) -> None:
        """Saves the state before batch `batch` of epoch `epoch`. All processes have to call it."""
        started = time.monotonic()
        for logger in trainer.loggers:
            logger.save()
        self._saving = (epoch, batch)
        written = self.folder / f"recovery-{epoch:05d}-{batch:07d}.ckpt"
        try:
            trainer.save_checkpoint(written)
        finally:
            self._saving = None
        if trainer.is_global_zero:
            tidy(self.folder, written)
        self._saved_at = time.monotonic()
        self._cost = self._saved_at - started

    def forget(self) -> None:
        """Deletes the recovery checkpoints of a run that has its results."""
        for path in recovery_files(self.folder):
            path.unlink(missing_ok=True)

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        if self._saving is None:  # Lightning saves the best checkpoint
            return
        epoch, batch = self._saving
        unreadable = trainer.datamodule.unreadable()  # type: ignore[attr-defined]
        state = {"random": random_state(), "metrics": metrics_state(pl_module), "unreadable": unreadable}
        everyone = of_all_processes(state)
        checkpoint["loops"]["fit_loop"] = between_batches(checkpoint["loops"]["fit_loop"], epoch, batch)
        checkpoint["recovery"] = {
            "cell": self.cell,
            "epoch": epoch,
            "batch": batch,
            "batch_size": trainer.datamodule.batch_size,  # type: ignore[attr-defined]
            "parts": trainer.accumulate_grad_batches,
            "seconds": self.seconds,
            "steps": trainer.fit_loop.epoch_loop._batches_that_stepped,
            "random": [state["random"] for state in everyone],
            "metrics": summed([state["metrics"] for state in everyone]),
            "unreadable": [
                sorted(set().union(*part)) for part in zip(*(state["unreadable"] for state in everyone), strict=True)
            ],
            "data": trainer.datamodule.record.to_text(),  # type: ignore[attr-defined]
            "metrics.csv": "".join(path.read_text() for path in [csv_path(trainer)] if path.exists()),
        }

    def on_load_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Restores the run's state from a checkpoint.

        Lightning calls it when the weights are loaded, before callbacks, loops and optimizers get their states.
        """
        state = checkpoint["recovery"]
        if place_in(state, trainer.datamodule.record)[1] != state["batch"]:  # type: ignore[attr-defined]
            state = {**state, "batch": 0, "metrics": {}}  # the order of videos has changed: the epoch begins again
            loop = checkpoint["loops"]["fit_loop"]
            checkpoint["loops"]["fit_loop"] = between_batches(loop, state["epoch"], 0)
        self._restored = state
        self.seconds_before = state["seconds"]
        trainer.datamodule.set_unreadable(state["unreadable"])  # type: ignore[attr-defined]
        if trainer.is_global_zero:
            load_metrics(pl_module, state["metrics"])
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, ModelCheckpoint) and (key := callback.state_key) in checkpoint["callbacks"]:
                checkpoint["callbacks"][key] |= later_best(self.folder, checkpoint["global_step"], key)
                moved_to(self.folder, checkpoint["callbacks"][key])


def fit(trainer: pl.Trainer, system: pl.LightningModule, data: pl.LightningDataModule, start: Path | None) -> None:
    """Calls `Trainer.fit`, from the recovery checkpoint `start` if given; callbacks know of it in their `setup`."""
    trainer.ckpt_path = start
    trainer.fit(system, datamodule=data, weights_only=True)
    trainer.ckpt_path = None  # the test loads other weights


def tidy(folder: Path, written: Path) -> None:
    """Deletes all recovery checkpoints but `written` and the newest ones before it, `KEPT` in all.

    Files that seem newer than `written` are damaged ones, which the run did not go on from; they are deleted, too.
    """
    files = recovery_files(folder)
    place = files.index(written)
    for path in (*files[:place], *files[place + KEPT :]):
        path.unlink(missing_ok=True)


def newest_recovery(folder: Path) -> Path | None:
    """Returns the newest undamaged recovery checkpoint of a run folder, or None.

    Prints which damaged ones it passes over.
    """
    for path in recovery_files(folder / "checkpoints"):
        problem = damage(path)
        if problem is None:
            return path
        rank_zero_only(print)(f"{path}: damaged ({problem}); going back to the one before", flush=True)
    return None


def damage(path: Path) -> str | None:
    """Returns what is wrong with a recovery checkpoint, whose parts have check sums, or None if nothing is."""
    try:
        with zipfile.ZipFile(path) as archive:  # PyTorch does not compare the check sums
            check_size(path)
            broken = archive.testzip()
        if broken is not None:
            return f"{broken} has changed"
        return None if has_shape(load_without_memory(path), STATE) else "it is none of a run"
    except Exception as error:
        return one_line(error)


def read_recovery(path: Path) -> dict[str, Any]:
    """Returns what `Recovery` itself has written into a checkpoint."""
    return load_without_memory(path)["recovery"]


def place_in(state: Mapping[str, Any], record: Record) -> tuple[int, int]:
    """Returns the epoch and batch to go on at.

    The batch is 0 if the list of training videos, and so their order, has changed.
    """
    if state["batch"] == 0 or "data" not in state:
        return state["epoch"], 0
    same = Record.from_text(state["data"]).order("train") == record.order("train")
    return state["epoch"], state["batch"] if same else 0


def follows(error: BaseException) -> bool:
    """Returns whether an error only says that a signal has ended another process.

    >>> follows(RuntimeError("DataLoader worker (pid 12) is killed by signal: Terminated."))
    True
    """
    return isinstance(error, KeyboardInterrupt) or "DataLoader worker" in str(error) or lost_others(error)


def settle(trainer: pl.Trainer, state: dict[str, Any]) -> None:
    """Restores the random numbers before the first batch.

    Sets Lightning's counters as if it had not been restarted.
    """
    states = state["random"]
    if trainer.global_rank < len(states):
        set_random_state(states[trainer.global_rank])
    trainer.fit_loop.restarting = False  # else Lightning skips the plateau schedule at the end of this epoch
    trainer.fit_loop.epoch_loop._batches_that_stepped = state["steps"]


def between_batches(loop: dict[str, Any], epoch: int, batch: int) -> dict[str, Any]:
    """Returns Lightning's progress after `epoch` epochs and `batch` batches, with no batch half done."""
    begun = epoch + (batch > 0)
    epochs = {"ready": begun, "started": begun, "processed": epoch, "completed": epoch}
    batches = loop["epoch_loop.batch_progress"]
    done = dict.fromkeys(("ready", "started", "processed", "completed"), batches["total"]["completed"])
    return {
        **loop,
        "epoch_progress": {"total": epochs, "current": dict(epochs)},
        "epoch_loop.batch_progress": {
            "total": done,
            "current": dict.fromkeys(("ready", "started", "processed", "completed"), batch),
            "is_last_batch": False,
        },
    }


def later_best(folder: Path, step: int, key: str) -> dict[str, Any]:
    """Returns the state of the ModelCheckpoint that saved the best weights, if it did so after `step`; else {}.

    These weights are kept with their own score: training again from `step` may come out differently on a GPU.
    """
    path = folder / "best.ckpt"
    best: dict[str, Any] = read_plain(path) if path.exists() else {"global_step": step}
    return best["callbacks"][key] if best["global_step"] > step else {}


def moved_to(folder: Path, state: dict[str, Any]) -> None:
    """Sets the paths in a ModelCheckpoint's state to `folder`, since the run folder may have been moved."""
    for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
        if state.get(key):
            state[key] = str(folder / Path(state[key]).name)
    state["best_k_models"] = {str(folder / Path(path).name): score for path, score in state["best_k_models"].items()}
    state["dirpath"] = str(folder)


def agreed(trainer: pl.Trainer, due: bool, number: int) -> tuple[bool, int]:
    """Returns whether a save is due, and the signal that any process has received (0: none), the same in all.

    Only the first process knows whether a save is due.
    """
    if trainer.world_size == 1:
        return due, number
    wanted = torch.tensor([int(due and trainer.is_global_zero), number], device=trainer.strategy.root_device)
    torch.distributed.all_reduce(wanted, op=torch.distributed.ReduceOp.MAX)
    due_anywhere, number_anywhere = wanted.tolist()
    return bool(due_anywhere), number_anywhere


def random_state() -> dict[str, Any]:
    """Returns the state of all random number generators of this process.

    It consists of tensors and plain values, so that nothing has to be unpickled to read it.
    """
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,  # of this process's device
        "numpy": (kind, torch.from_numpy(np.asarray(keys, np.int64)), position, has_gauss, gauss),
        "python": random.getstate(),
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Restores the random number generators to what `random_state` returned."""
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())
    kind, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((kind, keys.cpu().numpy().astype(np.uint32), position, has_gauss, gauss))
    version, numbers, following = state["python"]
    random.setstate((version, tuple(numbers), following))


def metrics_state(module: torch.nn.Module) -> dict[str, dict[str, torch.Tensor]]:
    """Returns what the metrics have counted in this epoch: {module name: {state name: tensor}}."""
    metrics = [(name, metric) for name, metric in module.named_modules() if isinstance(metric, Metric)]
    return {name: {key: value.cpu() for key, value in metric.metric_state.items()} for name, metric in metrics}  # type: ignore[misc]


def summed(states: list[dict[str, dict[str, torch.Tensor]]]) -> dict[str, dict[str, torch.Tensor]]:
    """Adds up the metric states of all processes: every state is a count or a sum."""
    first, *others = states
    return {
        name: {key: sum((other[name][key] for other in others), start=value) for key, value in state.items()}
        for name, state in first.items()
    }


def load_metrics(module: torch.nn.Module, states: dict[str, dict[str, torch.Tensor]]) -> None:
    """Loads metric states, so that the metrics go on counting from them."""
    for name, metric in module.named_modules():
        if isinstance(metric, Metric) and name in states:
            for key, value in states[name].items():
                setattr(metric, key, value.to(metric.device, copy=True))  # under FSDP the metric is on the GPU by now
            metric._update_count = 1  # else the metric warns that it was never updated
            metric._computed = None


def csv_path(trainer: pl.Trainer) -> Path:
    """Returns the path of this run's `metrics.csv`."""
    return Path(trainer.default_root_dir) / "metrics.csv"


def restore_csv(trainer: pl.Trainer, text: str) -> None:
    """Writes `metrics.csv` as it was at the checkpoint: the rows after it are going to be written again."""
    path = csv_path(trainer)
    write_text(path, text)
    for logger in trainer.loggers:
        if isinstance(logger, CSVLogger):  # have it append to the file, under the same header
            logger.experiment.metrics_keys = text.splitlines()[0].split(",") if text else []
            logger.experiment.goes_on = True  # type: ignore[attr-defined]
