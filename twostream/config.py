"""Configuration -> objects: with train.py and cli.py the only place that knows Hydra."""

from __future__ import annotations

import functools
import gc
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pytorch_lightning.callbacks import (
    EMAWeightAveraging,
    LearningRateMonitor,
    ModelCheckpoint,
    RichProgressBar,
)
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import nn

from twostream.callbacks import EpochLine, InitialiseVLAD
from twostream.data.container import ContainerError
from twostream.data.dataset import STREAMS, ClipDataset
from twostream.data.decoding import VideoError
from twostream.data.flow import OpticalFlow
from twostream.data.flow_store import FlowStore, FlowStoreError
from twostream.data.footage import Cached, Decoded, Footage, Guarded
from twostream.data.index import find_index
from twostream.data.module import VideoDataModule
from twostream.data.packed import Packed, packed_folder
from twostream.data.prepare import ArchiveError, DownloadError
from twostream.data.sources import Video, hold_out
from twostream.description import Description, describe
from twostream.loggers import csv_logger
from twostream.models.fusion import UpconvAlign, ZeroPadAlign
from twostream.models.network import MultiLevelNetwork, OverClip, SingleStreamNetwork, TwoStreamNetwork
from twostream.models.pooling import GAP
from twostream.system import TwoStreamSystem

ALIGN = {"zero_pad": ZeroPadAlign, "upconv": UpconvAlign}
FOOTAGE = ("cache", "frames", "packed")  # of cfg.data: how frames are read, not which videos there are
FRAMES = ("video", "packed")
CACHES = (None, "ram")
EXPECTED = (
    HydraException,
    OmegaConfBaseException,
    VideoError,
    FlowStoreError,
    ContainerError,
    ArchiveError,
    DownloadError,
    MisconfigurationException,
)


class UserError(Exception):
    """Something the user typed, or a file the user named, that cannot be obeyed: shown as one line."""


@contextmanager
def checked() -> Iterator[None]:
    """Turns the errors that wrong input raises into a `UserError`; used around building, not around training."""
    try:
        yield
    except InstantiationException as error:
        raise UserError(str(error.__cause__ or error)) from error
    except (ValueError, OSError, ImportError, *EXPECTED) as error:
        raise UserError(str(error)) from error


def notes_errors(task: Callable[[DictConfig], None]) -> Callable[[DictConfig], None]:
    """Leaves `error.txt` in the run folder of a run that failed; a sweep shows it and goes on with the next cell."""

    @functools.wraps(task)
    def wrapped(cfg: DictConfig) -> None:
        try:
            task(cfg)
        except Exception as error:
            hydra_config = HydraConfig.get()
            expected = isinstance(error, (UserError, *EXPECTED))
            text = one_line(error) if expected else traceback.format_exc()
            (Path(hydra_config.runtime.output_dir) / "error.txt").write_text(text + "\n", encoding="utf-8")
            if hydra_config.mode == RunMode.MULTIRUN:
                print(f"cell {hydra_config.job.num} failed: {one_line(error)}", file=sys.stderr, flush=True)
            raise

    return wrapped


