"""Configuration -> the run that a network learns from (`distill.from`), and what both of them see in training."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from twostream.config.compose import streams_of
from twostream.config.saved import load_config


def teacher_folder(cfg: DictConfig) -> Path | None:
    """Returns the run folder of the teacher, or None. Raises ValueError unless the run trains one stream."""
    folder = OmegaConf.select(cfg, "distill.from")
    if folder is None:
        return None
    if len(own := streams_of(cfg)) > 1:
        raise ValueError(f"distill.from={folder}: trains one stream, not streams=[{','.join(own)}]; choose streams=rgb")
    return Path(folder)


def teacher_config(folder: Path) -> DictConfig:
    """Returns the configuration of the teacher. Raises ValueError if the folder is that of no run."""
    try:
        return load_config(folder)
    except ValueError as error:
        raise ValueError(f"distill.from={folder}: {str(error).removeprefix(f'{folder}: ')}") from None


def seen_streams(cfg: DictConfig) -> tuple[str, ...]:
    """Returns the streams of the clips of training: the network's own, and after it one that its teacher sees.

    Raises ValueError if these would be more than two.
    """
    own = streams_of(cfg)
    if (folder := teacher_folder(cfg)) is None:
        return own
    theirs = streams_of(teacher_config(folder))
    if len(seen := tuple(dict.fromkeys((*own, *theirs)))) > 2:
        raise ValueError(
            f"distill.from={folder}: its streams, {' and '.join(theirs)}, and {own[0]} here are three, and a clip has "
            "two at most; choose a teacher that sees one other"
        )
    return seen


def as_seen(cfg: DictConfig) -> DictConfig:
    """Returns the configuration of the clips of training: that of a run, but with all streams that a teacher sees."""
    if teacher_folder(cfg) is None:
        return cfg
    return OmegaConf.merge(cfg, {"streams": list(seen_streams(cfg))})  # type: ignore[return-value]
