"""A run: builds what the configuration says, trains and tests the network, and writes the results."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from twostream.config.data import build_source
from twostream.config.run import Run, build_loggers, build_run, check_options
from twostream.config.settle import needs_videos, settle
from twostream.files.errors import checked
from twostream.files.lock import Claim
from twostream.files.signals import Signals
from twostream.launch.announce import announce, announce_refit, conclude
from twostream.launch.claim import claimed, identity
from twostream.launch.outcome import Outcome, begin, leave_config, leave_results, leave_scores, weights_file
from twostream.launch.processes import needs_own_process, run_own_process
from twostream.launch.recovery import recovery_of
from twostream.launch.refit import choose_epochs
from twostream.runs.results import validation_accuracy
from twostream.training.callbacks import Alive, Begins, Speed
from twostream.training.finiteness import FiniteLoss
from twostream.training.loggers import finishing
from twostream.training.recovery import Recovery, fit


def run(cfg: DictConfig) -> float | None:
    """Does one run, or one cell of a sweep, unless its folder has results; returns its best validation accuracy."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    if needs_own_process(cfg):
        run_own_process(cfg, folder)
    else:
        with claimed(cfg, folder) as claim, Signals() as signals:
            if claim is not None:
                train(cfg, folder, claim, signals)
    return validation_accuracy(folder)


def train(typed: DictConfig, folder: Path, claim: Claim, signals: Signals) -> dict[str, Any]:
    """Builds, fits, tests and writes results.json. Returns its content; {} in processes other than the first."""
    with checked():
        source = None
        if needs_videos(typed) or typed.refit:
            check_options(typed)  # before videos are searched or rendered
            source = build_source(typed)
        cfg = settle(typed, source)
    start = recovery_of(typed, folder)

    choice = frame_source = None
    if cfg.refit and cfg.epochs > 0:
        begun = partial(begin_selection, typed, cfg, folder)
        choice, frame_source = choose_epochs(typed, cfg, folder, claim, signals, begun, source)
    epochs = cfg.epochs if choice is None else choice.epochs

    recovery = Recovery(folder, minutes=cfg.checkpoint_minutes, cell=identity(typed), signals=signals)
    begins = Begins(lambda: begin(cfg, run, folder))
    finite, speed = FiniteLoss(folder, nonfinite=cfg.nonfinite), Speed()
    callbacks = [Alive(claim), recovery, begins, finite, speed]
    run = build_run(cfg, folder, callbacks, start, source=source, frame_source=frame_source, last_epoch=epochs)
    if run.trainer.is_global_zero:  # of several processes, only the first prints and writes
        if frame_source is None:  # otherwise `begin_selection` has announced the run
            announce(typed, cfg, run, folder, run.trainer.loggers)
        if choice is not None:
            announce_refit(run, epochs)

    with finishing(run.trainer.loggers):
        fits = cfg.epochs > 0 or cfg.start == "probe"
        if not fits:
            begins.begin()
        metrics = fit_and_test(run, fits=fits, start=start)
        if run.trainer.is_global_zero:
            leave_scores(run, folder, cfg)
    seconds = recovery.seconds + (choice.seconds if choice else 0)
    speeds = speed.clips_per_second, speed.test_videos_per_second
    outcome = Outcome(metrics, epochs, choice and choice.top1, seconds, finite.skipped, *speeds)
    results = leave_results(run, folder, typed, cfg, outcome)
    if results:
        recovery.forget()
        conclude(cfg, results, metrics, run, folder)
    return results


def begin_selection(typed: DictConfig, cfg: DictConfig, folder: Path, run: Run) -> None:
    """Announces a run that chooses its number of epochs first, and writes its configuration."""
    with checked():
        loggers = build_loggers(cfg, folder)  # the part that chooses the epochs has none
    announce(typed, cfg, run, folder, loggers)
    leave_config(cfg, folder)


def fit_and_test(run: Run, *, fits: bool, start: Path | None) -> Mapping[str, float]:
    """Trains, then tests the best checkpoint once. Returns the test metrics.

    If no epoch is trained, tests the weights that the run starts from, and saves them as its best checkpoint.
    """
    if fits:
        fit(run.trainer, run.system, run.data, start)
    if trained := run.trainer.checkpoint_callback.best_model_path:  # type: ignore[union-attr]
        run.system.load_weights(trained)
    [metrics] = run.trainer.test(run.system, run.data, verbose=False)
    if not trained:
        run.trainer.save_checkpoint(weights_file(run), weights_only=True)
    return metrics
