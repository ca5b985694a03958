"""Loads the trained network from a run folder that train.py has written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from twostream.config.network import without_starts
from twostream.config.run import build_system, use_matmul_precision
from twostream.config.saved import load_config
from twostream.config.trained import check_shapes, errors_say_misfit, read_trained
from twostream.data.history import History
from twostream.runs.checkpoint import SAFE
from twostream.runs.results import read_results
from twostream.training.system import TwoStreamSystem


class TrainedRun(NamedTuple):
    """`cfg`: the resolved configuration. `system`: with the weights of the best epoch, in evaluation mode."""

    folder: Path
    cfg: Any
    system: TwoStreamSystem
    history: History  # what its weights were trained on
    checkpoint: Path
    epoch: int | None = None  # the epoch, from 1, after which the weights were saved; None if the file does not say


def load_run(folder: str | Path, *, trust: Sequence[str] = ()) -> TrainedRun:
    """Loads the trained network of a run folder, or of a folder that `twostream export --format safetensors` wrote.

    `trust`: packages whose code the configuration may name, besides twostream and installed plug-ins. Raises ValueError
    that names the folder if it is no run folder or has no checkpoint (yet), or if the checkpoint does not fit the
    configuration.
    """
    folder = Path(folder)
    cfg = load_config(folder, trust=trust)
    path, content = read_trained(folder)
    with errors_say_misfit(path, folder):
        history = History.from_content(content)
        check_shapes(cfg, content)
        system = build_trained_system(cfg, content["classes"], history)
        system.load_state_dict(content["state_dict"])
        system.take_thresholds(content)
    epoch = content.get("epoch")
    return TrainedRun(folder, cfg, system.eval(), history, path, epoch + 1 if isinstance(epoch, int) else None)


def build_trained_system(
    cfg: DictConfig, classes: Sequence[str], history: History, *, learns: bool = False
) -> TwoStreamSystem:
    """Returns the system of a run before the weights of its checkpoint are loaded into it.

    Does not look for the weights that the run started from, nor for its teacher (`distill.from`), unless it `learns`.
    Sets `matmul_precision`, for what the network computes.
    """
    use_matmul_precision(cfg)
    plain = OmegaConf.merge(without_starts(cfg), {"compile": False})  # shapes vary: no compiling
    if not learns:
        plain = OmegaConf.merge(plain, {"distill": {"from": None}})
    return build_system(plain, tuple(classes), history)  # type: ignore[arg-type]


def unfinished(run: TrainedRun) -> str:
    """Returns a line that says that a run has no results (yet), and which weights it has so far; "" for other runs."""
    if run.checkpoint.name == SAFE or (run.folder / "results.json").exists():
        return ""
    where = run.checkpoint.relative_to(run.folder)
    since = "" if run.epoch is None else f" after epoch {run.epoch} of {run.cfg.epochs}"
    return f"NOTE: {run.folder}: unfinished, it has no results.json; its best weights so far: {where}{since}"


def other_reading(run: TrainedRun, reading: int | None) -> str:
    """Returns a line if a run read its flow store by another version than `reading` (None: no store); or ""."""
    if reading is None or not run.cfg.flow.store or (results := read_results(run.folder)) is None:
        return ""
    before = results.get("flow_reading", 1)  # version 1 was not recorded
    if before == reading:
        return ""
    return (
        f"NOTE: {run.folder}: read flow.store by version {before}, now it is version {reading}: levels of flow may "
        "differ by one, and scores in their last digits"
    )
