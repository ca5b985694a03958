"""How many epochs to train for: found out on held-out videos, so that all can train afterwards (refit=true)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf

from twostream.callbacks import Alive
from twostream.claim import Claim
from twostream.config.resume import recovery_of
from twostream.config.run import Run, build_run
from twostream.config.sweep import identity
from twostream.nonfinite import FiniteLoss
from twostream.plain import read_json
from twostream.probe.start import StartFromProbe
from twostream.recovery import Recovery, fit
from twostream.results import write_json
from twostream.signals import Signals

SELECTION = "selection"  # in the run's: metrics.csv and, while it lasts, recovery checkpoints
CHOICE = {"cell": str, "epochs": int, "top1": (float, None), "seconds": float, "curve": [{str: (float, int, None)}]}


class Choice(NamedTuple):
    """After how many `epochs` to stop, 0 for the start; `top1` of validation there."""

    epochs: int
    top1: float
    seconds: float = 0.0  # that it took


class Validated(pl.Callback):
    """Keeps the validation of every epoch, and that of a probe that training starts from as epoch 0.

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
        values = {name: float(found[f"val/{name}"]) for name in ("top1", "mean_class", "loss")}
        self.curve.append({"epoch": trainer.current_epoch + 1, **values})
        self.losses.append(pl_module.validation_losses)

    def choose(self) -> Choice:
        """The earliest epoch whose loss is not clearly above the lowest one."""
        videos = set.intersection(*(set(losses) for losses in self.losses))  # some may not have been readable always
        row = self.curve[earliest([[losses[video] for video in sorted(videos)] for losses in self.losses])]
        return Choice(int(row["epoch"]), row["top1"])

    def state_dict(self) -> dict[str, Any]:
        return {"curve": self.curve, "losses": self.losses}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.curve, self.losses = state_dict["curve"], state_dict["losses"]


def earliest(losses: Sequence[Sequence[float]]) -> int:
    """The first row that is within one standard error of the row with the lowest mean (Breiman et al. 1984).

    The error is that of the mean difference between both, video by video: few videos decide nothing, and then the
    network stays as close to its start as it can.

    >>> earliest([[1.0, 1.0, 1.0, 1.0], [0.5, 0.5, 0.5, 0.6], [0.4, 0.6, 0.5, 0.5]])
    1
    """
    rows = np.asarray(losses)
    best = rows[rows.mean(1).argmin()]
    differences = rows - best
    errors = differences.std(1, ddof=1) / np.sqrt(rows.shape[1]) if rows.shape[1] > 1 else np.zeros(len(rows))
    return int(np.argmax(differences.mean(1) <= errors))


def choose_epochs(
    cfg: DictConfig, folder: Path, claim: Claim, signals: Signals, begun: Callable[[Run], None], source: Any
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
            return Choice(found["epochs"], found["top1"], found["seconds"])
    except FileNotFoundError:
        pass
    start = recovery_of(parts, folder)
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
        write_json(folder / "choice.json", {"cell": cell, **choice._asdict(), "curve": validated.curve})
        recovery.forget()
        print(
            f"refit: no epoch has a val/loss clearly below that of epoch {choice.epochs} (val/top1 {choice.top1:.3f})",
            flush=True,
        )
    return choice
