"""Scores -> numbers of a result table (pure functions)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

BINS = 15  # of the calibration, as in Guo et al. 2017


def class_accuracy(confusion: Int[Tensor, "k k"]) -> Float[Tensor, " k"]:
    """Each class's share of correct videos, from counts [true, predicted]; NaN for a class without videos.

    >>> import torch
    >>> class_accuracy(torch.tensor([[3, 1], [0, 0]]))
    tensor([0.7500,    nan], dtype=torch.float64)
    """
    return confusion.diagonal().double() / confusion.sum(1).double()


def mean_class_accuracy(confusion: Int[Tensor, "k k"]) -> Float[Tensor, ""]:
    """The mean of `class_accuracy` over the classes that have videos; differs from top-1 on unbalanced sets.

    >>> import torch
    >>> mean_class_accuracy(torch.tensor([[9, 0], [1, 0]]))
    tensor(0.5000)
    """
    return class_accuracy(confusion).nanmean().float()


def ranks(logits: Float[Tensor, "n k"], labels: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """How many classes come before the true one: top-k is right where this is less than k.

    Of equal scores the first class comes first, as for `argmax`.

    >>> import torch
    >>> ranks(torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.5, 0.0]]), torch.tensor([2, 1]))
    tensor([1, 1])
    """
    true = logits.gather(1, labels[:, None])
    before = torch.arange(logits.shape[1]) < labels[:, None]
    return ((logits > true) | ((logits == true) & before)).sum(1)


def confusion_of(logits: Float[Tensor, "n k"], labels: Int[Tensor, " n"]) -> Int[Tensor, "k k"]:
    """Numbers of videos [true class, predicted class]."""
    k = logits.shape[1]
    return torch.bincount(labels * k + logits.argmax(1), minlength=k * k).reshape(k, k)


def mean_over_classes(values: Float[Tensor, " n"], labels: Int[Tensor, " n"], num_classes: int) -> Float[Tensor, " k"]:
    """The mean of each class's values; NaN for a class without videos."""
    sums = torch.zeros(num_classes, dtype=torch.float64).index_add_(0, labels, values.double())
    return sums / torch.bincount(labels, minlength=num_classes)


def measure(logits: Float[Tensor, "n k"], labels: Int[Tensor, " n"]) -> dict[str, float]:
    """Top-1 and, with more than five classes, top-5, of all videos and as the mean over classes; loss; ECE.

    Raises ValueError where there is no video, or where a score is not finite: the training has diverged.
    """
    if not len(labels):
        raise ValueError("no video was scored")
    if broken := int((~logits.isfinite().all(1)).sum()):
        raise ValueError(f"the scores of {broken} of {len(labels)} videos are not finite")
    rank, k = ranks(logits, labels), logits.shape[1]
    found: dict[str, float] = {}
    for name, most in {"top1": 1, "top5": 5}.items():
        if most == 1 or k > most:
            right = (rank < most).double()
            found[name] = float(right.mean())
            found[f"mean_class_{name}"] = float(mean_over_classes(right, labels, k).nanmean())
    found["loss"] = float(torch.nn.functional.cross_entropy(logits.double(), labels))
    found["ece"] = calibration(logits, labels).error
    return found


class Calibration(NamedTuple):
    """`confidence`, `accuracy`: means over the videos of each bin, NaN in an empty one. `count`: how many there are.
    `error`: the expected calibration error."""

    confidence: Float[Tensor, " b"]
    accuracy: Float[Tensor, " b"]
    count: Int[Tensor, " b"]
    error: float


def calibration(logits: Float[Tensor, "n k"], labels: Int[Tensor, " n"], num_bins: int = BINS) -> Calibration:
    """How well the confidence, the largest class probability, says how often the prediction is right.

    Bin m of M holds the videos with confidence in ((m-1)/M, m/M]. Expected calibration error: the sum over bins of
    (videos in the bin / all videos) · |accuracy - mean confidence| (Guo et al. 2017, equation 3).
    """
    confidence, predicted = logits.double().softmax(1).max(1)
    edges = torch.arange(1, num_bins, dtype=torch.float64) / num_bins
    bins = torch.bucketize(confidence, edges)  # right=False: a confidence on an edge is in the bin below it
    count = torch.bincount(bins, minlength=num_bins)
    means = [mean_over_classes(v.double(), bins, num_bins) for v in (confidence, predicted == labels)]
    gaps = (means[1] - means[0]).abs().nan_to_num() * count
    return Calibration(means[0], means[1], count, float(gaps.sum() / len(labels)))


class Confused(NamedTuple):
    """`count` videos of class `true`, of which there are `of`, were taken for class `predicted`."""

    true: int
    predicted: int
    count: int
    of: int


def confused_pairs(confusion: Int[Tensor, "k k"]) -> list[Confused]:
    """All mistakes, the most frequent first; of equally frequent ones that with the largest share of its class.

    >>> import torch
    >>> confused_pairs(torch.tensor([[3, 1, 0], [0, 5, 2], [1, 0, 1]]))[:2]
    [Confused(true=1, predicted=2, count=2, of=7), Confused(true=2, predicted=0, count=1, of=2)]
    """
    totals = confusion.sum(1).tolist()
    pairs = [
        Confused(true, predicted, int(confusion[true, predicted]), totals[true])
        for true, predicted in confusion.nonzero().tolist()
        if true != predicted
    ]
    return sorted(pairs, key=lambda pair: (-pair.count, -pair.count / pair.of, pair.true, pair.predicted))
