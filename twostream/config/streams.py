"""Configuration -> the descriptions of its streams."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig

from twostream.config.compose import streams_of
from twostream.data.sources.source import first_ten
from twostream.options.streams import COMPUTED, Stream, column, diff, flow, rgb


def streams_in(cfg: DictConfig) -> tuple[Stream, ...]:
    """Returns what the streams of a configuration are, in their usual order."""
    made = {
        "rgb": rgb,
        "flow": lambda: flow(cfg.flow.length, std=cfg.get("flow_std")),
        "diff": lambda: diff(**cfg.diff),
    }
    return tuple(made[name]() if name in made else column(name, **cfg.column) for name in streams_of(cfg))


def columns_in(cfg: DictConfig) -> set[str]:
    """Returns the columns of data.csv whose files are shown; "" for the videos themselves."""
    return {stream.column for stream in streams_in(cfg)}


def check_streams(cfg: DictConfig) -> None:
    """Raises ValueError for a stream that is neither computed nor may be in a column: there is no data.csv."""
    for name in streams_of(cfg):
        if name not in COMPUTED and cfg.data.get("csv") is None:
            choices = ", ".join(COMPUTED)
            raise ValueError(f"streams={name}: choose from {choices}, or a column of data.csv (data=folder)")


def check_columns(cfg: DictConfig, source: Any) -> None:
    """Raises ValueError unless data.csv names a file for each video in each column that is a stream, which is there."""
    wanted = [stream.column for stream in streams_in(cfg) if stream.column]
    if wanted and cfg.data.get("frames") == "packed":
        raise ValueError(f"data.frames=packed: holds no frames of the column {wanted[0]}; choose data.frames=video")
    for name in wanted:
        known = sorted({column for video in source.videos for column in video.files})
        if name not in known:
            has = f"its further columns are {', '.join(known)}" if known else "it has no column of further files"
            choices = ", ".join(COMPUTED)
            raise ValueError(f"streams={name}: no column of {cfg.data.get('csv')}; {has}; computed are {choices}")
        absent = [video.id for video in source.videos if name not in video.files or not video.files[name].is_file()]
        if absent:
            raise ValueError(
                f"{cfg.data.csv}: column {name} names no file below data.root for {len(absent)} videos: "
                f"{first_ten(absent)}"
            )


def side_of(cfg: DictConfig, stream: str) -> str:
    """Returns where the options of a stream's tower are: "rgb" for the first one, "flow" for the second, or flow alone.

    So `init.flow` and `flow_backbone` are those of depth in streams=[rgb,depth].
    """
    return "flow" if stream == "flow" or stream in streams_of(cfg)[1:] else "rgb"
