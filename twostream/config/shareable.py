"""Makes a configuration that can be given to others: without paths and accounts of this machine."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from omegaconf import DictConfig, OmegaConf

# Paths on this machine, and accounts: useless elsewhere, and private.
PRIVATE = (
    "data.root",
    "data.csv",
    "data.lists",
    "data.packed",
    "flow.store",
    "init.rgb",
    "init.flow",
    "distill.from",
    "backbone.weights",
    "flow_backbone.weights",
    "logger",
    "hydra",
)
PUBLISHED = ("imagenet", "imagenet_v2", "kinetics", "kinetics_imagenet22k", "default")  # names of weights, no paths


def shareable_config(cfg: DictConfig) -> dict[str, Any]:
    """Returns the resolved values without private ones; of absolute paths, only the last part stays."""
    values: Any = OmegaConf.to_container(cfg, resolve=True)
    for name in PRIVATE:
        *groups, key = name.split(".")
        holder = values
        for group in groups:
            holder = (holder or {}).get(group)
        if holder and key in holder and holder[key] not in PUBLISHED:
            holder[key] = None
    return without_paths(values)


def shareable_overrides(overrides: Sequence[str]) -> list[str]:
    """Returns what was typed, without what `shareable_config` leaves out.

    >>> shareable_overrides(["data=ucf101", "data.root=videos", "layer=[conv4,conv5]", "init={rgb:runs/7}", "x=[/a]"])
    ['data=ucf101', 'layer=[conv4,conv5]']
    """
    return [override for override in overrides if not _private(*override.lstrip("+~").partition("=")[::2])]


def shareable_results(results: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the content of `results.json` without private overrides; of absolute paths, only the last part stays."""
    return without_paths({**results, "overrides": shareable_overrides(results.get("overrides", []))})


def _private(key: str, value: str) -> bool:
    inside = any(key == name or key.startswith(f"{name}.") for name in PRIVATE)
    around = "{" in value and any(name.startswith(f"{key}.") for name in PRIVATE)  # init={rgb:…,flow:…}
    path = re.search(r"""(^|[\[{,:'"\s])(/|~|[A-Za-z]:\\|\\\\)""", value)
    return value not in PUBLISHED and bool(inside or around or path)


def without_paths(values: Any) -> Any:
    """Returns nested values in which only the last part of each absolute path stays.

    >>> without_paths({"a": ["/home/ada/x.pth", "C:\\\\ada\\\\y", "~/z", "val/top1"]})
    {'a': ['x.pth', 'y', 'z', 'val/top1']}
    """
    if isinstance(values, dict):
        return {key: without_paths(value) for key, value in values.items()}
    if isinstance(values, list):
        return [without_paths(value) for value in values]
    if isinstance(values, str) and (
        PurePosixPath(values).is_absolute() or values.startswith("~") or PureWindowsPath(values).is_absolute()
    ):
        return PureWindowsPath(values).name  # knows both kinds of slashes
    return values
