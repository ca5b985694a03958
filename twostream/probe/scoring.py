"""Scores videos from their features, with classifiers that have not seen these videos."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from twostream.probe.logistic import Fold, Weigh, fit_linear

BOTH = "both"


def kinds(features: dict[str, Float[np.ndarray, "n d"]]) -> dict[str, Float[np.ndarray, "n e"]]:
    """Returns what is probed: each stream alone and, if there are two, both side by side.

    `fit_linear` standardises every feature, so that neither stream outweighs the other by its units.
    """
    if len(features) < 2:
        return features
    return {BOTH: np.concatenate(list(features.values()), axis=1), **features}


def unseen_scores(
    features: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"],
    groups: Sequence[str],
    folds: Sequence[Fold],
    *,
    num_classes: int,
    weigh: Weigh | None = None,
) -> tuple[dict[int, Float[np.ndarray, " k"]], list[float]]:
    """Returns {position of a held-out video: its scores before softmax}, and the strength of each fold's classifier.

    Each fold's classifier is fitted to its training videos alone, and the groups of these choose its strength. A video
    is one row, the mean of its views: in cross-validation on training lists, a row for each view was no better, and
    takes as many times longer. The score of a video is then also the mean of its views' scores before softmax.
    `weigh`: of the labels that a fold fits, as for `fit_linear`.
    """
    scores: dict[int, np.ndarray] = {}
    strengths = []
    for train, held in folds:
        of_rows = [groups[int(position)] for position in train]
        fitted = fit_linear(features[train], labels[train], of_rows, num_classes=num_classes, weigh=weigh)
        scores |= dict(zip(held.tolist(), fitted.scores(features[held]), strict=True))
        strengths.append(fitted.strength)
    return scores, strengths
