"""Regularised multinomial logistic regression on features, its strength chosen inside the training part."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

STRENGTHS = tuple(10.0**exponent for exponent in range(-3, 4))  # mean loss + |weight|² / (2·strength)
FOLDS = 5
LEAST = 1e-3  # of the largest deviation: what hardly varies in training would be anything elsewhere, times a thousand
ABSENT = -30.0  # the bias of a class without a training sample, relative to the lowest of the others

Fold = tuple[Int[np.ndarray, " a"], Int[np.ndarray, " b"]]


class Linear(NamedTuple):
    """Scores are `features @ weight.T + bias`; `strength` is the one that was chosen."""

    weight: Float[np.ndarray, "k d"]
    bias: Float[np.ndarray, " k"]
    strength: float

    def scores(self, features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n k"]:
        """Scores before softmax."""
        return features @ self.weight.T + self.bias


def fit_linear(
    features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], groups: Sequence[str], *, num_classes: int
) -> Linear:
    """The classifier of all samples; its strength is the one of STRENGTHS with the lowest loss on held-out groups.

    Features are standardised, and the classifier is given in their own units. Samples of one group are never on both
    sides of a fold. Of a class without a sample the score is below all others. Raises ValueError for one class alone.
    """
    features = np.asarray(features, np.float64)
    if len(np.unique(labels)) < 2:
        raise ValueError("a classifier needs training samples of at least two classes")
    mean, std = features.mean(0), features.std(0)
    std = np.maximum(std, max(LEAST * std.max(), 1e-12))
    reduced, basis = rotated((features - mean) / std)
    strength = choose_strength(reduced, labels, groups, num_classes=num_classes)
    weight, bias = solve(reduced, labels, strength, num_classes=num_classes)
    weight = (weight if basis is None else weight @ basis) / std
    return Linear(weight, bias - weight @ mean, strength)


def choose_strength(
    features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], groups: Sequence[str], *, num_classes: int
) -> float:
    """The strength with the lowest cross-entropy over all held-out samples; of equal ones the smallest.

    Where all samples are of one group, nothing can be held out: 1.
    """
    folds = grouped_folds(labels, groups, FOLDS)
    losses = dict.fromkeys(STRENGTHS, 0.0)
    for kept, held in folds:
        if len(np.unique(labels[kept])) < 2:
            continue
        for strength in STRENGTHS:
            weight, bias = solve(features[kept], labels[kept], strength, num_classes=num_classes)
            losses[strength] += cross_entropy(features[held] @ weight.T + bias, labels[held])
    return min(losses, key=lambda strength: (losses[strength], strength)) if any(losses.values()) else 1.0


def grouped_folds(labels: Int[np.ndarray, " n"], groups: Sequence[str], folds: int, *, seed: int = 0) -> list[Fold]:
    """(training, held-out) positions of at most so many folds: whole groups, classes as evenly as they allow.

    >>> folds = grouped_folds(np.array([0, 0, 1, 1]), ["a", "b", "a", "b"], 5)
    >>> sorted(held.tolist() for _, held in folds)
    [[0, 2], [1, 3]]
    """
    names = np.unique(np.asarray(groups), return_inverse=True)[1]
    folds = min(folds, len(np.unique(names)))
    if folds < 2:
        return []
    rarest = min(len(np.unique(names[labels == label])) for label in np.unique(labels))
    if rarest < folds:  # a class has fewer groups than there are folds
        splitter = GroupKFold(folds, shuffle=True, random_state=seed)
    else:
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    return list(splitter.split(np.zeros(len(labels)), labels, names))


def solve(
    features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], strength: float, *, num_classes: int
) -> tuple[Float[np.ndarray, "k d"], Float[np.ndarray, " k"]]:
    """Weight and bias that minimise mean cross-entropy + |weight|² / (2·strength)."""
    two = len(np.unique(labels)) == 2  # scikit-learn then has one row w, whose halves ±w/2 have half the penalty
    model = LogisticRegression(C=(1 + two) * strength / len(labels), max_iter=1000)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The number of unique classes is greater")  # of few videos it is
        model.fit(features, labels)
    present, weight, bias = model.classes_, model.coef_, np.asarray(model.intercept_)
    if two:
        weight, bias = np.vstack((-weight / 2, weight / 2)), np.concatenate((-bias / 2, bias / 2))
    whole_weight, whole_bias = np.zeros((num_classes, features.shape[1])), np.full(num_classes, bias.min() + ABSENT)
    whole_weight[present], whole_bias[present] = weight, bias
    return whole_weight, whole_bias


def rotated(
    features: Float[np.ndarray, "n d"],
) -> tuple[Float[np.ndarray, "n m"], Float[np.ndarray, "m d"] | None]:
    """n samples of d > n features in the m <= n directions that they span: the same fit, without the d columns."""
    if features.shape[1] <= features.shape[0]:
        return features, None
    left, length, right = np.linalg.svd(features, full_matrices=False)
    return left * length, right


def cross_entropy(scores: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"]) -> float:
    """The sum over samples, each at most as bad as an absent class makes it."""
    shifted = scores - scores.max(1, keepdims=True)
    return float((np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(labels)), labels]).sum())
