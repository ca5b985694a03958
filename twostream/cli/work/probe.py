"""Measures frozen networks, without training."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from omegaconf import DictConfig
from torch import nn

from twostream.config.compose import streams_of
from twostream.config.data import build_source
from twostream.config.loss import class_weights, labels_of, probe_weights
from twostream.config.network import starts
from twostream.config.older import mirrors
from twostream.config.probe import Plan, check_probe, feature_store, probe_network, probe_plan, probe_views
from twostream.config.run import check_device
from twostream.config.settle import groups_note
from twostream.data.dataset import ClipDataset
from twostream.data.sources import Video
from twostream.data.tasks import available_cores
from twostream.files.errors import checked, say
from twostream.files.progress import watch
from twostream.files.words import counted
from twostream.files.writable import require_writable
from twostream.metrics.scores import Scores
from twostream.models.network.parts import towers
from twostream.probe.extract import Extracted, extract
from twostream.probe.logistic import Fold
from twostream.probe.outcome import measured
from twostream.probe.report import Probe, console, write_probe
from twostream.probe.scoring import kinds, unseen_scores
from twostream.probe.store import FeatureStore


def probe(cfg: DictConfig, *, folds: int | None, views: int, out: Path | None, typed: Sequence[str]) -> None:
    """Probes the networks of a configuration, prints the result and writes it to `out`, or to `default_folder`."""
    started = time.perf_counter()
    with checked():
        ready = prepare(cfg, folds=folds, views=views, typed=typed)
        out = out or default_folder(ready)
        require_writable(out, "name another folder with --out DIR")
    found = features_of(ready)
    with checked():
        result = evaluate(ready, found, typed)
        write_probe(result, out)
    new = len(ready.plan.videos) - found.stored
    source = (
        f"features of {counted(found.stored, 'video')} from the cache, of {new} computed"
        if found.stored
        else "features computed"
    )
    say(f"{console(result)}\n{source}; {time.perf_counter() - started:.0f} s -> {out}")
    if note := groups_note(ready.source):
        say(f"NOTE: {note}")
    if not found.stored and new:
        say(f"the next probe of these videos reads the features from {ready.store.folder}")


class Ready(NamedTuple):
    """What a probe needs: all of it is checked, and no video has been decoded."""

    cfg: DictConfig
    source: Any
    plan: Plan
    network: nn.Module
    dataset: ClipDataset
    store: FeatureStore
    device: torch.device


def prepare(cfg: DictConfig, *, folds: int | None, views: int, typed: Sequence[str]) -> Ready:
    """Checks and builds what a probe needs. Raises ValueError for what cannot be probed."""
    accelerator = cfg.trainer.get("accelerator", "auto")
    check_device(accelerator, cfg.precision)
    source = build_source(cfg)
    given = any(word.startswith("split=") for word in typed)
    plan = probe_plan(source, folds, given=given)
    class_weights(cfg, source.classes, labels_of(plan.videos))  # refused here if they do not fit
    check_probe(cfg, source, plan)
    dataset = probe_views(cfg, source, plan.videos, views)
    network = probe_network(cfg, len(source.classes))
    device = torch.device("cuda" if torch.cuda.is_available() and accelerator != "cpu" else "cpu")
    return Ready(cfg, source, plan, network.to(device), dataset, feature_store(cfg, network, dataset), device)


def features_of(ready: Ready) -> Extracted:
    """Returns the features of all videos. Raises `VideoError` for a video that cannot be read, unless broken=skip."""
    workers = ready.cfg.num_workers if ready.cfg.num_workers >= 0 else available_cores()
    progress: Callable[[Iterator[Any], int], Iterator[Any]] = watch("features")
    return extract(ready.network, ready.dataset, ready.store, device=ready.device, workers=workers, watch=progress)


def evaluate(ready: Ready, found: Extracted, typed: Sequence[str]) -> Probe:
    """Fits classifiers on each training part and scores the videos that they have not seen.

    Raises ValueError if too few videos could be read.
    """
    classes, kept, parts = ready.source.classes, *readable(ready.plan, found)
    labels, groups = np.array([video.label for video in kept]), [video.group for video in kept]
    means = {
        name: np.stack([found.features[position][name].mean(0) for position in sorted(found.features)])
        for name in streams_of(ready.cfg)
    }
    weigh = partial(probe_weights, ready.cfg, classes)
    fits = {
        name: unseen_scores(features, labels, groups, parts, num_classes=len(classes), weigh=weigh)
        for name, features in kinds(means).items()
    }
    scores = {name: score_file(ready, kept, of_video) for name, (of_video, _) in fits.items()}
    tested = sorted(
        np.concatenate([held for _, held in parts]).tolist(), key=lambda row: kept[row].id
    )  # as in `Scores`
    fitted = np.unique(np.concatenate([train for train, _ in parts]))
    outcome = measured(
        {name: one.logits for name, one in scores.items()},
        labels[tested],
        [groups[row] for row in tested],
        classes=classes,
        fitted=np.bincount(labels[fitted], minlength=len(classes)),
    )
    return Probe(
        outcome=outcome,
        scores=scores,
        data=data_name(ready),
        protocol=protocol_of(ready.plan, len(fitted), outcome.videos, ready.source.split),
        network=network_name(ready.network),
        weights=starts(ready.network),
        views=ready.dataset.sampling.test_views,  # type: ignore[attr-defined]
        strengths={name: strengths for name, (_, strengths) in fits.items()},
        unreadable=ready.dataset.unreadable(),
        overrides=list(typed),
    )


def readable(plan: Plan, found: Extracted) -> tuple[list[Video], list[Fold]]:
    """Returns the videos that could be read, and the parts as positions among them.

    Raises ValueError if no part has videos left to fit on and to test.
    """
    there = sorted(found.features)
    place = {position: row for row, position in enumerate(there)}
    parts = [
        (kept_of(train, place), kept_of(held, place))
        for train, held in plan.parts
        if len(kept_of(held, place)) and len(kept_of(train, place))
    ]
    if not parts:
        raise ValueError(
            f"of {len(plan.videos)} videos {len(there)} could be read: nothing is left to fit on and to test"
        )
    return [plan.videos[position] for position in there], parts


def kept_of(side: Int[np.ndarray, " n"], place: Mapping[int, int]) -> Int[np.ndarray, " m"]:
    """Returns the places of those positions that have one."""
    return np.array([place[position] for position in side.tolist() if position in place], np.int64)


def score_file(ready: Ready, videos: Sequence[Video], scores: Mapping[int, np.ndarray]) -> Scores:
    """Returns the scores of the videos that were not fitted on."""
    return Scores.of(
        videos,
        scores,
        classes=ready.source.classes,
        protocol="probe",
        checkpoint="",
        data=ready.source.name,
        split=ready.source.split,
        part="test",
        leaked=0,
        mirror=mirrors(ready.cfg),
    )


def protocol_of(plan: Plan, fitted: int, tested: int, split: int) -> str:
    """Says in words how the videos were divided."""
    if plan.folds:
        return f"{plan.folds}-fold cross-validation by groups, {counted(tested, 'video')}"
    return f"split {split}, fitted on {counted(fitted, 'video')}, tested on {tested}"


def data_name(ready: Ready) -> str:
    """Returns the name of the data set, or of the folder with the user's own videos."""
    root = ready.cfg.data.get("root")
    return Path(root).resolve().name if ready.source.name == "folder" and root else ready.source.name


def network_name(network: Any) -> str:
    """Returns the name of the backbone, or two names if the streams have different ones."""
    names = [tower.backbone.name for tower in towers(network).values()]
    return " and ".join(dict.fromkeys(names))


def default_folder(ready: Ready) -> Path:
    """Returns probes/<data>-<backbone>-split<k>, or -folds<k>; for one stream, with its name in it."""
    split = f"folds{ready.plan.folds}" if ready.plan.folds else f"split{ready.source.split}"
    streams = streams_of(ready.cfg)
    named = [
        data_name(ready),
        network_name(ready.network).replace(" ", "-"),
        *(streams if len(streams) == 1 else ()),
        split,
    ]
    return Path("probes") / "-".join(named)
