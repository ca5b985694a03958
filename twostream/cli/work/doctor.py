"""Checks this machine, and whether its decoders return the right frames."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import tempfile
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from twostream.data.decoding import DECODERS, VideoError, check_close, check_decoder, iterate_frames, read_frames
from twostream.data.sources.moving_patterns import MovingPatterns
from twostream.data.tasks import available_cores
from twostream.files.errors import first_line
from twostream.files.video_files import near, videos_below
from twostream.runs.results import versions
from twostream.training.wandb_account import has_key

EXTRAS = ("timm", "torchcodec", "tensorboard", "ray")
WIDTH = 100  # columns
SHOWN = 5  # failed files that are named for each decoder
LONGEST = 400  # frames of a clip that are decoded at most
CLIP = 5 * (3 + 2 * 10) * 224 * 224  # bytes of a clip of 5 frames and 5 stacks of 10 fields
COMPARED = 9  # frames of a clip that are compared, spread from the first to the last


def report(paths: Sequence[Path], *, most: int = 5) -> Iterator[str]:
    """Yields the lines of the report, with checks of the videos in `paths`, of each folder in it the first `most`.

    Contains no secrets, and uses no network.
    """
    installed = ", ".join(f"{name} {version}" for name, version in versions().items())
    yield from textwrap.wrap(f"versions     {installed}", WIDTH, subsequent_indent=" " * 13)
    yield f"system       {platform.system()} {platform.release()}, {platform.machine()}, {available_cores()} cores"
    yield f"GPU          {gpus()}"
    yield f"limits       {limits()}"
    extras = [f"{name} {version_of(name)}" for name in EXTRAS]
    yield f"extras       {', '.join(extras)}; ffmpeg {'found' if shutil.which('ffmpeg') else 'not found'}"
    contributed = "TV-L1" if hasattr(cv2, "optflow") else "no TV-L1 (needs opencv-contrib-python-headless)"
    yield f"flow         OpenCV {cv2.__version__}: DIS, Farneback, {contributed}"
    yield f"W&B          {wandb_state()}"
    with tempfile.TemporaryDirectory() as folder:
        found = [videos_in(path) for path in paths]
        clips = [clip for videos in found for clip in videos[:most]]
        if not paths:
            clips = [video.path for video in MovingPatterns(folder, split=1, train_clips=16, test_clips=16).train[:2]]
        what = "yours" if paths else "rendered; name videos or folders to check yours"
        if (others := sum(map(len, found)) - len(clips)) > 0:
            what += f"; {others:,} more are in the folders, --clips checks more of each"
        yield f"clips        {len(clips)} {what}"
        for name in DECODERS:
            verdict, wrong = exactness(name, clips)
            yield f"{name:<12} " + textwrap.shorten(verdict, WIDTH - 13, placeholder=" …")
            for line in wrong[:SHOWN]:
                yield from textwrap.wrap(line, WIDTH, initial_indent=" " * 13, subsequent_indent=" " * 15)


def videos_in(path: Path) -> list[Path]:
    """Returns the videos in a folder, or a video that is named. Raises ValueError for a path that does not exist."""
    if not path.exists():
        raise ValueError(f"{path}: no such file or folder{near(path)}")
    return [path / name for name in sorted(videos_below(path, path))] if path.is_dir() else [path]


def exactness(decoder: str, clips: Sequence[Path]) -> tuple[str, list[str]]:
    """Compares frames that a decoder reads by index with those that PyAV decodes from the start of the video.

    Returns the verdict, and a line for each clip with wrong frames.
    """
    try:
        check_decoder(decoder)
    except ImportError as error:
        return f"not there ({first_line(error)[:80]})", []
    worst, frames, wrong = 0.0, 0, []
    for path in clips:
        try:
            wanted = [frame for _, frame in zip(range(LONGEST), iterate_frames(path, decoder="pyav"), strict=False)]
            indices = np.unique(np.linspace(0, len(wanted) - 1, COMPARED).astype(int))
            for index, frame in zip(indices, read_frames(path, indices, decoder=decoder), strict=True):
                check_close(path, decoder, index, frame, wanted[index])
                worst = max(worst, float(np.abs(frame.astype(np.int16) - wanted[index]).mean()))
                frames += 1
        except (VideoError, IndexError) as error:
            wrong.append(f"{path.name}: {getattr(error, 'reason', error)}")
    text = f"exact: {frames} frames, differs by at most {worst:.3f} grey levels" if frames else "no frame read"
    return text + (f"; not {len(wrong)} of {len(clips)} clips:" if wrong else ""), wrong


def gpus() -> str:
    """Returns names and memory of the GPUs."""
    if not torch.cuda.is_available():
        return "none that PyTorch can use" + (f" (built for CUDA {torch.version.cuda})" if torch.version.cuda else "")
    devices = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    names = [f"{device.name}, {device.total_memory / 2**30:.0f} GiB" for device in devices]
    return f"{'; '.join(names)}; CUDA {torch.version.cuda}, bf16 {torch.cuda.is_bf16_supported()}"


def limits() -> str:
    """Returns the memory that workers share, and how many files may be open."""
    parts = []
    if Path("/dev/shm").is_dir():
        usage = shutil.disk_usage("/dev/shm")
        room = f"{usage.free // CLIP:,} clips of T=5, L=10 at 224"
        parts.append(f"/dev/shm {usage.free / 2**30:.1f} of {usage.total / 2**30:.1f} GiB free ({room})")
    try:
        import resource

        parts.append(f"{resource.getrlimit(resource.RLIMIT_NOFILE)[0]:,} open files")
    except ImportError:  # Windows
        pass
    return ", ".join(parts) or "unknown"


def version_of(package: str) -> str:
    """Returns the version of a package, or "no"; imports nothing."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "no"


def wandb_state() -> str:
    """Says whether runs would be sent to W&B; asks nothing and sends nothing."""
    if os.environ.get("WANDB_MODE"):
        return f"WANDB_MODE={os.environ['WANDB_MODE']}"
    if has_key():
        kind = "an API key is in the environment" if os.environ.get("WANDB_API_KEY") else "logged in"
        return f"{kind}: runs are sent"
    return "no account: runs stay on this machine, as with logger.wandb.mode=offline"
