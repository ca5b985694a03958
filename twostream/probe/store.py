"""Stores computed features: one small file for each video, in a folder for everything else that they depend on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import nn

from twostream.data.provenance import FRAMES_VERSION
from twostream.data.sources import Video
from twostream.files.atomic import atomic_file

VERSION = 1  # of the code here and in `features.py`: raise it when the same network and videos give other features

Features = dict[str, Float[np.ndarray, "v d"]]  # of one video: {stream: a row a view}


class FeatureStore:
    """Reads and writes the features of single videos.

    - `settings`: plain values that the features of every video depend on.
    - `files`: returns the files that a video's features are computed from. Each is known by its path, size and time of
      change.

    A damaged file of features counts as missing.
    """

    def __init__(self, root: Path, settings: Mapping[str, Any], files: Callable[[Video], Sequence[Path]]) -> None:
        whole_settings = {**settings, "version": VERSION, "frames": FRAMES_VERSION}
        self.folder = root / "features" / digest(json.dumps(whole_settings, sort_keys=True, default=str))
        self.files = files

    def read(self, video: Video, streams: Sequence[str]) -> Features | None:
        """Returns the stored features of a video as it is now, or None if any of them is missing."""
        try:
            with np.load(self.path(video), allow_pickle=False) as file:
                return {stream: file[stream] for stream in streams}
        except Exception:  # the file is absent, or damaged in any way
            return None

    def write(self, video: Video, features: Features) -> None:
        """Writes the features of a video aside, then renames the file."""
        path = self.path(video)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path, tidy=False) as aside, aside.open("wb") as file:
            np.savez(file, **features)  # type: ignore[arg-type]

    def path(self, video: Video) -> Path:
        """Returns the file of a video's features, whose name depends on the present state of the video's files.

        Raises OSError if one of the video's files is absent.
        """
        facts = []
        for path in self.files(video):
            stat = os.stat(path)
            facts.append([os.path.realpath(path), stat.st_size, stat.st_mtime_ns])
        return self.folder / f"{digest(json.dumps(facts))}.npz"


def network_digest(network: nn.Module, ignore: Sequence[str]) -> str:
    """Returns a digest of a network's structure, weights and statistics.

    Modules in `ignore`, by their dotted names, are left out.
    """
    found = hashlib.sha256()
    for name, module in network.named_modules():
        if any(f"{name}.".startswith(f"{other}.") for other in ignore):
            continue
        found.update(f"{name} {type(module).__name__} {module.extra_repr()}".encode())
        own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        for tensor_name, tensor in own:
            found.update(f"{tensor_name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def digest(text: str) -> str:
    """Returns a digest that is short enough for the name of a file.

    >>> len(digest("any text"))
    32
    """
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]
