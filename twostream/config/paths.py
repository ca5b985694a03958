"""Whether the files and folders that a configuration names are there, told before PyTorch is imported.

Each is judged by the function that also judges it where it is read.
"""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from twostream.config.compose import streams_of
from twostream.config.starts import backbone_config, start_of
from twostream.config.streams import check_streams
from twostream.config.taught import as_seen
from twostream.config.trust import code_of, is_below
from twostream.data.storage.absent import packed_folder, require_packed, require_store
from twostream.files.weights import require_weights
from twostream.options import Value, read_table
from twostream.runs.data_values import which_videos


def check_paths(cfg: DictConfig) -> None:
    """Raises ValueError or ExpectedError for the first stream or path that a run cannot read, as it is not there."""
    check_streams(cfg)
    check_weight_files(cfg)
    check_stores(as_seen(cfg))
    check_videos(cfg)


def check_weight_files(cfg: DictConfig) -> None:
    """Raises ValueError for weights to start from that are not there."""
    for stream in streams_of(cfg):
        known = read_table().get(backbone_config(cfg, stream)["_target_"], {}).get("weights")
        start = start_of(cfg, stream)
        if isinstance(known, Value) and start not in (None, "imagenet"):
            require_weights(str(start), [name for name in known.rule.choices if name is not None])


def check_stores(cfg: DictConfig) -> None:
    """Raises ValueError or ExpectedError if the flow store or the packed frames are not there."""
    if cfg.flow.store and "flow" in streams_of(cfg):
        require_store(Path(cfg.flow.store).expanduser())
    if (folder := packed_frames(cfg)) is not None:
        require_packed(folder)


def check_videos(cfg: DictConfig) -> None:
    """Raises ValueError if the folder of the videos, or the files that list them, are not there."""
    if not is_below(str(cfg.data["_target_"]), "twostream"):
        return  # the user's own data set: importing it may import anything
    require = getattr(code_of(cfg.data), "require_paths", None)
    if require is not None:  # rendered videos need no folder
        require(**{name: value for name, value in which_videos(cfg.data).items() if not str(name).startswith("_")})


def packed_frames(cfg: DictConfig) -> Path | None:
    """Returns the folder of packed frames; None if frames are decoded from the videos."""
    if cfg.data.get("frames") != "packed":
        return None
    return Path(packed_folder(cfg.data.packed, cfg.data.root)).expanduser()