def run_command(main: Callable[[], None]) -> None:
    """Run a Hydra main function; what the user got wrong ends in one line and exit code 1, without a traceback."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints the errors itself
    try:
        main()
    except (UserError, *EXPECTED) as error:
        sys.exit(f"error: {one_line(error)}")


def one_line(error: BaseException) -> str:
    """The message without its line breaks.

    >>> one_line(ValueError("In 'config':\\n\\tno such option"))
    "In 'config': no such option"
    """
    text = str(error).split("Config search path:")[0]  # of no help to who mistyped an option
    return " ".join(text.split()) or type(error).__name__


def conf_folder() -> Path:
    """Where conf/ is: inside an installed package, or beside it in a clone."""
    package = Path(__file__).parent
    return next(path for path in (package / "conf", package.parent / "conf") if path.is_dir())


def compose_config(overrides: Sequence[str]) -> DictConfig:
    """The configuration that `python train.py <overrides>` runs with."""
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return compose("config", overrides=list(overrides), return_hydra_config=False)


def streams_of(cfg: DictConfig) -> tuple[str, ...]:
    """The wanted streams, in their usual order."""
    wanted = [cfg.streams] if isinstance(cfg.streams, str) else list(cfg.streams)
    for name in wanted or [""]:
        if name not in STREAMS:
            raise ValueError(f"streams={cfg.streams!r}: choose from rgb, flow, [rgb,flow]")
    return tuple(name for name in STREAMS if name in wanted)


def build_network(cfg: DictConfig, num_classes: int, *, meta: bool = False) -> nn.Module:
    """The network of the configuration; with `meta`, its shape alone: no memory, no weights loaded."""
    streams = streams_of(cfg)
    if cfg.align not in ALIGN:
        raise ValueError(f"align={cfg.align!r}: choose from {', '.join(ALIGN)}")
    backbones = {}
    for stream, config in (("rgb", cfg.backbone), ("flow", cfg.get("flow_backbone") or cfg.backbone)):
        if cfg.init[stream] is not None or meta:
            config = OmegaConf.merge(config, {"weights": None if meta else single_stream_checkpoint(cfg.init[stream])})
        backbones[stream] = instantiate(config, dropout=cfg.dropout[stream])
    shared: dict[str, Any] = {
        "num_classes": num_classes,
        "flow_channels": 2 * cfg.flow.length,
        "temporal": instantiate(cfg.temporal),
        "pooling": instantiate(cfg.pooling) or None,
        "attention": attention_layer(cfg),
        "attention_after": tuple(cfg.attention_after),
        "image_size": cfg.transform.size,
    }
    with torch.device("meta" if meta else "cpu"):
        if len(streams) == 1:
            return SingleStreamNetwork(stream=streams[0], backbone=backbones[streams[0]], **shared)
        fusion = instantiate(cfg.fusion)
        shared |= {
            "backbone": backbones["rgb"],
            "flow_backbone": backbones["flow"],
            "fusion": fusion,
            "align": ALIGN[cfg.align],
            "layer": cfg.layer if isinstance(cfg.layer, str) else tuple(cfg.layer),
        }
        if getattr(fusion.func, "takes_levels", False):
            if cfg.two_towers:
                raise ValueError("two_towers=true: this fusion keeps no tower; choose two_towers=false")
            return MultiLevelNetwork(**{**shared, "pooling": shared["pooling"] or GAP, "dropout": cfg.dropout.rgb})
        return TwoStreamNetwork(two_towers=cfg.two_towers, **shared)


def attention_layer(cfg: DictConfig) -> Callable[[int], nn.Module]:
    """Makes the attention for a number of channels, over each frame or over all frames of a clip."""
    make = instantiate(cfg.attention)
    if cfg.attention_over not in ("frame", "clip"):
        raise ValueError(f"attention_over={cfg.attention_over!r}: choose from frame, clip")
    return make if cfg.attention_over == "frame" else lambda channels: OverClip(make(channels))


def single_stream_checkpoint(path: str) -> str:
    """The checkpoint at `path`, or the best one of the run whose folder it is."""
    best = Path(path) / "checkpoints" / "best.ckpt"
    return str(best) if best.is_file() else path


def describe_config(cfg: DictConfig, num_classes: int) -> Description:
    """Shapes, parameters and FLOPs of the configured network, without building it in memory."""
    return describe(
        build_network(cfg, num_classes, meta=True),
        num_chunks=instantiate(cfg.sampling).fixed(1, cfg.flow.length).shape[1],
        flow_channels=2 * cfg.flow.length,
        image_size=cfg.transform.size,
    )


class Run(NamedTuple):
    """The parts of one run."""

    data: VideoDataModule
    system: TwoStreamSystem
    trainer: pl.Trainer
    source: Any
    summary: Description


def build_run(cfg: DictConfig, folder: Path) -> Run:
    """Everything a run needs; raises UserError before a video is decoded or weights are loaded."""
    with checked():
        build_network(cfg, num_classes=10, meta=True).modules_below(cfg.train_from)  # type: ignore[operator]
        source = build_source(cfg)
        data = build_data(cfg, source)
        summary = describe_config(cfg, len(source.classes))
        pl.seed_everything(cfg.seed, workers=True, verbose=False)
        trainer = build_trainer(cfg, folder, validate=len(data.validation_set) > 0)
        return Run(data, build_system(cfg, source.classes), trainer, source, summary)


def build_source(cfg: DictConfig) -> Any:
    """The data set's classes, training and test videos."""
    reading = FOOTAGE if "packed" in cfg.data else ("cache",)  # the embedded data set's `frames` is another thing
    with without_collection():
        return instantiate({key: value for key, value in cfg.data.items() if key not in reading})(split=cfg.split)


