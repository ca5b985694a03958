"""Sweeps that can be interrupted: the command determines the folder, a plan lists the cells, each cell runs once."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError

from twostream.config.paths import check_paths
from twostream.config.streams import check_streams
from twostream.config.typed import naming_options
from twostream.config.values import check_values, require_folder
from twostream.files.errors import ExpectedError, UserError, end_with, one_line
from twostream.options.command import this_command
from twostream.runs.results import write_json
from twostream.runs.sweep import LEDGER

BASIC_LAUNCHER = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
BASIC_SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"


def sweep_name() -> str:
    """Returns the name of a sweep's folder: its axes, and a hash of all overrides. The same command finds it again."""
    words = [word for word in sys.argv[1:] if "=" in word or word.startswith("~")]
    typed = sorted(w for w in words if not w.startswith(("-", "hydra")) or w.startswith("hydra.sweeper.params"))
    axes = [word.partition("=")[0] for word in typed if is_axis(word)]
    return "-".join([file_name("-".join(axes) or "sweep"), hash_of(typed)])


def cell_name(overrides: Sequence[str], sweep_folder: str) -> str:
    """Returns the name of a cell's folder: its values on the sweep's axes."""
    overrides = as_typed(overrides)
    try:
        axes = json.loads((Path(sweep_folder) / LEDGER).read_text(encoding="utf-8"))["axes"]
    except FileNotFoundError:  # the command is only composed, not run
        axes = dict.fromkeys(word.partition("=")[0] for word in overrides)
    chosen = [word for word in overrides if word.partition("=")[0].lstrip("+") in axes]
    return file_name("-".join(sorted(chosen)).replace("=", "_") or "cell")


def file_name(text: str) -> str:
    """Turns text into the name of a folder without letters that mean something to a shell or to Hydra.

    A name that had to be changed or cut ends in a hash, so that different texts have different names.

    >>> file_name("fusion_sum-layer_conv3")
    'fusion_sum-layer_conv3'
    >>> file_name("data.root_/videos")
    'data.root__videos-9c7cd282'
    """
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", text.lstrip("."))[:100]
    return safe if safe == text else f"{safe}-{hash_of(text)}"


def as_typed(overrides: Any) -> list[str]:
    """Returns overrides with their `${…}` unresolved."""
    return OmegaConf.to_container(overrides, resolve=False) if OmegaConf.is_config(overrides) else list(overrides)  # type: ignore[return-value]


