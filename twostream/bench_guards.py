"""What do recovery checkpoints and all guards cost? `python -m twostream.bench_guards [OVERRIDE …]`: the same training
with and without them, in turns."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import pytorch_lightning as pl

from twostream.config import build_run, compose_config
from twostream.nonfinite import FiniteLoss
from twostream.recovery import Recovery
from twostream.signals import Signals


class Steps(pl.Callback):
    """Seconds from the second step to the end of the last epoch: what comes before is the same for both."""

    def __init__(self) -> None:
        self.began = self.seconds = 0.0

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        self.began = self.began or time.perf_counter()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seconds = time.perf_counter() - self.began


def seconds_of_training(overrides: list[str], *, guarded: bool) -> float:
    """Of all steps and validations of a short training; `guarded`: as train.py does it."""
    cfg = compose_config([*overrides, *([] if guarded else ["decode_timeout=null"])])
    steps = Steps()
    with tempfile.TemporaryDirectory() as name, Signals() as signals:
        folder = Path(name)
        guards = [
            Recovery(folder, minutes=cfg.checkpoint_minutes, cell="", signals=signals),
            FiniteLoss(folder, nonfinite=cfg.nonfinite),
        ]
        run = build_run(cfg, folder, [*(guards if guarded else []), steps])
        run.trainer.fit(run.system, run.data)
    return steps.seconds


def main() -> None:
    """Print both times of each round, and the median of their ratios."""
    parser = argparse.ArgumentParser("python -m twostream.bench_guards", description=__doc__)
    parser.add_argument("overrides", nargs="*", default=["epochs=3", "logger=csv"], metavar="OVERRIDE")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    ratios = []
    for number in range(options.rounds):
        order = (True, False) if number % 2 else (False, True)
        seconds = {guarded: seconds_of_training(options.overrides, guarded=guarded) for guarded in order}
        ratios.append(seconds[True] / seconds[False])
        print(f"guarded {seconds[True]:.2f} s, bare {seconds[False]:.2f} s: {ratios[-1]:.3f}", flush=True)
    print(f"median of {len(ratios)} ratios: {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