@contextmanager
def without_collection() -> Iterator[None]:
    """No garbage collection: of 200,000 videos none is garbage, yet it would look at all of them again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def build_footage(cfg: DictConfig, videos: Sequence[Video]) -> Footage:
    """Where frames come from: decoded or packed, within a time, and kept in memory if asked for."""
    frames = cfg.data.frames if "packed" in cfg.data else "video"
    if frames not in FRAMES:
        raise ValueError(f"data.frames={frames!r}: choose from {', '.join(FRAMES)}")
    footage: Footage = Decoded(cfg.decoder, counts=find_index(cfg.data.root))
    if frames == "packed":
        footage = packed = Packed(packed_folder(cfg.data.packed, cfg.data.root))
        packed.require(videos)
    if cfg.decode_timeout is not None:
        footage = Guarded(footage, cfg.decode_timeout)
    if cfg.data.cache not in CACHES:
        raise ValueError(f"data.cache={cfg.data.cache!r}: choose from null, ram")
    return Cached(footage) if cfg.data.cache == "ram" else footage


def build_flow(cfg: DictConfig) -> OpticalFlow:
    """The optical flow algorithm, without regard to a store."""
    return instantiate({key: value for key, value in cfg.flow.items() if key != "store"})


def build_store(cfg: DictConfig, flow: OpticalFlow, source: Any) -> FlowStore | None:
    """The flow store, which has to have all videos; None where flow is computed or not wanted."""
    if not cfg.flow.store or "flow" not in streams_of(cfg):
        return None
    store = FlowStore(cfg.flow.store, flow)
    store.require([*source.train, *source.test])
    return store


def build_data(cfg: DictConfig, source: Any) -> VideoDataModule:
    """Loaders for training, validation (whole groups out of the training list) and testing."""
    train, validation = hold_out(source.train, cfg.validation_fraction, cfg.seed)
    flow = build_flow(cfg)
    shared: dict[str, Any] = {
        "sampling": instantiate(cfg.sampling),
        "transform": instantiate(cfg.transform),
        "flow": flow,
        "flow_store": build_store(cfg, flow, source),
        "footage": build_footage(cfg, [*source.train, *source.test]),
        "broken": cfg.broken,
        "streams": streams_of(cfg),
        "seed": cfg.seed,
    }
    one_view = {  # every epoch, so cheap: the protocol of the test is for the test
        "sampling": instantiate(cfg.sampling, test_views=1),
        "transform": instantiate(cfg.transform, test="centre", test_flip=False),
    }
    return VideoDataModule(
        train=ClipDataset(train, training=True, **shared),
        validation=ClipDataset(validation, **{**shared, **one_view}),
        test=ClipDataset(source.test, **shared),
        batch_size=cfg.batch_size,
        test_batch_size=cfg.test_batch_size,
        num_workers=cfg.num_workers,
        prefetch_factor=cfg.prefetch,
        persistent_workers=cfg.persistent_workers,
        pin_memory=cfg.pin_memory and torch.cuda.is_available() and cfg.trainer.accelerator != "cpu",
        seed=cfg.seed,
    )


def build_system(cfg: DictConfig, classes: tuple[str, ...]) -> TwoStreamSystem:
    """The network with its weights, losses, metrics and optimizer."""
    network = build_network(cfg, len(classes))
    frozen: list[nn.Module] = network.modules_below(cfg.train_from)  # type: ignore[operator]
    for module in frozen:
        module.requires_grad_(False)
    if cfg.channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if cfg.compile:
        network.compile()
    return TwoStreamSystem(
        network,
        classes=tuple(classes),
        frozen=frozen,
        optimizer=instantiate(cfg.optimizer),
        schedule=instantiate(cfg.schedule),
        label_smoothing=cfg.label_smoothing,
    )


def build_trainer(cfg: DictConfig, folder: Path, *, validate: bool) -> pl.Trainer:
    """Lightning's trainer with its loggers and callbacks; `validate=False` where no video is held out."""
    quieten()
    checkpoint = ModelCheckpoint(
        folder / "checkpoints",
        filename="best",
        monitor="val/top1" if validate else None,
        mode="max",
        save_last=True,
        enable_version_counter=False,
    )
    callbacks: list[pl.Callback] = [
        checkpoint,
        InitialiseVLAD(seed=cfg.seed),
        EpochLine(),
        LearningRateMonitor("epoch"),
    ]
    if sys.stdout.isatty():
        callbacks.append(RichProgressBar())
    if cfg.ema is not None:
        callbacks.append(EMAWeightAveraging(decay=cfg.ema))
    loggers: list[Logger] = [csv_logger(folder)]
    loggers += [instantiate(logger)(folder) for logger in (cfg.logger or {}).values()]
    return instantiate(cfg.trainer)(
        max_epochs=cfg.epochs,
        precision=cfg.precision,
        accumulate_grad_batches=cfg.accumulate,
        gradient_clip_val=cfg.gradient_clip,
        logger=loggers,
        callbacks=callbacks,
        default_root_dir=folder,
        use_distributed_sampler=False,  # ours gives every video to exactly one process
        enable_progress_bar=sys.stdout.isatty(),
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=1.0 if validate else 0,
        log_every_n_steps=10,
    )


def quieten() -> None:
    """Leave out what Lightning and PyTorch say of themselves at every start; their warnings about a run stay."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for message in (
        ".*LeafSpec.*",  # between versions of PyTorch and Lightning
        "Experiment logs directory .* exists and is not empty",  # it is the run folder
        ".*Loading `train_dataloader` to estimate.*",
        ".*have no `val_dataloader`. Skipping val loop.*",  # as the configuration says
        ".*sync_dist=True.*",  # torchmetrics and our sampler have summed over all processes already
        ".*does not have many workers.*",  # num_workers is the user's choice
        "The number of training batches .* is smaller than the logging interval",
        "Starting from v1.9.0, `tensorboardX` has been removed",
    ):
        warnings.filterwarnings("ignore", message)
