"""Train and test one network, or with -m a sweep of them: `python train.py fusion=conv layer=conv5`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twostream.options.help import print_help

if __name__ == "__main__" and {"-h", "--help"} & {*sys.argv[1:]}:  # before what follows, which takes seconds
    print_help(sys.argv[1:])
    sys.exit()

# Threads that wait for their next layer sleep; if they spin, they take the cores from the loader's workers.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # OpenMP reads it when PyTorch is imported

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from twostream.config import (
    Run,
    build_run,
    build_source,
    cautions,
    few_note,
    mirror_note,
    mirrors,
    needs_videos,
    settle,
    starts,
    told,
)
from twostream.data.record import summary_of
from twostream.data.sources import Source
from twostream.files.digest import sha256
from twostream.files.errors import checked
from twostream.files.lock import Claim
from twostream.files.signals import Signals
from twostream.launch import (
    choose_epochs,
    claimed,
    identity,
    needs_own_process,
    notes_errors,
    recovery_of,
    run_command,
    run_own_process,
)
from twostream.metrics import confusion_of
from twostream.metrics.plots import read_curves, save_confusion_matrix, save_learning_curves
from twostream.metrics.scores import Scores
from twostream.probe.start import StartFromProbe
from twostream.runs.results import (
    finite_or_none,
    git_revision,
    validation_accuracy,
    versions,
    worse_than_probe,
    write_json,
    write_text,
)
from twostream.training.callbacks import Alive, Begins, Speed
from twostream.training.distributed import of_all_processes
from twostream.training.finiteness import FiniteLoss
from twostream.training.loggers import finish, log_pictures
from twostream.training.recovery import SELECTION, Recovery, fit


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
@notes_errors
def main(cfg: DictConfig) -> float | None:
    """One run, or one cell of a sweep, unless its folder has the results; returns its best validation accuracy."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    if needs_own_process(cfg):
        run_own_process(cfg, folder)
    else:
        with claimed(cfg, folder) as claim, Signals() as signals:
            if claim is not None:
                train(cfg, folder, claim, signals)
    return validation_accuracy(folder)


def train(cfg: DictConfig, folder: Path, claim: Claim, signals: Signals) -> None:
    """Compose -> build -> fit -> test -> results.json."""
    hydra_config, cell = HydraConfig.get(), identity(cfg)
    with checked():
        source = build_source(cfg) if needs_videos(cfg) or cfg.refit else None
        cfg = settle(typed := cfg, source)
    start = recovery_of(typed, folder)
    choice = frame_source = None
    if cfg.refit and cfg.epochs > 0:

        def begun(run: Run) -> None:
            announce(typed, cfg, run, folder)
            leave_config(cfg, folder)

        choice, frame_source = choose_epochs(typed, cfg, folder, claim, signals, begun, source)
    epochs = cfg.epochs if choice is None else choice.epochs
    recovery = Recovery(folder, minutes=cfg.checkpoint_minutes, cell=cell, signals=signals)
    speed, finite = Speed(), FiniteLoss(folder, nonfinite=cfg.nonfinite)
    begins = Begins(lambda: begin(cfg, run, folder))
    callbacks = [Alive(claim), recovery, begins, finite, speed]
    run = build_run(cfg, folder, callbacks, start, source=source, frame_source=frame_source, last_epoch=epochs)
    if run.trainer.is_global_zero:  # one process of several speaks, and writes
        if frame_source is None:  # else the selection has said it
            announce(typed, cfg, run, folder)
        if choice is not None:
            length = f"{epochs} epoch{'s' * (epochs > 1)}" if epochs else "no epoch: none was better than the start"
            print(f"refit: {len(run.data.train_set)} training videos, {length}", flush=True)

    try:
        fits = cfg.epochs > 0 or cfg.start == "probe"
        if not fits:
            begins.begin()
        metrics = fit_and_test(run, folder, fits=fits, start=start)
        if run.trainer.is_global_zero:
            leave_scores(run, folder, mirror=mirrors(cfg))
    except BaseException as error:
        finish(run.trainer.loggers, error)
        raise
    finish(run.trainer.loggers)
    best = run.trainer.checkpoint_callback.best_model_score if choice is None else choice.top1  # type: ignore[union-attr]
    probed = next((c for c in run.trainer.callbacks if isinstance(c, StartFromProbe)), None)  # type: ignore[attr-defined]
    lists = {"train": run.data.train_set, "validation": run.data.validation_set, "test": run.data.test_set}
    parts = {"val" if name == "validation" else name: part for name, part in lists.items()}
    found = {name: sorted(set().union(*of_all_processes(part.unreadable()))) for name, part in parts.items()}
    unreadable = {name: videos for name, videos in found.items() if videos}
    if not run.trainer.is_global_zero:
        return
    batches = {"batch_size": run.data.batch_size, "accumulate": run.trainer.accumulate_grad_batches}
    if cfg.accumulate == "auto":
        write_text(folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.merge(cfg, batches), resolve=True))
    write_json(
        folder / "results.json",
        {
            "choices": {
                group: option for group, option in hydra_config.runtime.choices.items() if "hydra" not in group
            },
            "layer": cfg.layer if isinstance(cfg.layer, str) else list(cfg.layer),
            "split": cfg.split,
            "seed": cfg.seed,
            **batches,
            "data": summary_of(run.source.classes, {name: part.videos for name, part in lists.items()}),
            "weights": starts(run.system.network),
            "metrics": finite_or_none(metrics),
            "probe": None if probed is None else finite_or_none(probed.accuracy),
            "epochs": epochs,
            "steps": run.trainer.global_step,
            "validation": None if best is None else finite_or_none({"best": float(best)})["best"],
            "unreadable": unreadable,
            "leaked": run.leaked,
            "leaked_validation": run.leaked_validation,
            "cautions": cautions(cfg),
            "skipped_steps": finite.skipped,
            "parameters": run.summary.parameters,
            "flops": run.summary.flops,
            "clips_per_second": speed.clips_per_second,
            "seconds": round(recovery.seconds + (choice.seconds if choice else 0), 2),
            "overrides": OmegaConf.to_container(hydra_config.overrides.task, resolve=False),
            "cell": cell,
            "versions": versions(),
            "git": git_revision(Path(__file__).parent),
        },
    )
    recovery.forget()
    if run.leaked:
        print(f"WARNING: the weights were trained on {run.leaked} of the test videos (allow_leak=true)")
    if finite.skipped:
        print(f"{finite.skipped} steps were left out, whose loss or gradient was not a finite number (nonfinite=skip)")
    for name, videos in unreadable.items():
        print(f"{name}: {len(videos)} of {len(parts[name])} videos could not be read and were left out (broken=skip)")
    print("  ".join(f"{name} {value:.4f}" for name, value in metrics.items()), flush=True)
    if probed is not None and (worse := worse_than_probe(metrics, probed.accuracy)):
        lower = ", ".join(f"{name} {now:.4f} after {then:.4f}" for name, now, then in worse)
        print(f"WARNING: training has made it worse than the probe that it started from: {lower}", flush=True)


