"""The task that Hydra runs for `twostream train`."""

from __future__ import annotations

import logging
import os
import sys

import hydra
from omegaconf import DictConfig

from twostream.launch.command import notes_errors
from twostream.launch.ranks import STARTED_BY
from twostream.options import conf_folder
from twostream.training.ranks import rank_of

LOADING = "The configuration is read. Loading PyTorch, which takes some seconds …"


@hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="config")
@notes_errors
def main(cfg: DictConfig) -> float | None:
    """Does one run, or one cell of a sweep; Hydra has composed its configuration, and `notes_errors` checked it."""
    say_loading()
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # it would tell of its fonts
    from twostream.train import run

    return run(cfg)


def say_loading() -> None:
    """Says why nothing happens for some seconds, once: PyTorch is imported next, unless it is there already."""
    if "torch" not in sys.modules and STARTED_BY not in os.environ and not rank_of(os.environ):
        print(LOADING, flush=True)
