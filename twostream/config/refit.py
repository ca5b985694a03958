"""How many epochs to train for: found out on held-out videos, so that all can train afterwards (refit=true)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf

from twostream.callbacks import Alive
from twostream.claim import Claim
from twostream.config.resume import recovery_of
from twostream.config.run import Run, build_run
from twostream.config.sweep import identity
from twostream.nonfinite import FiniteLoss
from twostream.plain import read_json
from twostream.recovery import Recovery, fit
from twostream.results import write_json
from twostream.signals import Signals

SELECTION = "selection"  # in the run's: metrics.csv and, while it lasts, recovery checkpoints
CHOICE = {"cell": str, "epochs": int, "top1": (float, None), "curve": [{str: (float, int, None)}]}


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
        """The epoch with the lowest loss, the earliest of equal ones."""
        best = min(self.curve, key=lambda row: row["loss"])
        return Choice(int(best["epoch"]), best["top1"])

    def state_dict(self) -> dict[str, Any]:
        return {"curve": self.curve}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.curve = state_dict["curve"]


def choose_epochs(
    cfg: DictConfig, folder: Path, claim: Claim, signals: Signals, begun: Callable[[Run], None]
) -> Choice:
    """Train without the held-out videos, validate after every epoch; in a process that goes on, what was found before.

    No test video is read. Files of it are in `selection/` below the run's folder; weights are not kept. `begun` is
    called, in the first process, when all that could be refused has been accepted.
    """
    folder = folder / SELECTION
    parts: Any = OmegaConf.merge(cfg, {"refit": False, "logger": None})
    cell = identity(parts)
    try:
        found = read_json(folder / "choice.json", CHOICE, what="no choice of epochs")
        if found["cell"] == cell:
            return Choice(found["epochs"], found["top1"])
    except FileNotFoundError:
        pass
    start = recovery_of(parts, folder)
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
        write_json(folder / "choice.json", {"cell": cell, **choice._asdict(), "curve": validated.curve})
        recovery.forget()
        print(f"refit: epoch {choice.epochs} had the lowest val/loss (val/top1 {choice.top1:.3f})", flush=True)
    return choice
