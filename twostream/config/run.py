"""Configuration -> a run: data, network, trainer."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning.callbacks import (
    LearningRateMonitor,
    ModelCheckpoint,
)
from pytorch_lightning.loggers import Logger
from pytorch_lightning.strategies import DDPStrategy
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook

from twostream.config.accept import check_weights, same_teacher, trained_before
from twostream.config.compose import streams_of
from twostream.config.data import build_data, build_source, build_transform, check_parts
from twostream.config.distill import build_teacher, check_teacher, teacher_history, unused
from twostream.config.loss import build_objective, is_balanced, loss_of, plain_objective, probe_weights
from twostream.config.network import (
    build_network,
    check_effects,
    check_frozen,
    check_starts,
    describe_config,
    untrained,
)
from twostream.config.older import is_multi
from twostream.config.settle import monitored, settle, settle_starts
from twostream.config.starts import start_of
from twostream.config.streams import check_streams
from twostream.config.taught import as_seen, teacher_folder
from twostream.data.dataset import ClipDataset
from twostream.data.frames import FrameSource
from twostream.data.history import History
from twostream.data.leaks import check_leaks
from twostream.data.module import VideoDataModule, share
from twostream.files.errors import UserError, checked
from twostream.models.memory_order import channels_last
from twostream.models.network.description import Description
from twostream.models.network.parts import towers
from twostream.probe.start import StartFromProbe
from twostream.runs.checkpoint import load_mapped
from twostream.runs.checkpoint_io import WholeCheckpoints
from twostream.training.batches import SplitBatches
from twostream.training.callbacks import InitialiseVLAD, MovingAverage, Speed
from twostream.training.distill import DistilledSystem
from twostream.training.distributed import FullySharded
from twostream.training.finiteness import FiniteLoss
from twostream.training.loggers import csv_logger
from twostream.training.objective import Objective
from twostream.training.optimizers import MakeOptimizer
from twostream.training.shown import Bar, EpochLine, Forecast
from twostream.training.system import TwoStreamSystem

PROBE_VIEWS = 2  # of each training video, in time
MEASURED = (  # at the end of an epoch: what `TwoStreamSystem` logs; top5 with more than five classes
    *("val/loss", "val/top1", "val/top5", "val/mean_class", "val/macro_f1"),
    *("train/loss", "train/top1", "train/top5"),
)
MEASURED_OF_LABELS = ("val/loss", "val/map", "val/macro_f1", "val/micro_f1", "train/loss")


class Run(NamedTuple):
    """The parts of one run."""

    data: VideoDataModule
    system: TwoStreamSystem
    trainer: pl.Trainer
    source: Any
    summary: Description
    leaked: int  # test videos that the weights were trained on; not 0 only with allow_leak=true
    leaked_validation: int  # validation videos that the weights were trained on before
    without_effect: list[str]  # a line for each option that changes nothing here


def build_run(
    cfg: DictConfig,
    folder: Path,
    callbacks: Sequence[pl.Callback] = (),
    start: Path | None = None,
    *,
    source: Any = None,
    keep_best: bool = True,
    last_epoch: int | None = None,
    frame_source: FrameSource | None = None,
) -> Run:
    """Builds all that a run needs; raises UserError before a video is decoded, weights are loaded or files are written.

    `start`: the recovery checkpoint that the run goes on from; refused if it has other data or another network.
    `source`: the data set, if it has been built already. `keep_best`: whether to keep the weights that are best in
    validation. `last_epoch`: where training ends, whatever the schedule says. `frame_source`: that of another run on
    these videos, with the frames that it keeps in memory.
    """
    with checked():
        begun = None if start is None else load_mapped(start)
        without_effect = check_options(cfg)
        source = build_source(cfg) if source is None else source
        check_monitor(cfg, len(source.classes))
        cfg = settle(cfg, source)
        data = build_data(cfg, source, frame_source)
        objective = build_objective(cfg, source.classes, data.train_set.videos)
        summary = describe_config(cfg, len(source.classes))
        before = initial_history(cfg)
        if begun is not None:
            before |= trained_before(begun, folder, data, accumulate=cfg.accumulate, allow_change=cfg.allow_change)
        leaked_validation = len(before.among(data.validation_set.videos))
        learned = before | History.of(source.name, cfg.split, data.train_set.videos)
        assert data.record is not None  # `build_data` makes one
        leaked = check_leaks(learned, source, data.record, allow=cfg.allow_leak)
        pl.seed_everything(cfg.seed, workers=True, verbose=False)
        validate = len(data.validation_set) > 0
        if cfg.start == "probe":
            measured = data.test_set if keep_best else data.validation_set
            trains = (cfg.epochs if last_epoch is None else last_epoch) > 0
            callbacks = [*callbacks, build_probe(cfg, data, source.classes, measured if trains else None)]
        trainer = build_trainer(cfg, folder, callbacks, validate=validate, keep_best=keep_best, last_epoch=last_epoch)
        share(cfg.batch_size, trainer.world_size)
        if cfg.trainer.get("sync_batchnorm") and trainer.strategy.root_device.type == "cpu":
            raise UserError("trainer.sync_batchnorm=true: PyTorch has it for GPUs only; leave it out on a CPU")
        if cfg.start == "probe" and isinstance(trainer.strategy, FullySharded):
            raise UserError("start=probe: no process of trainer=fsdp has all of a classifier; use trainer=ddp")
        if teacher_folder(cfg) is not None and isinstance(trainer.strategy, FullySharded):
            raise UserError("distill.from: has not been tried with trainer=fsdp; use trainer=ddp")
        if cfg.ema is not None and isinstance(trainer.strategy, FullySharded):
            raise UserError(f"ema={cfg.ema}: no process of trainer=fsdp has all weights to average; use trainer=ddp")
        if cfg.accumulate == "auto" and isinstance(trainer.strategy, FullySharded):
            raise UserError("accumulate=auto: tries steps of whole weights, that trainer=fsdp shares; set a number")
        if cfg.get("checkpointing") and isinstance(trainer.strategy, FullySharded):
            raise UserError("checkpointing=true: has not been tried with trainer=fsdp; use trainer=ddp")
        system = build_system(cfg, source.classes, learned, objective)
        system.planned_epochs = cfg.epochs
        if begun is not None:
            check_weights(begun, folder, system)
            same_teacher(begun, folder, system, allow_change=cfg.allow_change)
        return Run(data, system, trainer, source, summary, leaked, leaked_validation, without_effect)


def check_options(cfg: DictConfig) -> list[str]:
    """Returns a line for each option that changes nothing in training. Needs no videos: none is searched or rendered.

    Raises ValueError for options that are not possible here, or do not fit together.
    """
    check_device(cfg.trainer.get("accelerator", "auto"), cfg.precision, cfg.trainer.get("devices", 1))
    without_effect = check_training(cfg)
    check_parts(as_seen(cfg))
    return without_effect


def check_training(cfg: DictConfig) -> list[str]:
    """Returns a line for each option that changes nothing in training.

    Builds all that trains, as shapes only. Raises ValueError for options that do not fit together.
    """
    check_labels(cfg)
    cfg = settle_starts(cfg)
    check_streams(cfg)
    network = build_network(cfg, num_classes=10, meta=True)
    for module in network.modules_below(cfg.train_from):  # type: ignore[operator]
        module.requires_grad_(False)
    optimizer = make_optimizer(cfg)(network)
    instantiate(cfg.schedule)(optimizer, steps_per_epoch=1.0, epochs=1)
    if (monitor := monitored(cfg)) is not None and not cfg.validation_fraction:
        raise ValueError(
            f"schedule.monitor={monitor}: needs validation videos; choose another schedule, or "
            "validation_fraction above 0"
        )
    without_effect = check_effects(cfg, network) + untrained(cfg, network) + unused(cfg)
    check_starts(cfg, network)
    check_teacher(cfg, network)
    return without_effect


def check_labels(cfg: DictConfig) -> None:
    """Raises ValueError for options that need one label a video, where there are several, and the reverse."""
    monitor = monitored(cfg)
    wrong = {
        "start=probe: is fitted to one label a video; choose start=random": cfg.start == "probe",
        "refit=true: leaves no validation videos to choose thresholds on; choose refit=false": cfg.refit is True,
        f"schedule.monitor={monitor}: is not measured; choose val/map or val/loss": (
            monitor in ("val/top1", "val/top5", "val/mean_class")
        ),
        "sampler=balanced: a video counts for one class there; choose sampler=null": is_balanced(cfg),
        "loss.class_weights: are of one label a video; choose null": loss_of(cfg, "class_weights") is not None,
        "loss.focal: is of one label a video; choose null": loss_of(cfg, "focal") is not None,
        "distill.from: has not been tried; choose null": (cfg.get("distill") or {}).get("from") is not None,
    }
    if is_multi(cfg) and (lines := [line for line, is_so in wrong.items() if is_so]):
        raise ValueError(f"data.labels=multi with {lines[0]}")
    if not is_multi(cfg) and monitor in ("val/map", "val/micro_f1"):
        raise ValueError(f"schedule.monitor={monitor}: is of several labels a video; choose val/top1 or val/loss")
    check_monitor(cfg)


def check_monitor(cfg: DictConfig, classes: int | None = None) -> None:
    """Raises ValueError for a `schedule.monitor` that no epoch measures; `classes`: their number, if it is known."""
    monitor = monitored(cfg)
    known = MEASURED_OF_LABELS if is_multi(cfg) else MEASURED
    known += ("train/distance",) * (teacher_folder(cfg) is not None)
    if classes is not None and classes <= 5:
        known = tuple(name for name in known if not name.endswith("/top5"))
    if monitor is not None and monitor not in known:
        raise ValueError(f"schedule.monitor={monitor}: is not measured; choose from {', '.join(known)}")


def initial_history(cfg: DictConfig) -> History:
    """Returns what the weights that training starts from have been trained on, and those of a teacher."""
    history = History()
    for stream in streams_of(cfg):
        start = start_of(cfg, stream)
        if start is not None and Path(start).is_file():
            history |= History.from_checkpoint(start)
    return history | teacher_history(cfg)


def build_system(
    cfg: DictConfig,
    classes: tuple[str, ...],
    history: History | None = None,
    objective: Objective | None = None,
) -> TwoStreamSystem:
    """Returns the network with weights, losses, metrics and optimizer, and with its teacher, if it has one.

    `history`: written into its checkpoints.
    `objective`: the loss of training, which depends on its videos; None: all classes count alike.
    """
    network = build_network(cfg, len(classes))
    frozen: list[nn.Module] = network.modules_below(cfg.train_from)  # type: ignore[operator]
    for module in frozen:
        module.requires_grad_(False)
    check_frozen(cfg, network)
    if cfg.channels_last:
        channels_last(network)
    if cfg.get("checkpointing"):
        for tower in towers(network).values():
            tower.checkpointing = True
    if cfg.compile:
        network.compile()
    teacher = build_teacher(cfg, network, classes)
    kind = TwoStreamSystem if teacher is None else partial(DistilledSystem, teacher=teacher, weight=cfg.distill.weight)
    return kind(
        network,
        classes=tuple(classes),
        frozen=[*frozen, *settled_statistics(cfg, network)],
        optimizer=make_optimizer(cfg),
        schedule=instantiate(cfg.schedule),
        objective=objective or plain_objective(cfg),
        history=history,
    )


def make_optimizer(cfg: DictConfig) -> MakeOptimizer:
    """Returns a function that makes the optimizer of a network.

    A fused one undoes the scaling of gradients itself, too late for their norm to be clipped: of gradients that are
    scaled and clipped it is refused, and not chosen.
    """
    if cfg.gradient_clip is None or cfg.precision != "16-mixed" or not cfg.optimizer.get("fused"):
        return instantiate(cfg.optimizer)
    if cfg.optimizer.fused is True:
        raise ValueError(
            f"optimizer.fused=true: cannot be with gradient_clip={cfg.gradient_clip} at precision=16-mixed; choose "
            "optimizer.fused=auto, or precision=bf16-mixed"
        )
    return instantiate(cfg.optimizer, fused=False)


def settled_statistics(cfg: DictConfig, network: Any) -> list[nn.Module]:
    """Returns the batch normalisation layers that keep the statistics of the weights their backbone started from.

    Small batches hold too few videos to estimate new statistics. With "all_but_first" the first layer does so all the
    same, since its input has other statistics: the partial batch normalisation of TSN (Wang et al. 2016).
    """
    value = cfg.get("batch_statistics", "batch")
    if value not in ("kept", "all_but_first"):
        return []
    found: list[nn.Module] = []
    for backbone in (getattr(network, stream).backbone for stream in streams_of(cfg)):
        layers = [part for part in backbone.modules() if isinstance(part, nn.BatchNorm2d | nn.BatchNorm3d)]
        if backbone.report and not backbone.report.lacking:
            found += layers[1:] if value == "all_but_first" else layers
    return found


def build_probe(
    cfg: DictConfig, data: VideoDataModule, classes: Sequence[str], measured: ClipDataset | None
) -> StartFromProbe:
    """Returns the callback that fits classifiers to the training videos in few fixed views, and measures them.

    The views are mirrored, too, where test views are: mirrored flow gives other features, on which a classifier that
    was fitted to unmirrored views alone does worse.
    """
    mirrored = cfg.transform.test_flip or cfg.transform.test == "ten"
    fixed = data.train_set.in_fixed_views(
        sampling=instantiate(cfg.sampling, test_views=PROBE_VIEWS),
        transform=build_transform(cfg, test="centre", test_flip=mirrored),
    )
    fixed.streams = data.test_set.streams  # without those of a teacher
    return StartFromProbe(fixed, measured, weigh=partial(probe_weights, cfg, classes))


def build_loggers(cfg: DictConfig, folder: Path) -> list[Logger]:
    """Returns the loggers of `logger=`, before anything is logged."""
    return [instantiate(logger)(folder) for logger in (cfg.logger or {}).values()]


def build_trainer(
    cfg: DictConfig,
    folder: Path,
    further: Sequence[pl.Callback] = (),
    *,
    validate: bool,
    keep_best: bool = True,
    last_epoch: int | None = None,
) -> pl.Trainer:
    """Returns Lightning's trainer with its loggers and callbacks; `validate=False` if no video is held out."""
    quieten()
    use_matmul_precision(cfg)
    checkpoint = ModelCheckpoint(
        folder / "checkpoints",
        filename="best",
        monitor=("val/map" if is_multi(cfg) else "val/top1") if validate else None,
        mode="max",
        save_top_k=int(keep_best),
        enable_version_counter=False,
    )
    callbacks: list[pl.Callback] = [
        InitialiseVLAD(seed=cfg.seed),  # a probe needs its descriptors
        *further,  # before others have begun an epoch
        checkpoint,
        EpochLine(),
        Forecast(),
        LearningRateMonitor("epoch"),
    ]
    if cfg.accumulate == "auto":
        callbacks.append(SplitBatches())
    if sys.stdout.isatty():
        callbacks.append(Bar(every=cfg.log_every))
    if cfg.ema is not None:
        callbacks.append(MovingAverage(cfg.ema))
    return make_trainer(
        cfg,
        max_epochs=cfg.epochs if last_epoch is None else last_epoch,
        precision=cfg.precision,
        accumulate_grad_batches=1 if cfg.accumulate == "auto" else cfg.accumulate,
        gradient_clip_val=cfg.gradient_clip,
        logger=[csv_logger(folder), *build_loggers(cfg, folder)],
        callbacks=callbacks,
        plugins=[WholeCheckpoints()],
        default_root_dir=folder,
        use_distributed_sampler=False,  # ours gives every video to exactly one process
        enable_progress_bar=sys.stdout.isatty(),
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=1.0 if validate else 0,
        deterministic=cfg.deterministic,
        benchmark=cfg.trainer.get("benchmark", not cfg.deterministic),  # of cuDNN
        log_every_n_steps=cfg.log_every,
    )