def hash_of(value: Any) -> str:
    """Returns a hash, of eight hexadecimal digits, of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]


def is_axis(word: str) -> bool:
    """Whether an override has several values."""
    return OverridesParser.create().parse_override(word).is_sweep_override()


def plan(overrides: Sequence[str]) -> tuple[dict[str, list[str]], list[dict[str, str]], dict[str, str]]:
    """Returns, by Hydra's grammar, the axes of a sweep with their values, its cells, and what all cells share.

    >>> axes, cells, fixed = plan(["fusion=sum,max", "seed=range(2)", "epochs=3"])
    >>> axes, fixed
    ({'fusion': ['sum', 'max'], 'seed': ['0', '1']}, {'epochs': '3'})
    """
    axes, fixed = {}, {}
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        name = override.get_key_element().lstrip("+")
        for earlier in (axes, fixed):
            earlier.pop(name, None)  # the last one counts
        if override.is_sweep_override():
            axes[name] = list(override.sweep_string_iterator())
        else:
            fixed[name] = override.get_value_element_as_str()
    cells = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    return axes, cells, fixed


class Ledger(Callback):
    """Checks a command before anything begins, and writes the plan of a sweep into its folder.

    Ends the program itself on an error, since Hydra would only warn and go on.
    """

    ended: Path | None = None  # the folder of the sweep that this process has run
    failed: tuple[str, ...] = ()  # cells of it that ended with an error here

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        try:
            check_values(cfg := without_hydra(config))
            check_new(cfg, Path(config.hydra.run.dir) / "results.json")
            require_folder("hydra.run.dir", config.hydra.run.dir)
        except (UserError, ExpectedError, ValueError) as error:
            end_with(error)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        try:
            check_cells(config)
            self._write(config)
        except (UserError, ExpectedError, ValueError) as error:
            end_with(error)
        except Exception as error:
            end_with(error, "the plan of the sweep: ")

    def _write(self, config: DictConfig) -> None:
        folder = Path(config.hydra.sweep.dir)
        require_folder("hydra.sweep.dir", folder)
        typed, params = as_typed(config.hydra.overrides.task), config.hydra.sweeper.get("params") or {}
        if config.hydra.sweeper._target_ == BASIC_SWEEPER:
            axes, cells, fixed = plan([*(f"{key}={value}" for key, value in params.items()), *typed])
        else:  # this sweeper chooses values as it goes
            swept = [word.partition("=")[0].lstrip("+") for word in typed if is_axis(word)]
            axes, cells, fixed = {str(axis): [] for axis in (*params, *swept)}, [], {}
        write_json(folder / LEDGER, {"command": this_command(), "axes": axes, "cells": cells, "fixed": fixed})
        Ledger.ended, Ledger.failed = None, ()
        os.environ.setdefault("WANDB_RUN_GROUP", folder.name)  # for processes that are started for cells, too

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        Ledger.ended = Path(config.hydra.sweep.dir)


def check_cells(config: DictConfig) -> None:
    """Raises UserError for options that do not exist, and ValueError for a wrong value, before the first cell begins.

    Checks the values of each axis in the configuration of the first cell. If another axis chooses what they belong to,
    each cell checks its own values when it begins. Checks the paths of the first cell alone.
    """
    params, typed = config.hydra.sweeper.get("params") or {}, as_typed(config.hydra.overrides.task)
    if config.hydra.sweeper._target_ != BASIC_SWEEPER:
        return  # this sweeper chooses values as it goes
    parsed = OverridesParser.create().parse_overrides([*(f"{key}={value}" for key, value in params.items()), *typed])
    axes = [override for override in parsed if override.is_sweep_override()]
    for axis in axes:
        known = GlobalHydra.instance().config_loader().get_group_options(axis.key_or_group)  # none of a plain value
        for text in axis.sweep_string_iterator():
            if known and text not in known:
                cell_config(config, [f"{axis.get_key_element()}={text}"])
    first: list[Any] = [
        f"{o.get_key_element()}={next(o.sweep_string_iterator())}" if o in axes else o.input_line for o in parsed
    ]
    cfg = without_hydra(cell_config(config, first))
    check_values(cfg)
    choosing = {override.get_key_element() for override in axes}
    for axis in axes:
        name = axis.get_key_element().lstrip("+")
        group, dot, _ = name.partition(".")
        if OmegaConf.select(cfg, name, default=axes) is axes or (dot and choosing & {group, "data", "experiment"}):
            continue
        for text in axis.sweep_string_iterator():
            cell = copy.deepcopy(cfg)
            OmegaConf.update(cell, name, OverridesParser.create().parse_override(f"{name}={text}").value())
            check_values(cell, only=[name])
            if name == "streams" and not choosing & {"data", "data.csv", "experiment"}:
                check_streams(cell)
    if config.hydra.launcher._target_ == BASIC_LAUNCHER:  # others may run where the data are
        check_new(cfg, Path(config.hydra.sweep.dir) / LEDGER)


def check_new(cfg: DictConfig, left: Path) -> None:
    """Raises ValueError or ExpectedError for a path that is not there, unless an earlier run has `left` its file.

    What is finished is not read again.
    """
    with suppress(InterpolationResolutionError):  # only a run knows `${hydra:…}`, and finds what is not there
        if not left.exists():
            check_paths(cfg)


def cell_config(config: DictConfig, overrides: list[str]) -> DictConfig:
    """Returns the configuration of a cell. Raises UserError if Hydra cannot compose it, as it later would."""
    try:
        with naming_options(UserError):
            return GlobalHydra.instance().config_loader().load_sweep_config(config, overrides)
    except HydraException as error:
        raise UserError(one_line(error)) from None


def without_hydra(config: DictConfig) -> DictConfig:
    """Returns the configuration of the run without that of Hydra."""
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])


OmegaConf.register_new_resolver("sweep_name", sweep_name, use_cache=True, replace=True)
OmegaConf.register_new_resolver("cell_name", cell_name, replace=True)
