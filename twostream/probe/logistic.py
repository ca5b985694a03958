"""Regularised multinomial logistic regression on features; its strength is chosen inside the training part."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

STRENGTHS = tuple(10.0**exponent for exponent in range(-3, 4))  # minimised is mean loss + |weight|² / (2·strength)
FOLDS = 5
LEAST = 1e-3  # least divisor, as a share of the largest deviation: features that hardly vary in training stay small
ABSENT = -30.0  # the bias of a class without a training sample, relative to the lowest of the others

Fold = tuple[Int[np.ndarray, " a"], Int[np.ndarray, " b"]]
Weigh = Callable[[Int[np.ndarray, " n"]], Float[np.ndarray, " k"] | None]  # labels -> what each class counts, if not 1


class Linear(NamedTuple):
    """Scores are `features @ weight.T + bias`; `strength` is the one that was chosen."""

    weight: Float[np.ndarray, "k d"]
    bias: Float[np.ndarray, " k"]
    strength: float

    def scores(self, features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n k"]:
        """Scores before softmax."""
        return features @ self.weight.T + self.bias


def fit_linear(
    features: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"],
    groups: Sequence[str],
    *,
    num_classes: int,
    weigh: Weigh | None = None,
) -> Linear:
    """Fits a classifier to all samples, with the strength of STRENGTHS that has the lowest loss on held-out groups.

    Features are standardised for the fit; the classifier returned takes them in their own units. Samples of one group
    are never on both sides of a fold. A class without a sample scores below all others. The loss of a sample is
    multiplied by the weight of its class, in the fit and where the strength is chosen. Raises ValueError if the
    samples are of one class alone.
    """
    features = np.asarray(features, np.float64)
    if len(np.unique(labels)) < 2:
        raise ValueError("a classifier needs training samples of at least two classes")
    mean, std = features.mean(0), features.std(0)
    std = np.maximum(std, max(LEAST * std.max(), 1e-12))
    reduced, basis = rotated((features - mean) / std)
    of_classes = None if weigh is None else weigh(labels)
    of_samples = None if of_classes is None else of_classes[labels]
    strength = choose_strength(reduced, labels, groups, num_classes=num_classes, weights=of_samples)
    weight, bias = solve(reduced, labels, strength, num_classes=num_classes, weights=of_samples)
    weight = (weight if basis is None else weight @ basis) / std
    return Linear(weight, bias - weight @ mean, strength)


def choose_strength(
    features: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"],
    groups: Sequence[str],
    *,
    num_classes: int,
    weights: Float[np.ndarray, " n"] | None = None,
) -> float:
    """Returns the strength with the lowest cross-entropy over all held-out samples; of equal ones the smallest.

    `weights`: of the samples. Returns 1 if all samples are of one group, so that nothing can be held out.
    """
    folds = grouped_folds(labels, groups, FOLDS)
    of = (lambda rows: None) if weights is None else weights.__getitem__
    losses = dict.fromkeys(STRENGTHS, 0.0)
    for kept, held in folds:
        if len(np.unique(labels[kept])) < 2:
            continue
        for strength in STRENGTHS:
            weight, bias = solve(features[kept], labels[kept], strength, num_classes=num_classes, weights=of(kept))
            losses[strength] += cross_entropy(features[held] @ weight.T + bias, labels[held], of(held))
    return min(losses, key=lambda strength: (losses[strength], strength)) if any(losses.values()) else 1.0


def grouped_folds(labels: Int[np.ndarray, " n"], groups: Sequence[str], folds: int, *, seed: int = 0) -> list[Fold]:
    """Returns (training, held-out) positions of at most `folds` folds; none if there is only one group.

    Groups stay whole, and classes are spread as evenly as the groups allow.

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
    features: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"],
    strength: float,
    *,
    num_classes: int,
    weights: Float[np.ndarray, " n"] | None = None,
) -> tuple[Float[np.ndarray, "k d"], Float[np.ndarray, " k"]]:
    """Returns the weight and bias that minimise mean cross-entropy + |weight|² / (2·strength).

    With `weights`, the sum of weights times cross-entropies, divided by the number of samples.
    """
    two = len(np.unique(labels)) == 2  # scikit-learn then has one row w, whose halves ±w/2 have half the penalty
    model = LogisticRegression(C=(1 + two) * strength / len(labels), max_iter=1000)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The number of unique classes is greater")  # with few videos it is
        model.fit(features, labels, sample_weight=weights)
    present, weight, bias = model.classes_, model.coef_, np.asarray(model.intercept_)
    if two:
        weight, bias = np.vstack((-weight / 2, weight / 2)), np.concatenate((-bias / 2, bias / 2))
    whole_weight, whole_bias = np.zeros((num_classes, features.shape[1])), np.full(num_classes, bias.min() + ABSENT)
    whole_weight[present], whole_bias[present] = weight, bias
    return whole_weight, whole_bias


def rotated(
    features: Float[np.ndarray, "n d"],
) -> tuple[Float[np.ndarray, "n m"], Float[np.ndarray, "m d"] | None]:
    """Returns the samples in the directions that they span, and these directions.

    For n samples of d > n features there are m <= n of them: the fit is the same, with fewer columns. For d <= n
    returns the features as they are, and None.
    """
    if features.shape[1] <= features.shape[0]:
        return features, None
    left, length, right = np.linalg.svd(features, full_matrices=False)
    return left * length, right


def cross_entropy(
    scores: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"], weights: Float[np.ndarray, " n"] | None = None
) -> float:
    """Returns the sum of the cross-entropy over samples; finite also for a class that was absent in the fit."""
    shifted = scores - scores.max(1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(labels)), labels]
    return float((losses if weights is None else losses * weights).sum())