def make_trainer(cfg: DictConfig, **settings: Any) -> pl.Trainer:
    """Returns Lightning's trainer. With `trainer=ddp`, processes exchange gradients where they lie, without copies.

    `gradients` says as which type they exchange those. The graph is not declared static: that would save a
    search for weights without a gradient, but all that are trained have one, so nothing is searched.
    """
    plain = {name: value for name, value in cfg.trainer.items() if name != "gradients"}
    if plain.get("strategy") == "ddp":
        hook = bf16_compress_hook if cfg.trainer.get("gradients") == "bfloat16" else None
        plain["strategy"] = DDPStrategy(gradient_as_bucket_view=True, ddp_comm_hook=hook)
    elif isinstance(plain.get("strategy"), DictConfig) and "gradients" in cfg.trainer:
        plain["strategy"] = FullySharded(gradients=cfg.trainer.gradients)
    return instantiate(plain)(**settings)


def build_bench_trainer(cfg: DictConfig, folder: Path) -> pl.Trainer:
    """Returns the trainer of a run in one process, with the callbacks that do something in each step."""
    on_gpu = torch.cuda.is_available() and cfg.trainer.accelerator != "cpu"
    alone = {"_target_": "pytorch_lightning.Trainer", "_partial_": True, "devices": 1}
    plain = cfg.copy()
    plain.trainer, plain.logger = {**alone, "accelerator": "gpu" if on_gpu else "cpu"}, {}
    plain.epochs, plain.accumulate = 1, 1 if cfg.accumulate == "auto" else cfg.accumulate
    trainer = build_trainer(plain, folder, [FiniteLoss(folder, nonfinite=cfg.nonfinite), Speed()], validate=False)
    at_ends = (ModelCheckpoint, InitialiseVLAD, EpochLine, Forecast, LearningRateMonitor)
    trainer.callbacks = [one for one in trainer.callbacks if not isinstance(one, at_ends)]  # type: ignore[attr-defined]
    return trainer


