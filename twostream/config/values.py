"""The values of a composed configuration against the table of `twostream.options`, before anything is built of it."""

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

OPTIONAL = ("experiment", "backbone@flow_backbone")  # groups without an option; Hydra takes null for none of them


def check_values(cfg: DictConfig, only: Collection[str] | None = None) -> None:
    """Raises ValueError that names the first wrong value and what it may be; gives paths typed as numbers their names.

    With `only`, of the values with these names, or below them.
    """
    try:
        values: Any = OmegaConf.to_container(cfg, resolve=True)
    except InterpolationResolutionError:  # `${hydra:…}` is known in a run alone, where it is checked
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


def check_choices(words: Sequence[str]) -> None:
    """Raises ValueError for an option of a group that is no name (`optimizer=null`), or several, where there is one.

    Words that are no overrides, and names that no group has, are left for Hydra to judge.
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
        except HydraException:  # nothing that can be read
            continue
        for value in values:
            several = isinstance(value, list) and key != "logger"  # Hydra would merge them into one of neither
            if several or not isinstance(value, str | list | dict):
                names = sorted(file.stem for file in (conf_folder() / key.partition("@")[0]).glob("*.yaml"))
                otherwise = "; or leave it out" if key in OPTIONAL else ""
                raise ValueError(f"{key}={shown(value)}: choose from {', '.join(names)}{otherwise}")


def require_folder(option: str, path: str | Path) -> None:
    """Makes the folder of a run or sweep. Raises UserError where that cannot be, or nothing can be written into it."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(0, "no permission to write there")
    except OSError as error:
        shown = text if len(text := str(path)) <= 100 else f"{text[:97]}..."
        told = f"{option}={shown}: {error.strerror}; must be a folder that can be made, or written to"
        raise UserError(told) from None
