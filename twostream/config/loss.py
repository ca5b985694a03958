"""Configuration -> the loss, and what each class counts in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from omegaconf import DictConfig

from twostream.config.compose import streams_of
from twostream.config.older import is_multi
from twostream.config.starts import start_of
from twostream.data.balance import balanced_weights
from twostream.data.sources import Video
from twostream.files.words import counted
from twostream.options import shown
from twostream.training.objective import BinaryCrossEntropy, CrossEntropy, Objective

FEW_OF_CLASS = 10  # training videos of a class: a run warns of fewer
UNEQUAL = 3.0  # times the smallest class that the largest may have without a warning


def plain_objective(cfg: DictConfig) -> Objective:
    """Returns the loss where all classes count alike."""
    return (BinaryCrossEntropy if is_multi(cfg) else CrossEntropy)(label_smoothing=cfg.label_smoothing)


def build_objective(cfg: DictConfig, classes: Sequence[str], videos: Sequence[Video]) -> Objective:
    """Returns the loss of training on these videos. Raises ValueError as `class_weights` does."""
    if is_multi(cfg):
        return plain_objective(cfg)
    weights = class_weights(cfg, classes, labels_of(videos))
    return CrossEntropy(
        label_smoothing=cfg.label_smoothing,
        class_weights=None if weights is None else tuple(weights.tolist()),
        focal=loss_of(cfg, "focal"),
    )


def class_weights(
    cfg: DictConfig, classes: Sequence[str], labels: Int[np.ndarray, " n"]
) -> Float[np.ndarray, " k"] | None:
    """Returns `loss.class_weights` for training on videos of these labels; None if all classes count alike.

    Raises ValueError unless a list has a number for each class.
    """
    wanted: Any = loss_of(cfg, "class_weights")
    if wanted is None or wanted == "balanced":
        return None if wanted is None else balanced_weights(labels, len(classes))
    if len(wanted) != len(classes):
        names = ", ".join(classes[:10]) + ", …" * (len(classes) > 10)
        raise ValueError(
            f"loss.class_weights={shown(list(wanted))}: a list of {len(wanted)}; must have a number for each of the "
            f"{len(classes)} classes, in their order: {names}"
        )
    return np.array(wanted, np.float64)


def balance_cautions(cfg: DictConfig, videos: Sequence[Video], classes: Sequence[str]) -> list[str]:
    """Returns what is to be known of training on these videos: classes of few, of unequal size, or balanced twice.

    A video of several labels counts in each of them.
    """
    labels = np.array([label for video in videos for label in video.all_labels], np.int64)
    counts = np.bincount(labels, minlength=len(classes))
    said = []
    fewest, most = int(counts.argmin()), int(counts.argmax())
    if few := int((counts < FEW_OF_CLASS).sum()):
        started = all(start_of(cfg, stream) for stream in streams_of(cfg))
        floor = "; `twostream probe` says what to beat" if started else ""  # it refuses random networks
        said.append(
            f"{few} of {counted(len(classes), 'class', 'classes')} {'has' if few == 1 else 'have'} fewer than "
            f"{FEW_OF_CLASS} training videos ({classes[fewest]}: {counts[fewest]}): expect other numbers from another "
            f"split or seed{floor}"
        )
    balanced = is_balanced(cfg), loss_of(cfg, "class_weights") is not None
    if all(balanced):
        said.append("sampler=balanced and loss.class_weights together count rare classes twice; one of them is enough")
    elif not any(balanced) and counts[most] >= UNEQUAL * max(1, counts[fewest]):
        change = "" if is_multi(cfg) else "; loss.class_weights=balanced counts rare classes more"
        number = "map" if is_multi(cfg) else "mean_class"
        said.append(
            f"classes are of unequal size ({classes[most]}: {counts[most]} training videos, {classes[fewest]}: "
            f"{counts[fewest]}): read test/{number}, where all classes count alike{change}"
        )
    return said


def probe_weights(
    cfg: DictConfig, classes: Sequence[str], labels: Int[np.ndarray, " n"]
) -> Float[np.ndarray, " k"] | None:
    """Returns what each class counts in the logistic regression of a probe; None if all count alike.

    These are the class weights, with sampler=balanced times balanced weights: the probe sees each video once, training
    as often as these weights say.
    """
    weights = class_weights(cfg, classes, labels)
    if not is_balanced(cfg):
        return weights
    return balanced_weights(labels, len(classes)) * (1.0 if weights is None else weights)


def is_balanced(cfg: DictConfig) -> bool:
    """Whether training draws all classes equally often; older runs do not say, and do not."""
    return cfg.get("sampler") == "balanced"


def loss_of(cfg: DictConfig, name: str) -> Any:
    """Returns a value of `loss`; None if an older run does not give it."""
    return (cfg.get("loss") or {}).get(name)


def labels_of(videos: Sequence[Video]) -> Int[np.ndarray, " n"]:
    """Returns the labels of videos."""
    return np.array([video.label for video in videos], np.int64)
