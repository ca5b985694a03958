"""What the configurations of older runs do not say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig

from twostream.runs.old_names import said


def mirrors(cfg: DictConfig) -> bool:
    """Whether a mirrored video keeps its label: `data.mirror`.

    Older runs do not say: there, it is so for all data sets but the embedded one.
    """
    return bool(said(cfg.data, "mirror", True))


def is_multi(cfg: DictConfig) -> bool:
    """Whether a video has several labels: `data.labels=multi`. Older runs, and other data, do not say: one."""
    return cfg.data.get("labels") == "multi"


def scores_relu(backbone: Any) -> bool | None:
    """Whether the scores of a configured backbone end in a ReLU; None if nobody knows.

    Only squeezenet1_0 has this option; one of the same name of a backbone of the user's own may mean anything.

    >>> scores_relu({"_target_": "twostream.models.backbone.squeezenet1_0"})
    True
    >>> scores_relu({"_target_": "mylab.backbone", "relu": True})  # None
    """
    known = isinstance(backbone, Mapping) and str(backbone.get("_target_")).endswith(".squeezenet1_0")
    return bool(said(backbone, "relu")) if known else None
