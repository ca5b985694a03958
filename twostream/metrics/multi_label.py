"""Measures scores of several labels a video: average precision, and F1 at a threshold of each class.

A class without a positive video is left out of every mean over classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from twostream.data.sources import Video

MEANS_OF_LABELS = "map, macro_f1"
HALF = 0.5  # the threshold of a class that no positive validation video has chosen one for


class ClassNumbers(NamedTuple):
    """The numbers of each class. `average_precision` is NaN for a class without positive videos.

    `positives`: videos that have the class; `predicted`: those above its threshold; `right`: those that are both.
    """

    positives: Int[np.ndarray, " k"]
    predicted: Int[np.ndarray, " k"]
    right: Int[np.ndarray, " k"]
    average_precision: Float[np.ndarray, " k"]

    @property
    def f1(self) -> Float[np.ndarray, " k"]:
        """F1 = 2 right / (positives + predicted); 0 for a class that has neither."""
        return 2 * self.right / np.maximum(self.positives + self.predicted, 1)


def positives_of(videos: Sequence[Video], num_classes: int) -> Bool[np.ndarray, "n k"]:
    """Returns which video has which class."""
    found = np.zeros((len(videos), num_classes), bool)
    for row, video in zip(found, videos, strict=True):
        row[list(video.all_labels)] = True
    return found


def probabilities(logits: Float[np.ndarray, "*n k"]) -> Float[np.ndarray, "*n k"]:
    """Returns the sigmoid of each score, in float64.

    >>> probabilities(np.array([0.0, np.log(3), -1000.0])).tolist()
    [0.5, 0.75, 0.0]
    """
    return 0.5 + 0.5 * np.tanh(0.5 * logits.astype(np.float64))


def measure_labels(
    logits: Float[np.ndarray, "n k"],
    labels: Bool[np.ndarray, "n k"],
    thresholds: Float[np.ndarray, " k"] | None = None,
) -> dict[str, float]:
    """Returns the numbers of a result table; `thresholds`: of the probabilities, None: one half for each class.

    - `map`: mean average precision, the mean over classes of scikit-learn's `average_precision_score`.
    - `macro_f1`: the mean over classes of each class's F1. `micro_f1`: F1 of all decisions together.
    - `loss`: the mean binary cross-entropy over videos and classes.

    Means over classes are over those with a positive video; NaN if there is none.
    """
    found = class_numbers(logits, labels, thresholds)
    some = found.positives > 0
    decided = found.positives.sum() + found.predicted.sum()
    signed = np.where(labels, 1.0, -1.0) * logits
    return {
        "map": _mean(found.average_precision[some]),
        "macro_f1": _mean(found.f1[some]),
        "micro_f1": float(2 * found.right.sum() / decided) if decided else float("nan"),
        "loss": _mean(np.logaddexp(0.0, -signed.astype(np.float64))),
    }


def class_numbers(
    logits: Float[np.ndarray, "n k"],
    labels: Bool[np.ndarray, "n k"],
    thresholds: Float[np.ndarray, " k"] | None = None,
) -> ClassNumbers:
    """Counts what is right of each class; a class is predicted where its probability is above its threshold."""
    predicted = probabilities(logits) > (HALF if thresholds is None else thresholds)
    return ClassNumbers(
        labels.sum(0), predicted.sum(0), (labels & predicted).sum(0), average_precisions(logits, labels)
    )


def average_precisions(logits: Float[np.ndarray, "n k"], labels: Bool[np.ndarray, "n k"]) -> Float[np.ndarray, " k"]:
    """Returns each class's average precision, NaN without a positive video; a score that is NaN counts as the lowest.

    >>> average_precisions(np.array([[3.0], [2.0], [1.0]]), np.array([[True], [False], [True]])).round(4).tolist()
    [0.8333]
    """
    from sklearn.metrics import average_precision_score  # slow to import; of one label a video nobody needs it

    found = np.full(labels.shape[1], np.nan)
    for k in np.flatnonzero(labels.any(0)).tolist():
        scores = np.where(np.isnan(logits[:, k]), -np.inf, logits[:, k])
        order = np.unique(scores, return_inverse=True)[1]  # only order and ties count; infinity is refused
        found[k] = average_precision_score(labels[:, k], order)
    return found


def choose_thresholds(logits: Float[np.ndarray, "n k"], labels: Bool[np.ndarray, "n k"]) -> Float[np.ndarray, " k"]:
    """Returns the threshold of each class's probability by which its F1 on these validation videos is highest.

    It lies in the middle between two neighbouring probabilities (below the last one: between it and 0). Of several
    that are equally good, it is the one nearest to one half. A class without a positive video gets one half.
    """
    columns = zip(probabilities(logits).T, labels.T, strict=True)
    return np.array([_threshold(column, positive) if positive.any() else HALF for column, positive in columns])


def _threshold(scores: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"]) -> float:
    order = np.argsort(-np.nan_to_num(scores, nan=0.0), kind="stable")
    down = np.append(np.nan_to_num(scores[order], nan=0.0), 0.0)
    f1 = 2 * positive[order].cumsum() / (np.arange(len(order)) + 1 + positive.sum())
    between = down[:-1] > down[1:]  # no threshold parts equal scores
    if not between.any():
        return HALF
    middles = ((down[:-1] + down[1:]) / 2)[between][f1[between] == f1[between].max()]
    return float(middles[np.abs(middles - HALF).argmin()])


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")
