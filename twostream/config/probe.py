"""Configuration -> what a probe needs: a frozen network, videos in fixed views, folds, where features are kept."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from twostream.config.compose import streams_of
from twostream.config.data import build_record, build_transform, clip_parts
from twostream.config.network import build_network, check_starts
from twostream.config.paths import packed_frames
from twostream.config.protocol_views import with_views
from twostream.config.run import initial_history
from twostream.config.starts import start_of
from twostream.config.streams import side_of
from twostream.data.dataset import ClipDataset
from twostream.data.decoding import same_frames
from twostream.data.history import History
from twostream.data.leaks import check_leaks
from twostream.data.sampling import Clip, Segments
from twostream.data.sources import Video
from twostream.data.sources.moving_patterns import cache_folder
from twostream.data.sources.source import first_ten
from twostream.data.storage.flow_store import clip_path
from twostream.data.storage.packed import packed_path
from twostream.files.words import counted
from twostream.models.network.tower import sees_clips
from twostream.options.streams import Stream
from twostream.probe.features import classifiers
from twostream.probe.logistic import Fold, grouped_folds
from twostream.probe.store import FeatureStore, network_digest

FOLDS = 5
log = logging.getLogger(__name__)


class Plan(NamedTuple):
    """Which videos a probe fits on and scores.

    `parts`: the positions in `videos` of (those to fit on, those to score). `folds`: 0 for a given split.
    """

    videos: tuple[Video, ...]
    parts: list[Fold]
    folds: int


def probe_plan(source: Any, folds: int | None, *, given: bool) -> Plan:
    """Returns the given split, or cross-validation over all videos: with `folds`, or if no split is chosen.

    Without `folds`, these are the folds that the data are in, if any. `given`: whether the user chose a split; a
    published one is. Raises ValueError if there is only one class, or, for folds that are drawn here, if a class has
    fewer groups than there are folds.
    """
    if len(source.classes) < 2:
        raise ValueError(f"{source.name}: one class, {source.classes[0]}, and nothing to tell it from; two are needed")
    fold_of = {} if given or folds is not None else source.fold_of
    if folds is None and (given or not (source.drawn or fold_of)):
        fitted = (*source.train, *source.validation)  # a probe needs no validation: it has no steps to choose
        parts = [(np.arange(len(fitted)), len(fitted) + np.arange(len(source.test)))]
        return Plan((*fitted, *source.test), parts, 0)
    videos = tuple(sorted(source.videos, key=lambda video: video.id))
    if fold_of:
        numbers = np.array([fold_of[video.id] for video in videos])
        parts = [(np.flatnonzero(numbers != fold), np.flatnonzero(numbers == fold)) for fold in np.unique(numbers)]
        return Plan(videos, parts, len(parts))
    labels = np.array([video.label for video in videos])
    of_class = [len({video.group for video in videos if video.label == label}) for label in range(len(source.classes))]
    if alone := [name for name, count in zip(source.classes, of_class, strict=True) if count < 2]:
        raise ValueError(
            f"{source.name}: one video or group alone in {len(alone)} of {len(of_class)} classes: {first_ten(alone)}; "
            "held out, nothing is left to learn it from; add videos, or choose others with data.classes=[…]"
        )
    if folds is not None and folds > min(of_class):
        rarest = source.classes[int(np.argmin(of_class))]
        raise ValueError(
            f"--folds {folds}: {rarest} has {counted(min(of_class), 'group')} of videos; choose at most so many folds"
        )
    folds = folds or min(FOLDS, *of_class)
    return Plan(videos, grouped_folds(labels, [video.group for video in videos], folds), folds)


def check_probe(cfg: DictConfig, source: Any, plan: Plan) -> None:
    """Raises ValueError if features would mean nothing: of random weights, or of weights trained on test videos.

    Downloads weights that are not there yet.
    """
    check_given(cfg)
    network = build_network(cfg, len(source.classes), meta=True)
    if any(map(sees_clips, network.modules())) and not isinstance(instantiate(cfg.sampling), Clip):
        raise ValueError("sampling: a network of whole clips is shown some; choose sampling=clip")
    check_starts(cfg, network)
    before = initial_history(cfg)
    if plan.folds:
        before.check(plan.videos, part="test", allow=cfg.allow_leak)
        return
    lists = {"train": source.train, "validation": source.validation, "test": source.test}
    learned = before | History.of(source.name, cfg.split, source.train)
    check_leaks(learned, source, build_record(cfg, source, lists), allow=cfg.allow_leak)


def check_given(cfg: DictConfig) -> None:
    """Raises ValueError if a stream would have random weights."""
    for stream in streams_of(cfg):
        if start_of(cfg, stream) is None:
            raise ValueError(
                f"weights=null: the features of a random {stream} network say nothing; give weights=imagenet, or the "
                f"path of a file by backbone.weights=PATH, or a trained stream by init.{side_of(cfg, stream)}=RUN_DIR"
            )


def probe_network(cfg: DictConfig, num_classes: int) -> nn.Module:
    """Returns the frozen network with its weights. Raises ValueError if a layer before a classifier would be random."""
    network: Any = build_network(cfg, num_classes).eval()
    for stream in streams_of(cfg):
        report = getattr(network, stream).backbone.report
        if report is not None and report.lacking:
            raise ValueError(
                f"{report.origin} has no weights for {' '.join(report.lacking)} of {report.backbone}; what comes "
                "before the classifier would be random: choose other weights, or pooling=gap, which has no fc6 and fc7"
            )
        tower, heads = getattr(network, stream), classifiers(network)
        fresh = [f"{stream}.{name}" for name, _ in tower.named_parameters() if ".fc8." in name]
        if tower.pooling is not None and any(name.rpartition(".")[0] not in heads for name in fresh):
            raise ValueError(
                f"pooling={type(tower.stages['fc8'][0]).__name__}: has weights of its own, which nothing has trained; "
                "choose one without, e.g. pooling=native or gap"
            )
    return network.requires_grad_(False)


def probe_views(cfg: DictConfig, source: Any, videos: Sequence[Video], views: int) -> ClipDataset:
    """Returns the videos in `views` views each, evenly over the length of the video.

    A view is a stack of flow and the frame in its middle, cropped at the centre; with sampling=clip it is a clip.
    """
    parts = clip_parts(cfg, source)
    is_clip = isinstance(parts["sampling"], Clip)
    parts["sampling"] = with_views(parts["sampling"], views) if is_clip else Segments(1, test_views=views)
    parts["transform"] = build_transform(cfg, test="centre", test_flip=False)
    return ClipDataset(videos, **parts)


def feature_store(cfg: DictConfig, network: nn.Module, dataset: ClipDataset) -> FeatureStore:
    """Returns the store of the features that this network computes of these views."""
    frames, flow = packed_frames(cfg), dataset.flow_store
    settings = {
        "network": network_digest(network, list(classifiers(network))),
        "streams": sorted(described(stream) for stream in dataset.streams),
        "views": dataset.sampling.fixed(10_000, dataset.span).tolist(),
        "flow": {**dataset.flow.settings(), "length": dataset.flow.length},
        "flow store": None if flow is None else flow.identity(),
        "transform": OmegaConf.to_container(cfg.transform, resolve=True),
        "decoder": same_frames(cfg.decoder),
    }

    def files(video: Video) -> list[Path]:
        """Returns the files that the features of a video are computed from."""
        found = [video.path if frames is None else packed_path(frames, video.id)]
        found += [video.files[stream.column] for stream in dataset.streams if stream.column]
        return found if flow is None else [*found, clip_path(flow.root, video)]

    return FeatureStore(cache_folder(None), settings, files)


def described(stream: Stream) -> str:
    """Returns what the features of a stream depend on, beside the options of flow."""
    return repr(stream) if stream.column or stream.made == "differences" else stream.name
