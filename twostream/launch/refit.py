"""Chooses the number of epochs on held-out videos, so that all videos can train afterwards (refit=true)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf

from twostream.config.accept import same_data
from twostream.config.data import build_flow, build_lists, build_record, build_store
from twostream.config.run import Run, build_run
from twostream.config.streams import check_columns
from twostream.config.taught import as_seen
from twostream.data.frames import FrameSource
from twostream.data.record import Record
from twostream.files.errors import checked
from twostream.files.json_yaml import read_json
from twostream.files.lock import Claim
from twostream.files.signals import Signals
from twostream.launch.claim import identity
from twostream.launch.recovery import recovery_of, same_configuration
from twostream.probe.start import StartFromProbe
from twostream.runs.interrupted import CHOICE, SELECTION
from twostream.runs.results import finite_or_none, write_json
from twostream.training.callbacks import Alive
from twostream.training.finiteness import FiniteLoss
from twostream.training.recovery import Recovery, fit

ROUNDING = 1e-5  # relative: losses that are closer together count as equal
CURVE = [{str: (float, int, None)}]
SHAPE = {"!cell": str, "!epochs": int, "!top1": float, "!seconds": float, "curve": CURVE, "!data": str}


class Choice(NamedTuple):
    """The number of `epochs` to train, 0 for none, and the `top1` of validation after them."""

    epochs: int
    top1: float
    seconds: float = 0.0  # that the choice took


class Validated(pl.Callback):
    """Keeps the validation metrics of every epoch; if training starts from a probe, those of the probe as epoch 0.

    `losses` has a row for each row of `curve`: the loss of each video, by its position in the list.
    """

    def __init__(self) -> None:
        self.curve: list[dict[str, float]] = []
        self.losses: list[dict[int, float]] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        probes = [part for part in trainer.callbacks if isinstance(part, StartFromProbe)]  # type: ignore[attr-defined]
        if not self.curve and probes:
            self.curve.append({"epoch": 0, **probes[0].accuracy})
            self.losses.append(probes[0].losses)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        found = trainer.callback_metrics
        values = {name: float(found[f"val/{name}"]) for name in ("top1", "mean_class", "macro_f1", "loss")}
        self.curve.append({"epoch": trainer.current_epoch + 1, **values})
        self.losses.append(pl_module.validation_losses)

    def choose(self) -> Choice:
        """Returns the earliest epoch whose loss is not clearly above the lowest one."""
        videos = set.intersection(*(set(losses) for losses in self.losses))  # some may be unreadable in some epochs
        row = self.curve[earliest([[losses[video] for video in sorted(videos)] for losses in self.losses])]
        return Choice(int(row["epoch"]), row["top1"])

    def state_dict(self) -> dict[str, Any]:
        return {"curve": self.curve, "losses": self.losses}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.curve, self.losses = state_dict["curve"], state_dict["losses"]


def earliest(losses: Sequence[Sequence[float]]) -> int:
    """Returns the first row that is within one standard error of the row with the lowest mean (Breiman et al. 1984).

    The error is that of the mean difference between the two rows, video by video. With few videos it is large, so that
    an early row is chosen, and the network stays close to its start. A row with a higher mean than an earlier one is
    never chosen, however uncertain it is.

    >>> earliest([[1.0, 1.0, 1.0, 1.0], [0.5, 0.5, 0.5, 0.6], [0.4, 0.6, 0.5, 0.5]])
    1
    >>> earliest([[0.3, 0.4], [0.2, 0.9], [0.1, 0.1]])
    2
    """
    rows = np.asarray(losses)
    means = rows.mean(1)
    best = rows[np.where(np.isnan(means), np.inf, means).argmin()]  # NaN does not count as low
    differences = rows - best
    errors = differences.std(1, ddof=1) / np.sqrt(rows.shape[1]) if rows.shape[1] > 1 else np.zeros(len(rows))
    rounding = ROUNDING * abs(best.mean())
    not_above_earlier = means <= np.fmin.accumulate(means) + rounding
    return int(np.argmax(not_above_earlier & (differences.mean(1) <= errors + rounding)))


def choose_epochs(
    typed: DictConfig,
    cfg: DictConfig,
    folder: Path,
    claim: Claim,
    signals: Signals,
    begun: Callable[[Run], None],
    source: Any,
) -> tuple[Choice, FrameSource | None]:
    """Trains without the held-out videos, validates after every epoch, and chooses the number of epochs.

    A resumed run returns what it chose before. Reads no test video. Writes its files into `selection/` below the run's
    folder, and keeps no weights. `cfg`: `typed` after `settle`. `begun`: called in the first process once all that
    could be refused has been accepted. Returns the choice, and the frame source if it has been opened.
    """
    parts: Any = OmegaConf.merge(cfg, {"refit": False, "logger": None})
    with checked():
        record = held_out_record(parts, source)
        if (found := chosen_before(typed, folder, record)) is not None:
            return found, None
    start = recovery_of(typed, folder, SELECTION)
    folder, cell = folder / SELECTION, identity(typed)
    recovery = Recovery(folder, minutes=cfg.checkpoint_minutes, cell=cell, signals=signals)
    validated, finite = Validated(), FiniteLoss(folder, nonfinite=cfg.nonfinite)
    run = build_run(parts, folder, [Alive(claim), recovery, finite, validated], start, source=source, keep_best=False)
    if run.trainer.is_global_zero:
        begun(run)
        print(
            f"refit: {len(run.data.validation_set)} of the training videos choose the number of epochs, "
            "then all of them train",
            flush=True,
        )
    fit(run.trainer, run.system, run.data, start)
    choice = validated.choose()._replace(seconds=round(recovery.seconds, 2))
    if run.trainer.is_global_zero:
        curve = [finite_or_none(row) for row in validated.curve]
        content = {"cell": cell, **choice._asdict(), "curve": curve, "data": record.to_text()}
        write_json(folder / CHOICE, content)
        recovery.forget()
        print(
            f"refit: no epoch has a val/loss clearly below that of epoch {choice.epochs} (val/top1 {choice.top1:.3f})",
            flush=True,
        )
    return choice, run.data.train_set.frame_source


def held_out_record(cfg: DictConfig, source: Any) -> Record:
    """Returns the record of the data that choose the epochs.

    Raises ValueError if no video is held out, or a column of `data.csv` is not there.
    """
    cfg = as_seen(cfg)
    check_columns(cfg, source)
    lists = build_lists(cfg, source)
    if not lists["validation"]:
        raise ValueError(
            f"refit=true: no training video is held out to choose the number of epochs "
            f"(validation_fraction={cfg.validation_fraction}); choose a larger part, or refit=false"
        )
    return build_record(cfg, source, lists, build_store(cfg, build_flow(cfg), source))


def chosen_before(typed: DictConfig, folder: Path, record: Record) -> Choice | None:
    """Returns what a resumed run chose before with this configuration and these data; None if it has to choose.

    Raises UserError if the configuration or the data have changed since, unless `allow_change`.
    """
    try:
        found = read_json(folder / SELECTION / CHOICE, SHAPE, what="no choice of epochs")
    except FileNotFoundError:
        return None
    before, may_change = Record.from_text(found["data"]), typed.allow_change
    same = same_configuration(found["cell"], typed, folder) and same_data(
        before, record, folder, allow_change=may_change
    )
    return Choice(found["epochs"], found["top1"], found["seconds"]) if same else None
