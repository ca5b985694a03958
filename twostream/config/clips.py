"""Configuration -> the clips of some video files, cut as a network wants them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from twostream.config.data import build_flow, build_transform
from twostream.config.streams import streams_in
from twostream.data.dataset import ClipDataset
from twostream.data.frames import Decoded
from twostream.data.sources import Video


def build_clips(cfg: DictConfig, paths: Sequence[Path], *, one_view: bool = True) -> ClipDataset:
    """Returns the clips of `paths`, all with label 0: the centre of each video and frame, or all views of the test."""
    centre: dict[str, Any] = {"test": "centre", "test_flip": False} if one_view else {}
    return ClipDataset(
        [Video(str(path), path, label=0, group="") for path in paths],
        sampling=instantiate(cfg.sampling, **({"test_views": 1} if one_view else {})),
        transform=build_transform(cfg, **centre),
        flow=build_flow(cfg),
        frame_source=Decoded(cfg.decoder),
        streams=streams_in(cfg),
    )
