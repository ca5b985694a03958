"""Prints what a run says before it trains, and at its end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from twostream.config.bounds import cautions
from twostream.config.data import mirror_note
from twostream.config.network import starts
from twostream.config.run import Run
from twostream.config.settle import few_note, groups_note, settled_note
from twostream.metrics import untested
from twostream.metrics.multi_label import MEANS_OF_LABELS
from twostream.runs.results import worse_than_probe
from twostream.training.distill import teacher_facts


def announce(typed: DictConfig, cfg: DictConfig, run: Run, folder: Path) -> None:
    """Prints what is going to be trained, and on which videos."""
    print(
        f"{run.source.name} split {cfg.split}: {len(run.source.classes)} classes, {len(run.data.train_set)} training, "
        f"{len(run.data.validation_set)} validation, {len(run.data.test_set)} test videos; "
        f"{run.summary.parameters:,} parameters -> {folder}",
        flush=True,
    )
    print("weights: " + "; ".join(f"{stream}: {start}" for stream, start in starts(run.system.network).items()))
    if (facts := teacher_facts(run.system)) is not None:
        what = f"its features after {facts['layer']}, weight {facts['weight']:g}"
        print(f"teacher: {cfg.distill['from']} ({' and '.join(facts['streams'])}); {what}")
    if note := settled_note(typed, cfg):
        print(note)
    if note := mirror_note(cfg):
        print(note)
    for caution in cautions(cfg):
        print(f"WARNING: {caution}", flush=True)
    for line in run.without_effect:
        print(f"NOTE: {line}", flush=True)
    if run.system.multi:
        print("NOTE: several labels a video: a sigmoid for each class, the best checkpoint by val/map, no probe")
    elif note := few_note(len(run.data.test_set)):
        print(f"NOTE: {note}", flush=True)
    if note := groups_note(run.source):
        print(f"NOTE: {note}", flush=True)
    if run.leaked_validation:
        print(
            f"WARNING: the weights were trained on {run.leaked_validation} of the validation videos: "
            "the checkpoint that validation chooses may not be the best one",
            flush=True,
        )


def announce_refit(run: Run, epochs: int) -> None:
    """Prints for how many epochs all training videos are going to train."""
    length = f"{epochs} epoch{'s' * (epochs > 1)}" if epochs else "no epoch: none was better than the start"
    print(f"refit: {len(run.data.train_set)} training videos, {length}", flush=True)


def untested_classes(run: Run) -> str:
    """Names the classes without a video in the test that a run has done; "" if there are none."""
    videos = [run.data.test_set.videos[place] for place in run.system.test_logits]
    labels = np.array([label for video in videos for label in video.all_labels])
    means = [MEANS_OF_LABELS] if run.system.multi else []
    return untested(labels, run.source.classes, *means)


def conclude(results: Mapping[str, Any], metrics: Mapping[str, float], run: Run) -> None:
    """Prints the results, and what a reader has to know about them."""
    if run.leaked:
        print(f"WARNING: the weights were trained on {run.leaked} of the test videos (allow_leak=true)")
    if skipped := results["skipped_steps"]:
        print(f"{skipped} steps were left out, whose loss or gradient was not a finite number (nonfinite=skip)")
    sizes = {"train": run.data.train_set, "val": run.data.validation_set, "test": run.data.test_set}
    for name, videos in results["unreadable"].items():
        print(f"{name}: {len(videos)} of {len(sizes[name])} videos could not be read and were left out (broken=skip)")
    if absent := untested_classes(run):
        print(f"WARNING: {absent}")
    print("  ".join(f"{name} {value:.4f}" for name, value in metrics.items()), flush=True)
    if worse := worse_than_probe(metrics, results["probe"]):
        lower = ", ".join(f"{name} {now:.4f} after {then:.4f}" for name, now, then in worse)
        print(f"WARNING: training has made it worse than the probe that it started from: {lower}", flush=True)
