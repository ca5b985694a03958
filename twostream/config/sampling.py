"""Configuration -> how the chunks of a clip lie."""

from __future__ import annotations

from hydra.utils import instantiate
from omegaconf import DictConfig

from twostream.config.streams import streams_in
from twostream.data.sampling import Clip, Sampling, chunk_span


def span_in(cfg: DictConfig, sampling: Sampling) -> int:
    """Returns L of a chunk, which spans L + 1 frames."""
    return chunk_span(sampling, streams_in(cfg), cfg.flow.length)


def shows_rows(cfg: DictConfig) -> bool:
    """Whether clips are of frames in a row (sampling=clip)."""
    return isinstance(instantiate(cfg.sampling), Clip)
