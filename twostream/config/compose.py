"""What the user typed -> one configuration."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from twostream.config.values import check_choices, check_values
from twostream.data.dataset import STREAMS
from twostream.options import conf_folder


def compose_config(overrides: Sequence[str]) -> DictConfig:
    """The configuration that `python train.py <overrides>` runs with. ValueError for a value that none may have."""
    check_choices(overrides)
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        cfg = compose("config", overrides=list(overrides), return_hydra_config=False)
    check_values(cfg)
    return cfg


def run_in(folder: Path) -> str:
    r"""The override that makes a folder of any name that of the run.

    >>> run_in(Path("/it's ${here}"))
    "hydra.run.dir='/it\\'s \\${here}'"
    """
    ends = re.sub(r"\\*(?='|$)", lambda found: 2 * found[0], str(folder))  # only there a backslash is one of Hydra's
    return "hydra.run.dir='{}'".format(ends.replace("'", r"\'").replace("${", r"\${"))


def streams_of(cfg: DictConfig) -> tuple[str, ...]:
    """The wanted streams, in their usual order."""
    wanted = names_of(cfg.streams)
    for name in wanted or [""]:
        if name not in STREAMS:
            raise ValueError(f"streams={cfg.streams!r}: choose from rgb, flow, [rgb,flow]")
    return tuple(name for name in STREAMS if name in wanted)


def names_of(value: Any) -> tuple[str, ...]:
    """One name, several, or none (null), as they are typed.

    >>> names_of("rgb"), names_of(["rgb", "flow"]), names_of(None)
    (('rgb',), ('rgb', 'flow'), ())
    """
    return (value,) if isinstance(value, str) else tuple(value or ())
