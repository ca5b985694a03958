"""Configuration -> a warning if claims about the embedded data set do not hold for it."""

from __future__ import annotations

from hydra.utils import instantiate
from omegaconf import DictConfig

from twostream.config.sampling import span_in
from twostream.config.streams import streams_in
from twostream.data.bounds import beyond_bounds
from twostream.data.sampling import Sampling
from twostream.data.sources.moving_patterns import MovingPatterns

EMBEDDED = f"{MovingPatterns.__module__}.{MovingPatterns.__qualname__}"
CLIP = ("task", "frames", "chunks")  # of cfg.data: values that determine the length of a clip


def cautions(cfg: DictConfig, sampling: Sampling | None = None) -> list[str]:
    """Returns a line for each claim about the data that is false in a test with `sampling` (None: the run's own)."""
    moves = all(stream.length for stream in streams_in(cfg))
    if cfg.data["_target_"] != EMBEDDED or (moves and cfg.data.task == "motion"):
        return []  # flow shows everything but the pattern, with any views
    known = {key: cfg.data[key] for key in CLIP if key in cfg.data}
    shown: Sampling = sampling or instantiate(cfg.sampling)
    found = beyond_bounds(shown, span_in(cfg, shown), **known)
    return [] if found is None else [found]
