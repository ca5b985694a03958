"""Checks a composed configuration by the table of `twostream.options`, before anything is built from it."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError

from twostream.files.errors import UserError
from twostream.options import conf_folder, examine, shown
from twostream.options.help import read_groups

OPTIONAL = ("experiment", "speed", "backbone@flow_backbone")  # groups that may have no option; Hydra accepts no null


def check_values(cfg: DictConfig, only: Collection[str] | None = None) -> None:
    """Raises ValueError that names the first wrong value and what it may be; turns paths typed as numbers into text.

    Raises ValueError also for values that cannot go together, whatever else is chosen. With `only`, checks just the
    values with these names, or below them.
    """
    try:
        values: Any = OmegaConf.to_container(cfg, resolve=True)
    except InterpolationResolutionError:  # only a run knows `${hydra:…}`, and checks it
        values = OmegaConf.to_container(cfg, resolve=False)
    for name, value, error in examine(values):
        if isinstance(value, str) and "${" in value:
            continue
        if only is not None and not any(name == one or name.startswith(f"{one}.") for one in only):
            continue
        if error is not None:
            raise ValueError(error)
        typed = OmegaConf.select(cfg, name)
        if (OmegaConf.to_container(typed, resolve=True) if OmegaConf.is_config(typed) else typed) != value:
            OmegaConf.update(cfg, name, value)
    if cfg.get("checkpointing") is True and cfg.get("compile") is True:
        raise ValueError("checkpointing=true: the compiler cannot follow it; choose compile=false")


def check_choices(words: Sequence[str]) -> None:
    """Raises ValueError if the option of a group is no name (`optimizer=null`), or several where only one is allowed.

    Leaves words that are no overrides, and names that no group has, for Hydra to judge.
    """
    groups = read_groups(conf_folder())
    for word in words:
        key, equals, _ = word.partition("=")
        if not equals or key not in groups:
            continue
        parser = OverridesParser.create()
        try:
            override = parser.parse_override(word)
            swept = list(override.sweep_string_iterator()) if override.is_sweep_override() else []
            values = [parser.parse_override(f"{key}={text}").value() for text in swept] or [override.value()]
        except HydraException:  # not an override
            continue
        for value in values:
            several = isinstance(value, list) and key != "logger"  # Hydra would merge them into a mixture
            if several or not isinstance(value, str | list | dict):
                names = sorted(file.stem for file in (conf_folder() / key.partition("@")[0]).glob("*.yaml"))
                otherwise = "; or leave it out" if key in OPTIONAL else ""
                raise ValueError(f"{key}={shown(value)}: choose from {', '.join(names)}{otherwise}")


def require_folder(option: str, path: str | Path) -> None:
    """Makes the folder of a run or sweep. Raises UserError if it cannot be made, or cannot be written to."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(0, "no permission to write there")
    except OSError as error:
        shown = text if len(text := str(path)) <= 100 else f"{text[:97]}..."
        message = f"{option}={shown}: {error.strerror}; must be a folder that can be made, or written to"
        raise UserError(message) from None
