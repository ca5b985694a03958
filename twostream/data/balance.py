"""For classes of unequal size: weights, and an order of training in which all classes come equally often."""

from __future__ import annotations

from collections import Counter

import numpy as np
from jaxtyping import Float, Int

Draw = tuple[int, int]  # position of a video, and how often it has come in this epoch before


def balanced_weights(labels: Int[np.ndarray, " n"], num_classes: int) -> Float[np.ndarray, " k"]:
    """Returns n / (k · videos of the class) for each class; their mean over the n videos is 1.

    k is the number of classes that have videos. A class without any has weight 0, for no video takes it.

    >>> balanced_weights(np.array([0, 0, 0, 2]), 3).tolist()
    [0.6666666666666666, 0.0, 2.0]
    """
    counts = np.bincount(labels, minlength=num_classes)
    there = np.count_nonzero(counts)
    return np.divide(len(labels), there * counts, out=np.zeros(num_classes), where=counts > 0)


def balanced_draws(labels: Int[np.ndarray, " n"], *, epoch: int, seed: int) -> list[Draw]:
    """Returns the n draws of an epoch, in which classes differ in number by one at most.

    All epochs together are one sequence of draws, whose classes take turns: draw j is of class j modulo k (of those
    that have videos). Each class goes through its videos in one random order after the other, so that every video of a
    class comes once before any comes twice, also over the ends of epochs. The draws of an epoch are then mixed.
    All this depends on nothing but labels, seed and epoch.

    >>> balanced_draws(np.array([0, 0, 0, 1]), epoch=0, seed=0)
    [(3, 0), (0, 0), (2, 0), (3, 1)]
    """
    n, members = len(labels), [np.flatnonzero(labels == label) for label in np.unique(labels)]
    drawn = []
    for turn, own in enumerate(members):
        begin, end = (-((turn - past * n) // len(members)) for past in (epoch, epoch + 1))  # draws of this class
        rounds = range(begin // len(own), -(-end // len(own)))
        orders = [np.random.default_rng((seed, turn, each, 1)).permutation(own) for each in rounds]
        drawn.append(np.concatenate(orders)[begin % len(own) :][: end - begin])
    come: Counter[int] = Counter()
    found = []
    for index in np.random.default_rng((seed, epoch)).permutation(np.concatenate(drawn)).tolist():
        found.append((index, come[index]))
        come[index] += 1
    return found