def check_device(accelerator: str, precision: str, devices: object = 1) -> None:
    """Raises ValueError for a missing GPU, and for what a CPU cannot do, where Lightning would do something else."""
    has_gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    if accelerator in ("gpu", "cuda", "mps") and not has_gpu:
        raise ValueError(f"accelerator={accelerator}: PyTorch finds no GPU on this machine; choose cpu (trainer=cpu)")
    if isinstance(devices, int) and devices < 1 and (accelerator == "cpu" or not has_gpu):
        raise ValueError(f"devices={devices}: on a CPU choose a number of processes, at least 1 (trainer.devices)")
    if precision == "16-mixed" and (accelerator == "cpu" or not has_gpu):
        raise ValueError("precision=16-mixed: is for GPUs; on a CPU choose precision=bf16-mixed or 32-true")


def use_matmul_precision(cfg: DictConfig) -> None:
    """Sets `matmul_precision` for the whole process, so that a run does not have that of the one before."""
    torch.set_float32_matmul_precision(cfg.get("matmul_precision") or "highest")


def quieten() -> None:
    """Hides what Lightning and PyTorch print about themselves at every start; their warnings about a run stay."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*LeafSpec.*",  # between versions of PyTorch and Lightning
        ".*decoding and encoding capabilities of TorchVision.*",  # of data.decode=gpu
        "Experiment logs directory .* exists and is not empty",  # it is the run folder
        "Checkpoint directory .* exists and is not empty",
        "You're resuming from a checkpoint that ended before the epoch ended.*",  # our sampler goes on where it was
        ".*Loading `train_dataloader` to estimate.*",
        ".*have no `val_dataloader`. Skipping val loop.*",  # as the configuration says
        ".*sync_dist=True.*",  # torchmetrics and our sampler have summed over all processes already
        ".*compute. method of metric .* was called before the .update. method.*",  # a process without clips
        ".*WeightAveraging callback with a model that overrides the configure_model.*",  # `ema` and fsdp are refused
        "FSDP2-wrapped module .* returned a view tensor",  # nothing is done in place on it
        "Grad strides do not match bucket view strides",  # of 1×1 convolutions: no difference
        ".*does not have many workers.*",  # num_workers is the user's choice
        "The number of training batches .* is smaller than the logging interval",
        "You have overridden `transfer_batch_to_device` in `LightningModule`.*",  # as intended
        "Starting from v1.9.0, `tensorboardX` has been removed",
    ):
        warnings.filterwarnings("ignore", message)
