"""The task that Hydra runs for `twostream train`."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from twostream.launch.command import notes_errors
from twostream.options import conf_folder


@hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="config")
@notes_errors
def main(cfg: DictConfig) -> float | None:
    """Does one run, or one cell of a sweep; Hydra has composed its configuration, and `notes_errors` checked it."""
    from twostream.train import run

    return run(cfg)
