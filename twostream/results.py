"""`results.json`: what one run was and what came out of it."""

from __future__ import annotations

import json
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from twostream.whole import whole

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


def write_json(path: Path, content: Any) -> None:
    """As text, indented; see `write_text`."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write aside, then rename: a partial file never looks whole."""
    with whole(path) as aside:
        aside.write_text(text, encoding="utf-8")


def read_results(folder: Path) -> dict[str, Any] | None:
    """`results.json` of a run folder; None where it is not there. Raises ValueError for a damaged one."""
    path = folder / "results.json"
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read ({error})") from None
    if not isinstance(results, dict) or not isinstance(results.get("metrics"), dict):
        raise ValueError(f"{path}: no results of a run")
    return results


def validation_accuracy(folder: Path) -> float | None:
    """The best that a run reached, by which a sweeper chooses what to try next; None where there are no results."""
    return (read_results(folder) or {}).get("validation")


def versions() -> dict[str, str]:
    """Of Python and of the installed packages that a number may depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def git_revision(folder: Path) -> str | None:
    """The commit of the code in `folder`, with `-dirty` if a tracked file was changed; None outside a clone."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
