"""What the user typed -> one configuration."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from twostream.data.dataset import STREAMS

CAN_BE_LEFT_OUT = ("experiment", "backbone@flow_backbone")


def conf_folder() -> Path:
    """Where conf/ is: inside an installed package, or beside it in a clone."""
    package = Path(__file__).parents[1]
    return next(path for path in (package / "conf", package.parent / "conf") if path.is_dir())


def compose_config(overrides: Sequence[str]) -> DictConfig:
    """The configuration that `python train.py <overrides>` runs with."""
    check_options(overrides)
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return compose("config", overrides=list(overrides), return_hydra_config=False)


def check_options(words: Sequence[str]) -> None:
    """Raises ValueError for a group that is given no option, or several: Hydra would merge them into one of neither."""
    for word in words:
        key, _, value = word.lstrip("+").partition("=")
        folder = conf_folder() / key.partition("@")[0]
        none = value == "null" and key not in CAN_BE_LEFT_OUT
        several = value.startswith("[") and key != "logger"
        if (none or several) and folder.is_dir():
            options = ", ".join(sorted(path.stem for path in folder.glob("*.yaml")))
            raise ValueError(f"{word}: choose {'one or more' if key == 'logger' else 'one'} of {options}")


def run_in(folder: Path) -> str:
    r"""The override that makes a folder of any name that of the run.

    >>> run_in(Path("/it's ${here}"))
    "hydra.run.dir='/it\\'s \\${here}'"
    """
    ends = re.sub(r"\\*(?='|$)", lambda found: 2 * found[0], str(folder))  # only there a backslash is one of Hydra's
    return "hydra.run.dir='{}'".format(ends.replace("'", r"\'").replace("${", r"\${"))


def streams_of(cfg: DictConfig) -> tuple[str, ...]:
    """The wanted streams, in their usual order."""
    wanted = [cfg.streams] if isinstance(cfg.streams, str) else list(cfg.streams)
    for name in wanted or [""]:
        if name not in STREAMS:
            raise ValueError(f"streams={cfg.streams!r}: choose from rgb, flow, [rgb,flow]")
    return tuple(name for name in STREAMS if name in wanted)
