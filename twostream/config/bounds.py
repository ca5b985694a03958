"""Configuration -> a warning where what is said of the embedded data set does not hold."""

from __future__ import annotations

from hydra.utils import instantiate
from omegaconf import DictConfig

from twostream.config.compose import streams_of
from twostream.data.bounds import beyond_bounds
from twostream.data.dataset import Sampling
from twostream.data.sources.moving_patterns import MovingPatterns

EMBEDDED = f"{MovingPatterns.__module__}.{MovingPatterns.__qualname__}"
CLIP = ("task", "frames", "chunks")  # of cfg.data: what the length of a clip follows from


def cautions(cfg: DictConfig, sampling: Sampling | None = None) -> list[str]:
    """One line for each claim about the data that a test with these views (None: the run's own) does not keep."""
    if cfg.data._target_ != EMBEDDED or ("rgb" not in streams_of(cfg) and cfg.data.task == "motion"):
        return []  # flow shows everything but the pattern, whatever its views
    known = {key: cfg.data[key] for key in CLIP if key in cfg.data}
    found = beyond_bounds(sampling or instantiate(cfg.sampling), cfg.flow.length, **known)
    return [] if found is None else [found]