def announce(typed: DictConfig, cfg: DictConfig, run: Run, folder: Path) -> None:
    """Say what is going to be trained, and on which videos."""
    print(
        f"{run.source.name} split {cfg.split}: {len(run.source.classes)} classes, {len(run.data.train_set)} training, "
        f"{len(run.data.validation_set)} validation, {len(run.data.test_set)} test videos; "
        f"{run.summary.parameters:,} parameters -> {folder}",
        flush=True,
    )
    print("weights: " + "; ".join(f"{stream}: {start}" for stream, start in starts(run.system.network).items()))
    if note := told(typed, cfg):
        print(note)
    if note := mirror_note(cfg):
        print(note)
    for caution in cautions(cfg):
        print(f"WARNING: {caution}", flush=True)
    for line in run.without_effect:
        print(f"NOTE: {line}", flush=True)
    if note := few_note(len(run.data.test_set)):
        print(f"NOTE: {note}", flush=True)
    if run.leaked_validation:
        print(
            f"WARNING: the weights were trained on {run.leaked_validation} of the validation videos: "
            "the checkpoint that validation chooses may not be the best one",
            flush=True,
        )


def begin(cfg: DictConfig, run: Run, folder: Path) -> None:
    """Write what is trained: only once all of the checkpoint that a run goes on from has been accepted."""
    for logger in run.trainer.loggers:
        logger.log_hyperparams(OmegaConf.to_container(cfg, resolve=True))  # type: ignore[arg-type]
    if not run.trainer.is_global_zero:
        return
    leave_config(cfg, folder)
    if isinstance(run.source, Source):  # the embedded data set follows from its configuration
        run.source.write_split(folder / "split.csv")


def leave_config(cfg: DictConfig, folder: Path) -> None:
    """What was typed, and all that follows from it: enough to go on."""
    overrides = HydraConfig.get().overrides.task
    write_json(folder / "overrides.json", OmegaConf.to_container(overrides, resolve=False))
    write_text(folder / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))


def fit_and_test(run: Run, folder: Path, *, fits: bool, start: Path | None) -> Mapping[str, float]:
    """Train, test the best checkpoint once; returns the test metrics.

    Without an epoch, the weights that the run starts from are tested, and kept as its best.
    """
    if fits:
        fit(run.trainer, run.system, run.data, start)
    if trained := run.trainer.checkpoint_callback.best_model_path:  # type: ignore[union-attr]
        run.system.load_weights(trained)
    [metrics] = run.trainer.test(run.system, run.data, verbose=False)
    if not trained:
        run.trainer.save_checkpoint(best_weights(run), weights_only=True)
    return metrics


def best_weights(run: Run) -> Path:
    """The checkpoint that validation chose; where nothing was trained, the only one there is."""
    checkpoint: Any = run.trainer.checkpoint_callback
    return Path(checkpoint.best_model_path or Path(checkpoint.dirpath, f"{checkpoint.filename}.ckpt"))


def leave_scores(run: Run, folder: Path, *, mirror: bool) -> None:
    """What the network said of each test video, as `test_scores.npz`; and the pictures of a run."""
    scores = Scores.of(
        run.data.test_set.videos,
        run.system.test_logits,
        classes=run.system.classes,
        protocol="train",
        checkpoint=sha256(best_weights(run)),
        data=run.source.name,
        split=run.source.split,
        part="test",
        leaked=run.leaked,
        mirror=mirror,
    )
    scores.save(folder / "test_scores.npz")
    pictures = {name: folder / f"{name}.png" for name in ("learning_curves", "confusion_matrix")}
    selection = folder / SELECTION / "metrics.csv"  # its training beside its validation, where that chose the epochs
    curves = read_curves(selection if selection.is_file() else folder / "metrics.csv")
    save_learning_curves(curves, pictures["learning_curves"])
    save_confusion_matrix(confusion_of(scores.logits, scores.labels), scores.classes, pictures["confusion_matrix"])
    log_pictures(run.trainer.loggers, pictures, run.trainer.global_step)


if __name__ == "__main__":
    run_command(main)
