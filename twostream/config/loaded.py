"""Loads the trained network from a run folder that train.py has written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from twostream.config.network import build_network, without_starts
from twostream.config.run import build_system, use_matmul_precision
from twostream.config.saved import config_file, load_config
from twostream.data.history import History
from twostream.files.errors import one_line
from twostream.runs.checkpoint import SAFE, read_checkpoint
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
    path = find_checkpoint(folder)
    content = read_checkpoint(path)
    check_numbers(content["state_dict"], path)
    try:
        history = History.from_content(content)
        check_shapes(cfg, content)
        system = build_trained_system(cfg, content["classes"], history)
        system.load_state_dict(content["state_dict"])
    except ImportError:
        raise
    except Exception as error:  # anything may be wrong in a folder from elsewhere
        reason = one_line(error.__cause__ or error)[:200]
        raise ValueError(f"{path}: does not fit {config_file(folder)}: {reason}") from error
    epoch = content.get("epoch")
    return TrainedRun(folder, cfg, system.eval(), history, path, epoch + 1 if isinstance(epoch, int) else None)


def build_trained_system(cfg: DictConfig, classes: Sequence[str], history: History) -> TwoStreamSystem:
    """Returns the system of a run before the weights of its checkpoint are loaded into it.

    Does not look for the weights that the run started from. Sets `matmul_precision`, for what the network computes.
    """
    use_matmul_precision(cfg)
    plain = OmegaConf.merge(without_starts(cfg), {"compile": False})  # shapes vary: no compiling
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


def check_numbers(weights: Mapping[str, Tensor], path: Path) -> None:
    """Raises ValueError if a weight is NaN, which training may have left."""
    lost = [name for name, tensor in weights.items() if tensor.is_floating_point() and tensor.isnan().any()]
    if lost:
        few = ", ".join(lost[:3])
        raise ValueError(f"{path}: {len(lost)} of its {len(weights)} weights are not numbers (NaN): {few}")


def check_shapes(cfg: Any, content: Any) -> None:
    """Raises ValueError if the configured network does not fit the weights, before it takes memory for its own."""
    network = build_network(cfg, len(content["classes"]), meta=True)
    for name, tensor in network.state_dict().items():
        found = content["state_dict"].get(f"network.{name}")
        if found is not None and found.shape != tensor.shape:
            raise ValueError(f"size mismatch for {name}: {tuple(found.shape)}, configured is {tuple(tensor.shape)}")
        if found is None:
            raise ValueError(f"it lacks {name}")


def find_checkpoint(folder: Path) -> Path:
    """Returns the weights that validation chose. Raises ValueError, with what became of the run, if there are none."""
    for path in (folder / "checkpoints" / "best.ckpt", folder / SAFE):
        if path.is_file():
            return path
    error = folder / "error.txt"
    if error.is_file():
        lines = error.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise ValueError(f"{folder}: has no checkpoints/best.ckpt; the run failed: {lines[-1] if lines else ''}")
    raise ValueError(f"{folder}: has no checkpoints/best.ckpt; the run has not finished an epoch")
