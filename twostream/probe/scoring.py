"""Features of videos -> scores of videos that the classifier has not seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from twostream.probe.logistic import Fold, fit_linear

BOTH = "both"


def kinds(features: dict[str, Float[np.ndarray, "n v d"]]) -> dict[str, Float[np.ndarray, "n v e"]]:
    """What is probed: each stream alone, and where there are two, both side by side.

    `fit_linear` standardises every feature, so that neither stream outweighs the other by its units.
    """
    if len(features) < 2:
        return features
    return {BOTH: np.concatenate(list(features.values()), axis=2), **features}


def unseen_scores(
    features: Float[np.ndarray, "n v d"],
    labels: Int[np.ndarray, " n"],
    groups: Sequence[str],
    folds: Sequence[Fold],
    *,
    num_classes: int,
) -> tuple[dict[int, Float[np.ndarray, " k"]], list[float]]:
    """({position of a held-out video: its scores before softmax}, the strength of each fold's classifier).

    Each fold fits on its training videos alone, a row a view, and the groups of those choose its strength. A video's
    score is the mean over its views before softmax: for a linear classifier, the score of the mean of their features.
    """
    views = features.shape[1]
    scores: dict[int, np.ndarray] = {}
    strengths = []
    for train, held in folds:
        rows = features[train].reshape(-1, features.shape[2])
        of_rows = [groups[position] for position in train for _ in range(views)]
        fitted = fit_linear(rows, np.repeat(labels[train], views), of_rows, num_classes=num_classes)
        scores |= dict(zip(held.tolist(), fitted.scores(features[held].mean(1)), strict=True))
        strengths.append(fitted.strength)
    return scores, strengths
