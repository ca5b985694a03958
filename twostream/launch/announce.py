"""Prints what a run says before it trains, and at its end."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from pytorch_lightning.loggers import Logger

from twostream.config.bounds import cautions
from twostream.config.data import mirror_note
from twostream.config.loss import balance_cautions
from twostream.config.run import Run
from twostream.config.settle import groups_note, settled_note
from twostream.files.errors import say
from twostream.files.words import counted
from twostream.launch.ending import as_seen_from_the_shell, ending
from twostream.launch.header import COLUMNS, header
from twostream.metrics import untested
from twostream.metrics.intervals import few_note
from twostream.metrics.multi_label import MEANS_OF_LABELS
from twostream.runs.results import worse_than_probe
from twostream.runs.sweep import read_ledger

JOINED = "\N{NO-BREAK SPACE}"  # where no line is broken


def announce(typed: DictConfig, cfg: DictConfig, run: Run, folder: Path, loggers: Sequence[Logger]) -> None:
    """Prints what is going to be trained, on which videos, and what a reader of its numbers has to know."""
    say(header(cfg, run, as_seen_from_the_shell(folder), loggers, cell=which_cell()))
    multi, data = run.system.multi, run.data
    notes = [groups_note(run.source)]
    if multi:
        notes += ["several labels a video: a sigmoid for each class, the best checkpoint by val/map, no probe"]
    notes += [few_note(len(data.test_set), multi=multi)]
    warnings = [*cautions(cfg), *balance_cautions(cfg, data.train_set.videos, run.source.classes)]
    if run.leaked_validation:
        warnings.append(
            f"the weights were trained on {run.leaked_validation} of the validation videos: "
            "the checkpoint that validation chooses may not be the best one"
        )
    fill = partial(textwrap.fill, width=COLUMNS, break_long_words=False, break_on_hyphens=False)
    for line in filter(None, (settled_note(typed, cfg), mirror_note(cfg))):
        print(fill(line, subsequent_indent="      "))
    for word, lines in (("WARNING", warnings), ("NOTE", [*run.without_effect, *filter(None, notes)])):
        for line in lines:
            text = f"{word}: {line}"
            say(fill(text, subsequent_indent="  ") if sys.stdout.isatty() else text)


def is_cell() -> bool:
    """Whether this run is a cell of a sweep."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def which_cell() -> str:
    """Returns the place of this run in its sweep, such as "3 of 8"; "" if it is in none."""
    if not is_cell():
        return ""
    hydra = HydraConfig.get()
    planned = read_ledger(Path(hydra.sweep.dir))
    of_all = f" of {len(planned['cells'])}" if planned else ""
    return f"{hydra.job.num + 1}{of_all}"


def announce_refit(run: Run, epochs: int) -> None:
    """Prints for how many epochs all training videos are going to train."""
    length = counted(epochs, "epoch") if epochs else "no epoch: none was better than the start"
    print(f"refit: {counted(len(run.data.train_set), 'training video')}, {length}", flush=True)


def untested_classes(run: Run) -> str:
    """Names the classes without a video in the test that a run has done; "" if there are none."""
    videos = [run.data.test_set.videos[place] for place in run.system.test_logits]
    labels = np.array([label for video in videos for label in video.all_labels])
    means = [MEANS_OF_LABELS] if run.system.multi else []
    return untested(labels, run.source.classes, *means)


def conclude(cfg: DictConfig, results: Mapping[str, Any], metrics: Mapping[str, float], run: Run, folder: Path) -> None:
    """Prints the results, what a reader has to know about them, and what can be done with the run."""
    if run.leaked:
        print(f"WARNING: the weights were trained on {run.leaked} of the test videos (allow_leak=true)")
    if skipped := results["skipped_steps"]:
        steps = counted(skipped, "step was", "steps were")
        print(f"{steps} left out, for a loss or gradient that is not a finite number (nonfinite=skip)")
    sizes = {"train": run.data.train_set, "val": run.data.validation_set, "test": run.data.test_set}
    for name, videos in results["unreadable"].items():
        of = counted(len(sizes[name]), "video")
        print(f"{name}: {len(videos)} of {of} could not be read and were left out (broken=skip)")
    if absent := untested_classes(run):
        print(f"WARNING: {absent}")
    numbers = "  ".join(f"{name}{JOINED}{value:.4f}" for name, value in metrics.items())
    print(textwrap.fill(numbers, COLUMNS).replace(JOINED, " "), flush=True)
    if worse := worse_than_probe(metrics, results["probe"]):
        lower = ", ".join(f"{name} {now:.4f} after {then:.4f}" for name, now, then in worse)
        print(f"WARNING: training has made it worse than the probe that it started from: {lower}", flush=True)
    say(ending(cfg, run, folder, results["seconds"], cell=is_cell()))
