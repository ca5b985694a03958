"""Composes one configuration from what the user typed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from twostream.config.trust import find_own_code, search_plugins
from twostream.config.typed import check_single, naming_options
from twostream.config.values import check_choices, check_values
from twostream.options import conf_folder
from twostream.options.streams import COMPUTED, in_order

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")  # of a stream: its tower is a module of that name
# names of other parts and attributes of networks, and of columns that are no streams
TAKEN = (
    *("align", "fusion", "fusions", "fused", "heads", "late", "layers", "streams", "two_towers"),
    *("video", "label", "group", "split", "fold", "both", "training", "stream", "align_back", "fusions_back"),
)


def compose_config(overrides: Sequence[str], *, config_dir: str | Path | None = None) -> DictConfig:
    """Returns the configuration that `python train.py <overrides>` runs with; `config_dir`: as its `--config-dir`.

    Raises ValueError if `config_dir` is no folder, and for a value that its option may not have.
    """
    search_plugins()
    check_choices(overrides)
    further = []
    if config_dir is not None:
        if not Path(config_dir).is_dir():
            raise ValueError(f"--config-dir {config_dir}: no such folder")
        further = [f"hydra.searchpath=[{quoted(f'file://{Path(config_dir).absolute()}')}]"]
    check_single(overrides, "choose one")
    with initialize_config_dir(str(conf_folder()), version_base="1.3"), naming_options(ValueError):
        cfg = compose("config", overrides=[*overrides, *further], return_hydra_config=False)
    find_own_code(OmegaConf.to_container(cfg))
    check_values(cfg)
    return cfg


def run_in(folder: Path) -> str:
    r"""Returns the override that makes `folder`, whatever its name, the folder of the run.

    >>> run_in(Path("/it's ${here}"))
    "hydra.run.dir='/it\\'s \\${here}'"
    """
    return f"hydra.run.dir={quoted(str(folder))}"


def quoted(text: str) -> str:
    """Returns text in quotes, as a value in Hydra's grammar."""
    ends = re.sub(r"\\*(?='|$)", lambda found: 2 * found[0], text)  # only there Hydra reads a backslash as an escape
    return "'{}'".format(ends.replace("'", r"\'").replace("${", r"\${"))


def streams_of(cfg: DictConfig) -> tuple[str, ...]:
    """Returns the wanted streams, RGB first and flow last. Raises ValueError unless they are one or two names."""
    wanted = names_of(cfg.streams)
    if len({*wanted}) < len(wanted):
        raise ValueError(f"streams={cfg.streams!r}: name each stream once")
    computed = ", ".join(COMPUTED)
    for name in wanted or [""]:
        if name not in COMPUTED and (not NAME.fullmatch(name) or name in TAKEN):
            raise ValueError(f"streams={cfg.streams!r}: {name!r} is no name of a stream; choose from {computed}")
    if len(wanted) > 2:
        raise ValueError(
            f"streams={list(wanted)}: a network has two towers at most; train others apart, and fuse their scores by "
            "`twostream fuse`"
        )
    return in_order(wanted)


def names_of(value: Any) -> tuple[str, ...]:
    """Returns the names in a value as it is typed: one name, several, or none (null).

    >>> names_of("rgb"), names_of(["rgb", "flow"]), names_of(None)
    (('rgb',), ('rgb', 'flow'), ())
    """
    return (value,) if isinstance(value, str) else tuple(value or ())
