"""Finds the weights that a run has trained, and checks them against its configuration."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from twostream.config.network import build_network
from twostream.config.saved import config_file
from twostream.files.errors import one_line
from twostream.runs.checkpoint import SAFE, read_checkpoint
from twostream.runs.interrupted import has_begun
from twostream.runs.sweep import LEDGER


def read_trained(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Returns the checkpoint with the weights that validation chose, and its content; see `read_checkpoint`.

    Raises ValueError if there is none, if it cannot be read, or if a weight is not a number.
    """
    path = find_checkpoint(folder)
    content = read_checkpoint(path)
    check_numbers(content["state_dict"], path)
    return path, content


@contextmanager
def errors_say_misfit(path: Path, folder: Path) -> Iterator[None]:
    """Turns errors inside the block into a ValueError that a checkpoint does not fit the configuration in `folder`.

    ImportError passes unchanged.
    """
    try:
        yield
    except ImportError:
        raise
    except Exception as error:  # anything may be wrong in a folder from elsewhere
        reason = one_line(error.__cause__ or error)[:200]
        raise ValueError(f"{path}: does not fit {config_file(folder)}: {reason}") from error


def find_checkpoint(folder: Path) -> Path:
    """Returns the weights that validation chose. Raises ValueError, with what became of the run, if there are none."""
    for path in (folder / "checkpoints" / "best.ckpt", folder / SAFE):
        if path.is_file():
            return path
    error = folder / "error.txt"
    if error.is_file():
        lines = error.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise ValueError(f"{folder}: has no checkpoints/best.ckpt; the run failed: {lines[-1] if lines else ''}")
    alone = has_begun(folder) and not (folder.parent / LEDGER).is_file()  # a sweep goes on by its own command
    then = f"; go on with it: twostream train resume={shlex.quote(str(folder))}" if alone else ""
    raise ValueError(f"{folder}: has no checkpoints/best.ckpt; the run has not finished an epoch{then}")


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
