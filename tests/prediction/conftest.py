"""A run folder with a network that was not trained, and a video with known motion."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from twostream.config.compose import compose_config
from twostream.config.run import build_system
from twostream.data.video_writer import Film

CLASSES = ("jump", "run", "wave")


@pytest.fixture(scope="session")
def make_run(tmp_path_factory) -> Callable[..., Path]:
    """Makes what train.py leaves of a run with the given options."""

    def make(*overrides: str) -> Path:
        folder = tmp_path_factory.mktemp("trained") / "run"
        cfg = compose_config(["sampling.num_chunks=2", "sampling.stride=[2,6]", "logger=csv", *overrides])
        torch.manual_seed(0)
        system = build_system(cfg, CLASSES)
        content = {"state_dict": system.state_dict()}
        system.on_save_checkpoint(content)
        (folder / "checkpoints").mkdir(parents=True)
        torch.save(content, folder / "checkpoints" / "best.ckpt")
        OmegaConf.save(cfg, folder / "config.yaml", resolve=True)
        return folder

    return make


@pytest.fixture(scope="session")
def run(make_run) -> Path:
    return make_run()


@pytest.fixture(scope="session")
def make_video() -> Callable[..., Path]:
    """Writes a video of a texture that moves to the right by `motion` pixels a frame, ten frames a second."""

    def make(path: Path, frames: int, *, motion: int = 2, height: int = 72, width: int = 96) -> Path:
        coarse = np.random.default_rng(0).integers(0, 255, (height // 6, width // 6, 3), dtype=np.uint8)
        texture = coarse.repeat(6, axis=0).repeat(6, axis=1)
        with Film(path, height=height, width=width) as film:
            for i in range(frames):
                film.write(np.roll(texture, motion * i, axis=1), i / 10)
        return path

    return make


@pytest.fixture(scope="session")
def video(make_video, tmp_path_factory) -> Path:
    return make_video(tmp_path_factory.mktemp("video") / "right.mp4", 24)
