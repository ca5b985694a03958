"""What to evaluate, and how: all that can be checked before PyTorch is imported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twostream.config.compose import streams_of
from twostream.config.older import is_multi
from twostream.config.paths import check_stores, check_videos
from twostream.config.saved import change_config, differing_parts, errors_name_file, load_config
from twostream.options import check_plain


@dataclass(frozen=True)
class Plan:
    """What to evaluate, and how. None means: as the run was configured. See `twostream evaluate --help`."""

    protocol: str = "train"
    part: str = "test"
    split: int | None = None
    root: str | None = None
    settings: Sequence[str] = ()
    allow_leak: bool = False
    views_per_batch: int | None = None
    batch_size: int | None = None
    workers: int | None = None
    accelerator: str = "auto"
    devices: int = 1
    precision: str | None = None
    trust: Sequence[str] = ()
    streams: bool = False

    def __post_init__(self) -> None:
        for name, least in (("views_per_batch", 1), ("batch_size", 1), ("workers", -1), ("devices", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name}={value!r}: must be at least {least}")
        if self.precision is not None:
            check_plain("precision", self.precision)

    def changed(self, cfg: Any) -> Any:
        """Returns the configuration of a run with what the plan changes. Raises ValueError for what may not change."""
        settings = [*self.settings]
        settings += [] if self.root is None else [f"data.root={self.root}"]
        settings += [] if self.split is None else [f"split={self.split}"]
        changed = change_config(cfg, settings, trust=self.trust)
        if is_multi(changed) != is_multi(cfg):
            raise ValueError(
                f"data.labels={changed.data.labels}: the run was trained with data.labels={cfg.data.labels}"
            )
        return changed

    def check(self, folder: Path) -> None:
        """Raises ValueError or ExpectedError if videos, flow, packed frames or streams for this are not there."""
        cfg = self.changed(load_config(folder, trust=self.trust))
        with errors_name_file(folder):
            if self.streams and is_multi(cfg):
                raise ValueError("--streams: counts right videos, which have one label each; here data.labels=multi")
            if self.streams and len(found := streams_of(cfg)) < 2:
                raise ValueError(f"--streams: the run has one stream, {', '.join(found)}; replacing one takes two")
            check_videos(cfg)
            check_stores(cfg)


def of_splits(folders: Sequence[Path], splits: Sequence[int], *, trust: Sequence[str] = ()) -> list[Path]:
    """Returns the run folders in the order of `splits`.

    Raises ValueError unless there is one run of each split, and all are of the same network.
    """
    configs = {folder: load_config(folder, trust=trust) for folder in folders}
    found = sorted(int(cfg.split) for cfg in configs.values())
    if found != sorted(set(splits)) or not len(splits) == len(folders) == len(configs):
        wanted, there = (", ".join(map(str, numbers)) for numbers in (splits, found))
        raise ValueError(f"--splits {wanted}: needs one run folder of each; these are of {there}")
    first = configs[folders[0]]
    for folder, cfg in configs.items():
        if differing := differing_parts(first, cfg):
            raise ValueError(f"{folders[0]} and {folder} are not the same network: they differ in {differing[0]}")
    return sorted(folders, key=lambda folder: list(splits).index(configs[folder].split))
