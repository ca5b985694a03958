"""Configuration -> the descriptions of its streams."""

from __future__ import annotations

from omegaconf import DictConfig

from twostream.config.compose import streams_of
from twostream.options.streams import Stream, flow, rgb, span_of


def streams_in(cfg: DictConfig) -> tuple[Stream, ...]:
    """Returns what the streams of a configuration are, in their usual order."""
    made = {"rgb": rgb, "flow": lambda: flow(cfg.flow.length, std=cfg.get("flow_std"))}
    return tuple(made[name]() for name in streams_of(cfg))


def span_in(cfg: DictConfig) -> int:
    """Returns L of a chunk, which spans L + 1 frames."""
    return span_of(streams_in(cfg), cfg.flow.length)


def side_of(cfg: DictConfig, stream: str) -> str:
    """Returns where the options of a stream's tower are: "rgb" for the first one, "flow" for the second, or flow alone.

    So `init.flow` and `flow_backbone` are those of depth in streams=[rgb,depth].
    """
    return "flow" if stream == "flow" or stream in streams_of(cfg)[1:] else "rgb"
