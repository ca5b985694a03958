"""How many epochs to train for: found out on held-out videos, so that all can train afterwards (refit=true)."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf

from twostream.callbacks import Alive
from twostream.claim import Claim
from twostream.config.accept import same_data
from twostream.config.data import build_flow, build_lists, build_record, build_source, build_store
from twostream.config.resume import recovery_of, same_configuration
from twostream.config.run import Run, build_run
from twostream.config.sweep import identity
from twostream.data.footage import Footage
from twostream.data.record import Record
from twostream.errors import checked
from twostream.nonfinite import FiniteLoss
from twostream.plain import read_json
from twostream.recovery import CHOICE, SELECTION, Recovery, fit
from twostream.results import finite_or_none, write_json
from twostream.signals import Signals

SHAPE = {"!cell": str, "!epochs": int, "!top1": float, "curve": [{str: (float, int, None)}], "!data": str}


class Choice(NamedTuple):
    """`epochs` with the lowest validation loss, 0 for the start; `top1` of validation there."""

    epochs: int
    top1: float


class Validated(pl.Callback):
    """Keeps the validation of every epoch, and that of the start as epoch 0 where `start` has measured it."""

    def __init__(self) -> None:
        self.curve: list[dict[str, float]] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        measured = [c.accuracy for c in trainer.callbacks if hasattr(c, "accuracy")]  # type: ignore[union-attr,attr-defined]
        if not self.curve and measured:
            self.curve.append({"epoch": 0, **measured[0]})

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        found = trainer.callback_metrics
        values = {name: float(found[f"val/{name}"]) for name in ("top1", "mean_class", "loss")}
        self.curve.append({"epoch": trainer.current_epoch + 1, **values})

    def choose(self) -> Choice:
        """The epoch with the lowest loss, the earliest of equal ones; one that is not a number is not low."""
        best = min(self.curve, key=lambda row: (math.isnan(row["loss"]), row["loss"]))
        return Choice(int(best["epoch"]), best["top1"])

    def state_dict(self) -> dict[str, Any]:
        return {"curve": self.curve}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.curve = state_dict["curve"]


def choose_epochs(
    typed: DictConfig, cfg: DictConfig, folder: Path, claim: Claim, signals: Signals, begun: Callable[[Run], None]
) -> tuple[Choice, Footage | None]:
    """Train without the held-out videos, validate after every epoch; in a process that goes on, what was found before.

    No test video is read. Files of it are in `selection/` below the run's folder; weights are not kept. `cfg`: what
    was `typed`, settled. `begun` is called, in the first process, when all that could be refused has been accepted.
    Returns the footage, too, if it has been opened.
    """
    parts: Any = OmegaConf.merge(cfg, {"refit": False, "logger": None})
    with checked():
        record = held_out_record(parts)
        if (found := chosen_before(typed, folder, record)) is not None:
            return found, None
    start = recovery_of(typed, folder, SELECTION)
    folder, cell = folder / SELECTION, identity(typed)
    recovery = Recovery(folder, minutes=cfg.checkpoint_minutes, cell=cell, signals=signals)
    validated, finite = Validated(), FiniteLoss(folder, nonfinite=cfg.nonfinite)
    run = build_run(parts, folder, [Alive(claim), recovery, finite, validated], start, keep_best=False)
    if run.trainer.is_global_zero:
        begun(run)
        print(
            f"refit: {len(run.data.validation_set)} of the training videos choose the number of epochs, "
            "then all of them train",
            flush=True,
        )
    fit(run.trainer, run.system, run.data, start)
    choice = validated.choose()
    if run.trainer.is_global_zero:
        curve = [finite_or_none(row) for row in validated.curve]
        content = {"cell": cell, **choice._asdict(), "curve": curve, "data": record.to_text()}
        write_json(folder / CHOICE, content)
        recovery.forget()
        print(f"refit: epoch {choice.epochs} had the lowest val/loss (val/top1 {choice.top1:.3f})", flush=True)
    return choice, run.data.train_set.footage


def held_out_record(cfg: DictConfig) -> Record:
    """What the choice is made with. Raises ValueError where no video is held out."""
    source = build_source(cfg, quiet=True)
    lists = build_lists(cfg, source)
    if not lists["validation"]:
        raise ValueError(
            f"refit=true: no training video is held out to choose the number of epochs "
            f"(validation_fraction={cfg.validation_fraction}); choose a larger part, or refit=false"
        )
    return build_record(cfg, source, lists, build_store(cfg, build_flow(cfg), source))


def chosen_before(typed: DictConfig, folder: Path, record: Record) -> Choice | None:
    """What a run that goes on has found with this configuration and these data; None where it has to choose (anew)."""
    try:
        found = read_json(folder / SELECTION / CHOICE, SHAPE, what="no choice of epochs")
    except FileNotFoundError:
        return None
    before, may_change = Record.from_text(found["data"]), typed.allow_change
    same = same_configuration(found["cell"], typed, folder) and same_data(
        before, record, folder, allow_change=may_change
    )
    return Choice(found["epochs"], found["top1"]) if same else None
