"""The right to train in the folder of a run, and whether the run there is finished, and the same."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from twostream.config.data import build_lists, build_source
from twostream.config.saved import read_config
from twostream.data.record import PARTS, summary_of
from twostream.files.errors import UserError, checked, one_line
from twostream.files.lock import Claim
from twostream.launch.ranks import STARTED_BY
from twostream.launch.sweep import as_typed, hash_of
from twostream.options.command import train_command
from twostream.runs.interrupted import has_begun
from twostream.runs.old_names import with_first_names, without_later
from twostream.runs.results import read_results, write_json
from twostream.runs.sweep import NO_DIFFERENCE
from twostream.training.ranks import rank_of


def identity(cfg: DictConfig) -> str:
    """Returns a hash of the resolved configuration, without what makes no difference to the results."""
    values = without_later(with_first_names(OmegaConf.to_container(cfg, resolve=True)))
    return hash_of({key: value for key, value in values.items() if key not in NO_DIFFERENCE})


@contextmanager
def claimed(cfg: DictConfig, folder: Path) -> Iterator[Claim | None]:
    """Yields the right to train in a run's folder, and gives it back after the block.

    Yields None if the run is finished, or if another process is running this cell of the sweep. Raises UserError if the
    folder has the results of another configuration. Ends the program if another process is running a run that is no
    cell, or if processes that torchrun or SLURM has started would wait for this one. A process with STARTED_BY in its
    environment need not take the right: the process that started it holds it.
    """
    if STARTED_BY in os.environ:
        yield Claim(folder / "results.json")
        return
    if is_finished(cfg, folder):
        yield None
        return
    claim = Claim(folder / "results.json")
    try:
        yield claim if rank_zero_only.rank or taken(claim, cfg, folder) else None  # type: ignore[attr-defined]
    finally:
        claim.release()


def is_finished(cfg: DictConfig, folder: Path) -> bool:
    """Whether a folder has the results of this configuration and these data; damaged results of a cell count as none.

    Raises UserError if it has other results, or damaged results of a run that is no cell.
    """
    try:
        results = read_results(folder)
    except ValueError as error:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            return False
        raise UserError(f"{error}; delete it to have the run repeated") from None
    if results is None:
        return False
    changes = difference(cfg, folder) if results.get("cell") != identity(cfg) else ""
    if changes := changes or other_lists(cfg, results.get("data", {}), folder):
        otherwise = "delete them, or choose another folder"
        if HydraConfig.get().mode == RunMode.RUN:
            words = shlex.join(as_typed(HydraConfig.get().overrides.task))
            otherwise = f"a finished run does not go on; in a folder of its own trains anew: {train_command()} {words}"
        raise UserError(f"{folder}: has the results of another configuration ({changes}); {otherwise}")
    name = next((name for name in ("test/top1", "test/map") if name in results["metrics"]), "test/top1")
    value = results["metrics"].get(name)
    print(f"{folder}: finished before; {name} {'n/a' if value is None else f'{value:.4f}'}")
    return True


def other_lists(cfg: DictConfig, noted: Mapping[str, Any], folder: Path) -> str:
    """Says which lists of videos have changed since the finished run in a folder noted them; "" if none has."""
    if not noted:  # the run is of an earlier version
        return ""
    values: Any = OmegaConf.to_container(cfg, resolve=True)
    parts = {key: values[key] for key in ("data", "split", "seed", "validation_fraction")}
    try:
        if (path := folder / "config.yaml").is_file():
            parts["refit"] = read_config(path).get("refit", False)  # the value that auto stood for
        now = lists_of(json.dumps(parts))
    except (UserError, ValueError) as error:  # the data may be gone, now that there are results
        print(f"the data of finished runs cannot be compared with the present ones: {one_line(error)}")
        return ""
    return "; ".join(
        f"other {PARTS[part]} videos, {noted[part]['videos']} there and {now[part]['videos']} here"
        for part in PARTS
        if part in noted and noted[part] != now[part]
    )


@cache
def lists_of(text: str) -> dict[str, Any]:
    """Returns a summary of the lists of videos that a configuration (as JSON) leads to; looks each up only once."""
    with checked():
        cfg: Any = OmegaConf.create(json.loads(text))
        source = build_source(cfg)
        return summary_of(source.classes, build_lists(cfg, source))


def taken(claim: Claim, cfg: DictConfig, folder: Path) -> bool:
    """Whether this process takes the run; if so, writes its overrides into its folder.

    The overrides of a resumed run stay as they are until the checkpoint that it goes on from has been accepted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    hydra_config, awaited = HydraConfig.get(), rank_of(os.environ) is not None
    if not claim.take():
        message = f"{folder}: another process is at it"
        if awaited or hydra_config.mode != RunMode.MULTIRUN:
            sys.exit(f"error: {message}")  # not an error of the run in this folder
        print(message, flush=True)
        return False
    if is_finished(cfg, folder):  # by the process that held the claim before
        if awaited:
            sys.exit(f"error: {folder}: another process has just finished it")
        return False
    if (folder / "results.json").exists():
        print(f"{folder}: its results.json is damaged; the cell is run again", flush=True)
        (folder / "results.json").unlink()
    (folder / "error.txt").unlink(missing_ok=True)
    if not has_begun(folder):
        write_json(folder / "overrides.json", as_typed(hydra_config.overrides.task))
    return True


def difference(cfg: DictConfig, folder: Path) -> str:
    """Says which values differ from those of the run in `folder`: name, then and now."""
    try:
        before = flat(without_later(OmegaConf.to_container(read_config(folder / "config.yaml"))))
    except ValueError as error:
        return f"and {error}"
    now = flat(without_later(OmegaConf.to_container(cfg, resolve=True)))
    names = [n for n in sorted(before.keys() | now.keys()) if n.split(".")[0] not in NO_DIFFERENCE]
    changes = [
        f"{n}: {before.get(n)} there, {now.get(n)} here" for n in names if now.get(n) not in (before.get(n), "auto")
    ]
    return "; ".join(changes[:5]) or "by another version of the program"


def flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Returns nested values by their names with dots.

    >>> flat({"a": {"b": 1}, "c": [2]})
    {'a.b': 1, 'c': [2]}
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        found |= flat(value, f"{name}.") if isinstance(value, dict) and value else {name: value}
    return found
