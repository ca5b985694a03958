"""`results.json`: the settings and the results of one run."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from math import isfinite
from pathlib import Path
from typing import Any

from twostream.files.atomic import atomic_file
from twostream.files.json_yaml import read_json

PACKAGES = (
    "twostream",
    "torch",
    "torchvision",
    "pytorch-lightning",
    "torchmetrics",
    "hydra-core",
    "wandb",
    "decord",
    "decord2",
    "av",
    "opencv-contrib-python-headless",
    "numpy",
)

NUMBER = (float, None)  # JSON has neither infinity nor NaN: both are written as null
LISTS = {str: {"!videos": int, "!fingerprint": str}}
TEACHER = {"!run": str, "!streams": [str], "!weights": str, "!settings": str, "!layer": str, "!weight": float}
RESULTS = {  # what readers may rely on; see `has_shape`
    "choices": {str: (str, None)},
    "layer": (str, [str]),
    "split": int,
    "seed": int,
    "data": LISTS,
    "!metrics": {str: NUMBER},
    "weights": ({str: str}, None),
    "teacher": (TEACHER, None),  # of distill.from
    "class_weights": ({str: NUMBER}, None),
    "focal": NUMBER,
    "sampler": (str, None),
    "validation": NUMBER,
    "probe": ({str: NUMBER}, None),
    "epochs": int,
    "steps": int,
    "batch_size": int,
    "accumulate": (int, str),
    "skipped_steps": int,
    "flow_reading": (int, None),  # the version by which fields of a store were read; None: computed
    "unreadable": ({str: [str]}, None),
    **dict.fromkeys(("leaked", "leaked_validation", "parameters", "flops", "seconds"), NUMBER),
    **dict.fromkeys(("clips_per_second", "test_videos_per_second"), NUMBER),  # of training, of the test
    "cautions": ([str], None),
    "overrides": [str],
    "cell": str,
    "versions": {str: str},
    "git": (str, None),
}


def write_json(path: Path, content: Any) -> None:
    """Writes indented JSON, atomically; see `write_text`."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes to a temporary name, then renames the file, so that a partial file never looks whole."""
    with atomic_file(path) as aside:
        aside.write_text(text, encoding="utf-8", errors="replace")  # a file name need not be UTF-8


def worse_than_probe(metrics: Mapping[str, Any], probe: Mapping[str, Any] | None) -> list[tuple[str, float, float]]:
    """Returns (metric, trained, before) for each accuracy that is lower than that of the probe training started from.

    >>> worse_than_probe({"test/top1": 0.5, "test/mean_class": 0.4}, {"top1": 0.5, "mean_class": 0.6})
    [('test/mean_class', 0.4, 0.6)]
    """
    worse = []
    for name, then in (probe or {}).items():
        now = metrics.get(f"test/{name}")
        if name != "loss" and now is not None and then is not None and now < then - 1e-9:
            worse.append((f"test/{name}", now, then))
    return worse


def read_results(folder: Path) -> dict[str, Any] | None:
    """Returns `results.json` of a run folder, or None if there is none. Raises ValueError if it is damaged."""
    try:
        return read_json(folder / "results.json", RESULTS, what="no results of a run")
    except FileNotFoundError:
        return None


def validation_accuracy(folder: Path) -> float | None:
    """Returns the best validation accuracy of a run, which a sweeper optimises; None if there are no results."""
    with suppress(ValueError):  # damaged results of a run that another process is repeating
        return (read_results(folder) or {}).get("validation")
    return None


def finite_or_none(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """Returns metrics with None in place of infinity and NaN.

    >>> finite_or_none({"test/top1": 0.5, "test/loss": float("nan")})
    {'test/top1': 0.5, 'test/loss': None}
    """
    return {name: float(value) if isfinite(value) else None for name, value in metrics.items()}


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the installed packages that results may depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def git_revision(folder: Path) -> str | None:
    """Returns the commit of the code in `folder`, with `-dirty` if a tracked file changed; None outside a clone."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
