"""What stands above a training: what learns from what, and where it goes. A word and its facts in each row."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from omegaconf import DictConfig
from pytorch_lightning.loggers import Logger

from twostream.config.loss import loss_of
from twostream.config.network import starts
from twostream.config.run import Run
from twostream.config.trust import code_of
from twostream.files.words import counted
from twostream.models.network.parts import towers
from twostream.options import shown
from twostream.training.distill import teacher_facts
from twostream.training.loggers import PatientWandb

COLUMNS, LABEL = 80, 10
WHOLE = ("W&B", "folder")  # rows that are copied into a shell: in one line, however long
OF_EACH_CELL = ("cell", "data", "algorithm", "fusion", "network", "teacher", "loss", "folder")  # and the streams


def header(cfg: DictConfig, run: Run, folder: Path, loggers: Sequence[Logger], *, cell: str = "") -> str:
    """Returns the lines above a training; of a `cell` of a sweep, such as "3 of 8", those that other cells have not."""
    rows = {"cell": cell} if cell else {}
    rows |= {**data_rows(cfg, run), **network_rows(cfg, run), **training_rows(cfg, run), **place_rows(loggers, folder)}
    streams = {stream.name for stream in run.data.test_set.streams}
    return layout({name: text for name, text in rows.items() if not cell or name in {*OF_EACH_CELL, *streams}})


def layout(rows: Mapping[str, str]) -> str:
    r"""Returns rows with aligned facts, at most COLUMNS wide unless a single word is longer, or they are WHOLE.

    >>> print(layout({"device": "CPU", "W&B": "offline"}))
    device    CPU
    W&B       offline
    """
    lines = []
    for name, text in rows.items():
        row = f"{name:<{LABEL - 1}} {text}"
        wrap = partial(textwrap.wrap, subsequent_indent=" " * LABEL, break_long_words=False, break_on_hyphens=False)
        lines += [row] if name in WHOLE else wrap(row, COLUMNS)
    return "\n".join(lines)


def data_rows(cfg: DictConfig, run: Run) -> dict[str, str]:
    """Returns the data set, and how many videos and groups are on each side; groups of one video each are not told."""
    data, classes = run.data, run.source.classes
    sides = {"training": data.train_set, "validation": data.validation_set, "test": data.test_set}
    videos = ", ".join(f"{len(part):,} {name}" for name, part in sides.items())
    root = cfg.data.get("root")
    own = f" {Path(root).resolve().name}" if run.source.name == "folder" and root else ""
    rows = {"data": f"{run.source.name}{own}, split {run.source.split}, {len(classes)} classes", "videos": videos}
    groups = {name: len({video.group for video in part.videos}) for name, part in sides.items()}
    if any(groups[name] < len(part) for name, part in sides.items()):
        rows["groups"] = ", ".join(f"{number:,} {name}" for name, number in groups.items())
    return rows


def network_rows(cfg: DictConfig, run: Run) -> dict[str, str]:
    """Returns the network of each stream and what it starts from, where flow comes from, and how streams are fused."""
    network, learner = run.system.network, run.data.train_set
    begin = {
        name: "random weights" if text == "random" else f"weights: {text}" for name, text in starts(network).items()
    }
    rows = {name: f"{tower.backbone.name}, {begin[name]}" for name, tower in towers(network).items()}
    if any(stream.made == "flow" for stream in learner.streams):
        preset = f" ({cfg.flow.preset})" if cfg.flow.get("preset") else ""
        how = "reads flow from the video files" if learner.flow.from_video else "computes flow while loading"
        how = f"has filled the store {learner.flow_store.root}" if learner.flow_store else how
        rows["algorithm"] = f"{word_of(type(learner.flow))}{preset} {how}"
    many = f"{run.summary.parameters:,} parameters"
    if len(towers(network)) > 1:
        layers = cfg.layer if isinstance(cfg.layer, str) else ", ".join(cfg.layer)
        rows["fusion"] = f"{word_of(code_of(cfg.fusion), 'Fusion')} at {layers}; {many}"
    else:
        rows["network"] = many
    if (facts := teacher_facts(run.system)) is not None:
        what = f"its features after {facts['layer']}, weight {facts['weight']:g}"
        rows["teacher"] = f"{cfg.distill['from']} ({' and '.join(facts['streams'])}); {what}"
    return rows


def training_rows(cfg: DictConfig, run: Run) -> dict[str, str]:
    """Returns the loss where it is not the plain one, how long training is, and what computes."""
    rows = {"loss": text} if (text := objective(cfg, multi=run.system.multi)) else {}
    device = run.trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()
    precision = "" if cfg.precision == "32-true" else f", precision={cfg.precision}"
    rows["training"] = f"{counted(run.trainer.max_epochs or 0, 'epoch')}, {counted(cfg.batch_size, 'video')} a step"
    rows["device"] = f"{name}, {counted(run.trainer.world_size, 'process', 'processes')}{precision}"
    return rows


def objective(cfg: DictConfig, *, multi: bool) -> str:
    """Returns what makes the loss of training another one than plain cross-entropy; "" if nothing does."""
    weights, focal = loss_of(cfg, "class_weights"), loss_of(cfg, "focal")
    parts = {
        "binary cross-entropy of several labels a video": multi,
        f"label_smoothing={cfg.label_smoothing}": cfg.label_smoothing,
        f"class_weights={shown(weights if weights is None or isinstance(weights, str) else list(weights))}": weights,
        f"focal={focal}": focal is not None,
        f"sampler={cfg.get('sampler')}": cfg.get("sampler"),
    }
    said = [text for text, is_so in parts.items() if is_so]
    return ", ".join(said if multi or not said else ["cross-entropy", *said])


def place_rows(loggers: Sequence[Logger], folder: Path) -> dict[str, str]:
    """Returns where W&B gets the numbers, and where everything else is."""
    places = [logger.place(folder) for logger in loggers if isinstance(logger, PatientWandb)]
    return {**({"W&B": places[0]} if places else {}), "folder": str(folder)}


def word_of(code: object, suffix: str = "") -> str:
    """Returns the word of an option for the class or function behind it.

    >>> class CompactBilinearFusion: ...
    >>> word_of(CompactBilinearFusion, "Fusion")
    'compact_bilinear'
    """
    name = getattr(code, "__name__", type(code).__name__)
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.removesuffix(suffix)).lower()
