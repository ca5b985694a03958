"""Configuration of a run -> the view of a video that its network takes."""

from __future__ import annotations

from hydra.utils import instantiate
from omegaconf import DictConfig

from twostream.config.data import build_flow, build_transform
from twostream.config.streams import streams_in
from twostream.data.windows import View


def build_view(cfg: DictConfig) -> View:
    """Returns one view, as in validation: the central crop, not mirrored. Flow is computed, never read from a store."""
    return View(
        sampling=instantiate(cfg.sampling, test_views=1),
        transform=build_transform(cfg, test="centre", test_flip=False),
        flow=build_flow(cfg),
        streams=streams_in(cfg),
    )
