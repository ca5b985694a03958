"""Scores the videos of a test with a trained network, view by view."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, default_collate

from twostream.config.bounds import cautions
from twostream.config.data import build_source, build_views, mirror_note, unsafe_mirror
from twostream.config.loaded import TrainedRun, load_run, other_reading, unfinished
from twostream.config.older import mirrors
from twostream.config.protocol_views import num_views, scores_frame_by_frame
from twostream.config.protocols import CROPS
from twostream.config.run import check_device, quieten, use_matmul_precision
from twostream.config.saved import errors_name_file
from twostream.data.clip import Clip
from twostream.data.dataset import ClipDataset
from twostream.data.history import LeakError
from twostream.data.samplers import ClipBatches, ClipSampler
from twostream.data.storage.flow_store import READING
from twostream.data.tasks import available_cores
from twostream.data.workers import start_worker
from twostream.evaluation.plan import Plan
from twostream.files.digest import sha256
from twostream.files.errors import ExpectedError
from twostream.metrics.scores import Scores, one_of_each
from twostream.metrics.table import untested_in
from twostream.models.memory_order import channels_last
from twostream.training.distributed import of_all_processes
from twostream.training.shown import Bar
from twostream.training.system import TwoStreamSystem, logits_by_video

CPU_VALUES = 6_000_000  # values of input at once on a CPU, a view of 5 × 23 × 224 × 224; more are slower, due to memory


class Prepared(NamedTuple):
    """A run and the views that it is to score; no video has been decoded yet."""

    run: TrainedRun
    dataset: ClipDataset
    data: str
    split: int
    views: int  # of each video
    leaked: int  # how many videos the weights were trained on; 0 without allow_leak
    mirror: bool  # whether the data may be mirrored
    notes: list[str]  # about the weights of an unfinished run, and about mirrored views
    cautions: list[str]  # claims about the data that do not hold in these views


class Outcome(NamedTuple):
    """Scores of the videos that could be read; `own_split`: whether the run was trained on this split."""

    scores: Scores
    views: int
    seconds: float
    leaked: int
    unreadable: list[str]
    own_split: bool
    notes: list[str]
    cautions: list[str]


def prepare(folder: str | Path, plan: Plan) -> Prepared:
    """Loads a run and prepares the views that it is to score.

    Raises ValueError for anything that cannot be evaluated, also if the weights were trained on some of the videos.
    """
    run = load_run(folder, trust=plan.trust)
    check_device(accelerator_of(plan, run.cfg), plan.precision or run.cfg.precision)
    cfg = plan.changed(run.cfg)
    with errors_name_file(folder):
        source = build_source(cfg)
        check_classes(source.classes, run.system.classes)
        alone = scores_frame_by_frame(run.system.network)
        dataset = build_views(cfg, source, part=plan.part, protocol=plan.protocol, frame_by_frame=alone)
    try:
        leaked = run.history.check(dataset.videos, part=plan.part, allow=plan.allow_leak)
    except LeakError as error:
        raise ValueError(str(error).replace("set allow_leak=true", "give --allow-leak")) from None
    views = num_views(dataset.sampling, dataset.transform)
    notes = [unfinished(run), mirror_note(cfg, **CROPS[plan.protocol], flip=0), unsafe_mirror(run.cfg, cfg)]
    notes += [other_reading(run, READING if dataset.flow_store else None)]
    warned = cautions(cfg, dataset.sampling)
    return Prepared(
        *(run, dataset, source.name, source.split, views, leaked),
        mirror=mirrors(cfg),
        notes=[note for note in notes if note],
        cautions=warned,
    )


def check_classes(found: Sequence[str], learned: Sequence[str]) -> None:
    """Raises ValueError unless the data have the classes of the checkpoint, in the same order."""
    if tuple(found) == tuple(learned):
        return
    differing = next((pair for pair in zip(found, learned, strict=False) if pair[0] != pair[1]), None)
    first = f"; the first that differs is {differing[0]!r}, there {differing[1]!r}" if differing else ""
    raise ValueError(f"the data have {len(found)} classes, the checkpoint has {len(learned)}{first}")


def score(prepared: Prepared, plan: Plan) -> Outcome | None:
    """Scores every view of every video. Returns None in all processes but the first.

    Raises `VideoError` as training does, and ExpectedError if scores are not finite numbers.
    """
    started = time.perf_counter()
    scorer = Scorer(prepared.run.system, prepared.dataset, **loading(prepared, plan))
    if (unreadable := score_all(scorer, prepared, plan)) is None:
        return None
    scores = scores_from(prepared, plan, scorer.logits)
    return outcome_of(prepared, scores, unreadable, time.perf_counter() - started)


def loading(prepared: Prepared, plan: Plan) -> dict[str, int]:
    """Returns how many views and videos a scorer takes at once, and from how many loader processes."""
    cfg = prepared.run.cfg
    views_per_batch = plan.views_per_batch or cfg.batch_size
    return {
        "views_per_batch": views_per_batch,
        "batch_size": plan.batch_size or max(1, views_per_batch // prepared.views),
        "workers": cfg.num_workers if plan.workers is None else plan.workers,
    }


def score_all(scorer: Scorer, prepared: Prepared, plan: Plan) -> list[str] | None:
    """Has a scorer score all videos. Returns the ids of those that could not be read; None but in the first process."""
    run = prepared.run
    trainer = make_trainer(plan, run.cfg)
    trainer.test(scorer, verbose=False)
    unreadable = sorted(set().union(*of_all_processes(prepared.dataset.unreadable())))
    if not trainer.is_global_zero:
        return None
    if lost := sum(not np.isfinite(logits).all() for logits in scorer.logits.values()):
        raise ExpectedError(f"{run.folder}: its scores of {lost} of {len(scorer.logits)} videos are not finite numbers")
    return unreadable


def outcome_of(prepared: Prepared, scores: Scores, unreadable: list[str], seconds: float) -> Outcome:
    """Returns what came of scoring the videos of a run."""
    own = prepared.split == prepared.run.cfg.split
    absent = untested_in(scores)
    return Outcome(
        *(scores, prepared.views, seconds, prepared.leaked, unreadable, own, prepared.notes),
        cautions=[*prepared.cautions, *([absent] if absent else [])],
    )


def scores_from(prepared: Prepared, plan: Plan, logits: Mapping[int, np.ndarray]) -> Scores:
    """Returns logits, {position of the video: (k,)}, as scores of this run."""
    return Scores.of(
        prepared.dataset.videos,
        logits,
        classes=prepared.run.system.classes,
        protocol=plan.protocol,
        checkpoint=sha256(prepared.run.checkpoint),
        data=prepared.data,
        split=prepared.split,
        part=plan.part,
        leaked=prepared.leaked,
        mirror=prepared.mirror,
        thresholds=prepared.run.system.thresholds,
    )


def accelerator_of(plan: Plan, cfg: Any) -> str:
    """Returns the accelerator: the CPU for a run that was trained on a CPU, unless the plan asks for another one."""
    return "cpu" if plan.accelerator == "auto" and cfg.trainer.accelerator == "cpu" else plan.accelerator


def make_trainer(plan: Plan, cfg: Any) -> pl.Trainer:
    """Returns Lightning's trainer for a test only.

    It uses a GPU if there is one, unless the run was trained on a CPU.
    """
    quieten()
    use_matmul_precision(cfg)
    return pl.Trainer(
        accelerator=accelerator_of(plan, cfg),
        devices=plan.devices,
        strategy="ddp" if plan.devices > 1 else "auto",
        precision=plan.precision or cfg.precision,  # type: ignore[arg-type]  # Lightning checks the value
        logger=False,
        callbacks=[Bar()] if sys.stdout.isatty() else [],
        enable_progress_bar=sys.stdout.isatty(),
        enable_checkpointing=False,
        enable_model_summary=False,
        use_distributed_sampler=False,  # our own sampler gives every video to exactly one process
    )


class Scorer(pl.LightningModule):
    """Keeps the logits of each video, averaged over its views: {position of the video in the data set: logits}."""

    def __init__(
        self, system: TwoStreamSystem, dataset: Any, *, views_per_batch: int, batch_size: int, workers: int
    ) -> None:
        super().__init__()
        channels_last(system)
        self.system = system
        self.dataset = dataset
        self.views_per_batch = views_per_batch
        self.batch_size = batch_size
        self.workers = available_cores() if workers < 0 else workers
        self.logits: dict[int, Any] = {}

    def test_dataloader(self) -> DataLoader[list[Clip]]:
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        sampler = ClipSampler(len(self.dataset), shuffle=False, rank=rank, world_size=world_size)
        return DataLoader(
            self.dataset,
            batch_sampler=ClipBatches(sampler, self.batch_size),  # type: ignore[arg-type]  # a map-style data set may have any key
            num_workers=self.workers,
            collate_fn=by_size,
            worker_init_fn=start_worker,
        )

    def test_step(self, clips: list[Clip], batch_index: int) -> None:
        for clip in clips:
            _, combined = self.system(clip, views_at_once(clip, self.views_per_batch))
            self.logits |= logits_by_video(clip.index, combined)

    def on_test_epoch_end(self) -> None:
        self.logits = one_of_each(of_all_processes(self.logits))


def views_at_once(clip: Clip, most: int) -> int:
    """Returns how many views the network gets at once: `most`, but on a CPU no more than fit into `CPU_VALUES`."""
    if clip.first.device.type != "cpu":
        return most
    return max(1, min(most, CPU_VALUES // (clip.first[0, 0].numel() + clip.second[0, 0].numel())))


def by_size(clips: Sequence[Clip | None]) -> list[Clip]:
    """Returns batches of the clips that could be read, one for each frame size: whole frames come in several sizes."""
    sizes: dict[torch.Size, list[Clip]] = {}
    for clip in clips:
        if clip is not None:
            sizes.setdefault(clip.first.shape, []).append(clip)
    return [default_collate(alike) for alike in sizes.values()]
