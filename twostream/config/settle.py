"""Replaces `auto` by the value that it stands for, given the weights and the videos.

A run prints these values in one line and writes them into config.yaml.
"""

from __future__ import annotations

from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from twostream.config.compose import streams_of
from twostream.config.data import build_source, fits, on_gpu
from twostream.config.older import is_multi
from twostream.config.starts import start_of
from twostream.config.streams import columns_in
from twostream.config.trust import code_of
from twostream.data.sources.source import Source
from twostream.options import shown
from twostream.training.distributed import FullySharded

FEW = 300  # refit=auto is true below this number of training videos
EPOCHS = 20  # epochs=auto
STEPS, LEAST_EPOCHS = 30, 6  # with few videos, from a probe: train at least so many steps and epochs
SMALL_BATCH = 32  # batch_statistics=auto keeps those of the weights below this batch_size
NEW_HEADS = 100.0  # optimizer.head_factor=auto, for new classifiers on top of trained weights


def settle(cfg: DictConfig, source: Any = None) -> DictConfig:
    """Returns the configuration without `auto` in the options that follow from the weights and the videos.

    `source`: the data set, if it has been built already. Raises ValueError for a schedule that goes by validation
    together with refit=true, since all videos train in the end.
    """
    monitor = monitored(cfg)
    if cfg.refit is True and monitor is not None and cfg.epochs != 0:
        raise ValueError(
            f"refit=true: in the end no video is left for schedule.monitor={monitor}; choose another schedule, "
            "or refit=false"
        )
    cfg = settle_starts(cfg)
    values: dict[str, Any] = {}
    if needs_videos(cfg):
        source = build_source(cfg) if source is None else source
        count = len(source.train) + len(source.validation)
        if cfg.refit == "auto":
            can = bool(cfg.validation_fraction or source.validation) and monitor is None
            values["refit"] = cfg.start == "probe" and count < FEW and can
        if cfg.epochs == "auto":
            values["epochs"] = epochs_for(count, cfg.batch_size) if cfg.start == "probe" else EPOCHS
        if cfg.data.cache == "auto":
            values["data"] = {"cache": "ram" if not on_gpu(cfg) and fits(source, columns_in(cfg)) else None}
    return OmegaConf.merge(cfg, values)  # type: ignore[return-value]


def settle_starts(cfg: DictConfig) -> DictConfig:
    """Replaces `auto` in the options that follow from the weights alone."""
    values: dict[str, Any] = {}
    if cfg.start == "auto":
        values["start"] = "probe" if may_probe(cfg) else "random"
    if cfg.batch_statistics == "auto":
        values["batch_statistics"] = "kept" if has_weights(cfg) and cfg.batch_size < SMALL_BATCH else "batch"
    if cfg.trainer.get("accelerator") == "auto" and not cfg.trainer.get("strategy"):
        values["trainer"] = {"accelerator": "gpu" if torch.cuda.is_available() else "cpu"}
    if cfg.optimizer.get("head_factor") == "auto":
        is_new = has_weights(cfg) and values.get("start", cfg.start) != "probe" and not any(cfg.init.values())
        values["optimizer"] = {"head_factor": NEW_HEADS if is_new else 1.0}
    return OmegaConf.merge(cfg, values)  # type: ignore[return-value]


def monitored(cfg: DictConfig) -> str | None:
    """Returns which number of validation the schedule goes by; None if it goes by none."""
    return cfg.schedule.get("monitor")


def needs_videos(cfg: DictConfig) -> bool:
    """Whether an option is `auto` whose value follows from the videos."""
    return "auto" in (cfg.epochs, cfg.refit, cfg.data.cache)


def has_weights(cfg: DictConfig) -> bool:
    """Whether every stream starts from weights."""
    return all(start_of(cfg, stream) is not None for stream in streams_of(cfg))


def may_probe(cfg: DictConfig) -> bool:
    """Whether classifiers may start from a probe: on top of published weights, which know none of the classes.

    A probe is fitted to one label a video.
    """
    strategy = cfg.trainer.get("strategy")
    is_sharded = isinstance(strategy, DictConfig) and code_of(strategy) is FullySharded
    can = has_weights(cfg) and not any(cfg.init.values()) and not is_sharded and cfg.epochs != 0
    return can and not is_multi(cfg)


def epochs_for(videos: int, batch_size: int) -> int:
    """Returns the number of epochs for training from a probe, rounded up.

    >>> epochs_for(9537, 8), epochs_for(33, 8), epochs_for(8, 8)
    (20, 6, 20)
    """
    steps = -(-videos // batch_size)
    return min(EPOCHS, max(LEAST_EPOCHS, -(-STEPS // steps))) if videos < FEW else EPOCHS


def groups_note(source: Source) -> str:
    """Says that each video is a group of its own where groups were to be kept whole; "" if some share one."""
    groups = [video.group for video in source.videos]
    if len({*groups}) < len(groups) or not (source.drawn or source.fold_of):
        return ""
    return "each video is a group of its own; data.group_pattern keeps those of one recording together"


def settled_note(before: DictConfig, cfg: DictConfig) -> str:
    """Returns a line with the values that `auto` stands for; "" if no option was `auto`."""
    names = (
        "start",
        "epochs",
        "refit",
        "batch_statistics",
        "optimizer.head_factor",
        "data.cache",
        "trainer.accelerator",
    )
    open_ = [name for name in names if OmegaConf.select(before, name) == "auto"]
    texts = {name: shown(OmegaConf.select(cfg, name)) for name in open_}
    return "auto: " + " ".join(f"{name}={text}" for name, text in texts.items()) if texts else ""
