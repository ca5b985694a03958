"""Counts the videos that are right: top-1, top-5, their means over classes, macro-F1, the confusion matrix.

A class without videos counts in no mean over classes; `untested` names such classes. Among classes of equal scores the
first one wins, as in `argmax`; 16-bit scores are often equal. A video is never right if the score of its class is NaN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from twostream.data.sources.source import first_ten

TOP = {"top1": 1, "top5": 5}  # {name: how many of the best classes count}


class Right(NamedTuple):
    """The numbers of videos of each class.

    All of them, for each name in `TOP` those that are right, and those of any class that were taken for it.
    """

    videos: Int[np.ndarray, " k"]
    right: Mapping[str, Int[np.ndarray, " k"]]
    predicted: Int[np.ndarray, " k"]


def ranks(logits: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Returns how many classes rank before each video's true one: top-k is right if this is less than k.

    >>> ranks(np.array([[0.1, 0.7, 0.2], [0.5, 0.5, 0.0], [np.nan, 0, 0]]), np.array([2, 1, 0])).tolist()
    [1, 1, 3]
    """
    true = np.take_along_axis(logits, labels[:, None], axis=1)
    return places(logits, true, np.arange(logits.shape[1]) < labels[:, None])


def places(logits: Any, true: Any, earlier: Any) -> Any:
    """Returns how many classes rank before each video's true one, as an array or tensor, as the arguments are.

    `true` (n, 1): the scores of the true classes. `earlier` (n, k): whether a class stands before the true one.
    """
    return (~(logits <= true) | ((logits == true) & earlier)).sum(1)


def count_right(logits: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"]) -> Right:
    """Counts the videos of each class, and those that are right.

    >>> count_right(np.array([[2.0, 1.0], [3.0, 1.0], [5.0, 4.0]]), np.array([0, 1, 0])).right["top1"].tolist()
    [2, 0]
    """
    rank, k = ranks(logits, labels), logits.shape[1]
    right = {name: np.bincount(labels[rank < places], minlength=k) for name, places in TOP.items()}
    return Right(np.bincount(labels, minlength=k), right, np.bincount(logits.argmax(1), minlength=k))


def accuracies(counted: Right) -> dict[str, float]:
    """Returns the accuracies of counted videos; they are NaN if there are no videos.

    - `top1`: right videos / all videos.
    - `mean_class_top1`: the mean of each class's accuracy, which is its recall, over the classes that have videos: the
      unweighted average recall.
    - `top5`, `mean_class_top5`: the same for top-5, if there are more than five classes.
    - `macro_f1`: the mean of each class's F1, over the classes that have videos.

    >>> accuracies(count_right(np.array([[1.0, 0.0]] * 4), np.array([0, 0, 0, 1])))  # F1: 6/7 and 0
    {'top1': 0.75, 'mean_class_top1': 0.5, 'macro_f1': 0.42857142857142855}
    """
    found: dict[str, float] = {}
    for name, places in TOP.items():
        if places == 1 or len(counted.videos) > places:
            right = counted.right[name]
            found[name] = float(right.sum() / counted.videos.sum()) if counted.videos.any() else float("nan")
            shares = class_accuracies(counted, name)[counted.videos > 0]
            found[f"mean_class_{name}"] = float(shares.mean()) if len(shares) else float("nan")
    f1 = class_f1(counted)[counted.videos > 0]
    found["macro_f1"] = float(f1.mean()) if len(f1) else float("nan")
    return found


def untested(labels: Int[np.ndarray, " n"], classes: Sequence[str], means: str = "mean_class, macro_f1") -> str:
    """Names the classes that none of the videos is of, which `means` leave out; "" if there are none.

    >>> untested(np.array([0, 2, 2]), ("run", "sit", "walk"))
    'no video of 1 of 3 classes was tested, and means over classes (mean_class, macro_f1) leave it out: sit'
    """
    absent = sorted({*range(len(classes))} - {*labels.tolist()})
    if not absent:
        return ""
    return (
        f"no video of {len(absent)} of {len(classes)} classes was tested, and means over classes ({means}) "
        f"leave {'it' if len(absent) == 1 else 'them'} out: {first_ten([classes[label] for label in absent])}"
    )


def class_accuracies(counted: Right, name: str) -> Float[np.ndarray, " k"]:
    """Returns each class's share of right videos; NaN for a class without videos.

    >>> class_accuracies(Right(np.array([4, 0]), {"top1": np.array([3, 0])}, np.array([3, 1])), "top1").tolist()
    [0.75, nan]
    """
    return counted.right[name] / np.where(counted.videos > 0, counted.videos, np.nan)


def class_f1(counted: Right) -> Float[np.ndarray, " k"]:
    """Returns each class's F1, 2 · right / (its videos + videos taken for it); NaN for a class without videos.

    >>> class_f1(Right(np.array([4, 0]), {"top1": np.array([3, 0])}, np.array([4, 0]))).tolist()
    [0.75, nan]
    """
    sizes = counted.videos + counted.predicted
    return 2 * counted.right["top1"] / np.where(counted.videos > 0, sizes, np.nan)


def confusion_of(logits: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"]) -> Int[np.ndarray, "k k"]:
    """Returns the numbers of videos, as [true class, predicted class].

    >>> confusion_of(np.array([[2, 1], [1, 1], [0, 3]]), np.array([0, 1, 1])).tolist()
    [[1, 0], [1, 1]]
    """
    k = logits.shape[1]
    return np.bincount(labels * k + logits.argmax(1), minlength=k * k).reshape(k, k)


class Confused(NamedTuple):
    """One kind of mistake: `count` of the `of` videos of class `true` were taken for class `predicted`."""

    true: int
    predicted: int
    count: int
    of: int


def confused_pairs(confusion: Int[np.ndarray, "k k"]) -> list[Confused]:
    """Returns all mistakes, the most frequent first; of equally frequent ones that with the largest share of its class.

    >>> confused_pairs(np.array([[3, 1, 0], [0, 5, 2], [1, 0, 1]]))[:2]
    [Confused(true=1, predicted=2, count=2, of=7), Confused(true=2, predicted=0, count=1, of=2)]
    """
    totals = confusion.sum(1).tolist()
    pairs = [
        Confused(true, predicted, int(confusion[true, predicted]), totals[true])
        for true, predicted in np.argwhere(confusion).tolist()
        if true != predicted
    ]
    return sorted(pairs, key=lambda pair: (-pair.count, -pair.count / pair.of, pair.true, pair.predicted))
