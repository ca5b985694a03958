"""What do recovery checkpoints and guards cost? `python -m benchmarks.guards [OVERRIDE …]`: the same training
with and without them, in turns."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import pytorch_lightning as pl
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.loggers import CSVLogger

from twostream.config.compose import compose_config
from twostream.config.run import Run, build_run
from twostream.files.lock import Claim
from twostream.files.signals import Signals
from twostream.training.callbacks import Alive
from twostream.training.finiteness import FiniteLoss
from twostream.training.recovery import Recovery

COMPARED = """\
guarded: a claim on the folder, kept alive; recovery checkpoints every {minutes} minutes and at ends of epochs; signals
         waited for; loss and gradients looked at every step (nonfinite={nonfinite}); decode_timeout={timeout};
         checkpoints and rows of metrics.csv that are whole or not there
bare:    none of these; Lightning's own best checkpoint and metrics.csv"""
MINUTES = "checkpoint_minutes=0.2"  # so that a training of a minute writes some


class Steps(pl.Callback):
    """Measures the seconds from the second step to the end of the last epoch.

    What comes before is the same for both kinds of run.
    """

    def __init__(self) -> None:
        self.began = self.seconds = 0.0

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        self.began = self.began or time.perf_counter()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seconds = time.perf_counter() - self.began


def seconds_of_training(overrides: list[str], *, guarded: bool) -> float:
    """Returns the seconds of all steps and validations of a short training; `guarded`: as train.py does it."""
    steps = Steps()
    with tempfile.TemporaryDirectory() as name:
        if not guarded:
            run = bare_run(overrides, Path(name), steps)
            run.trainer.fit(run.system, run.data)
            return steps.seconds
        with Signals() as signals:
            run = guarded_run(overrides, Path(name), signals, steps)
            run.trainer.fit(run.system, run.data)
    return steps.seconds


def guarded_run(overrides: list[str], folder: Path, signals: Signals, steps: Steps) -> Run:
    """Builds a run with the guards that train.py has."""
    cfg = compose_config([MINUTES, *overrides])
    claim = Claim(folder / "results.json")
    claim.take()
    recovery = Recovery(folder, minutes=cfg.checkpoint_minutes, cell="", signals=signals)
    return build_run(cfg, folder, [Alive(claim), recovery, FiniteLoss(folder, nonfinite=cfg.nonfinite), steps])


def bare_run(overrides: list[str], folder: Path, steps: Steps) -> Run:
    """Builds a run as Lightning alone would have it."""
    run = build_run(compose_config([*overrides, "decode_timeout=null"]), folder, [steps])
    run.trainer.strategy.checkpoint_io = TorchCheckpointIO()
    run.trainer.loggers = [CSVLogger(folder, name="", version=""), *run.trainer.loggers[1:]]
    return run


def main() -> None:
    """Prints both times of each round, and the median of their ratios."""
    parser = argparse.ArgumentParser("python -m benchmarks.guards", description=__doc__)
    parser.add_argument("overrides", nargs="*", default=["epochs=3", "logger=csv"], metavar="OVERRIDE")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    cfg = compose_config([MINUTES, *options.overrides])
    print(COMPARED.format(minutes=cfg.checkpoint_minutes, nonfinite=cfg.nonfinite, timeout=cfg.decode_timeout))
    ratios = []
    for number in range(options.rounds):
        order = (True, False) if number % 2 else (False, True)
        seconds = {guarded: seconds_of_training(options.overrides, guarded=guarded) for guarded in order}
        ratios.append(seconds[True] / seconds[False])
        print(f"guarded {seconds[True]:.2f} s, bare {seconds[False]:.2f} s: {ratios[-1]:.3f}", flush=True)
    print(f"median of {len(ratios)} ratios: {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
