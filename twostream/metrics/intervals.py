"""Confidence intervals of 95 % for accuracies that were measured on few videos.

Two things widen an interval, and neither a formula nor resampling alone covers both. Videos of one group are alike,
which only resampling of whole groups shows. If all videos are right, or none, then all samples are equal, and only a
formula gives an interval that has a width. So the interval of a mean over classes takes the outer ends of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from twostream.files.words import counted

Z = 1.959963984540054  # of an interval of 95 %
DRAWS = 2000
FEW_TESTS = 50  # below this number of test videos, it is said how much one of them counts
SHARE = (2.5, 97.5)  # per cent: the ends of the middle 95 %

Interval = tuple[float, float]
Right = Bool[np.ndarray, " n"] | Float[np.ndarray, " n"]  # whether videos are right, or in which part of several runs


class Number(NamedTuple):
    """A number and its interval of 95 %, from `low` to `high`."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"

    @property
    def signed(self) -> str:
        """The text of a difference, with signs."""
        return f"{self.value:+.2f} ({self.low:+.2f} to {self.high:+.2f})"


def share(right: Right) -> Number:
    """Returns the share of right videos, with its interval; a video may be right in a part of several runs.

    >>> print(share(np.array([True] * 10)))
    1.00 (0.72 to 1.00)
    """
    return Number(float(right.mean()), *wilson(float(right.sum()), len(right)))


def gain_of(first: Right, second: Right) -> Number:
    """Returns how much larger the second share of right videos is than the first, of the same videos."""
    return Number(float(second.mean() - first.mean()), *paired(first, second))


def few_note(tests: int, *, multi: bool = False) -> str:
    """Says what so few test videos cannot show; "" if they are not few. `multi`: of several labels a video.

    >>> few_note(20)
    '20 test videos: one of them is 5.0 points of accuracy; smaller differences say nothing'
    >>> few_note(20, multi=True)
    '20 test videos: few of each class, so small differences of average precision say nothing'
    """
    if tests >= FEW_TESTS:
        return ""
    number = counted(tests, "test video")
    if multi:
        return f"{number}: few of each class, so small differences of average precision say nothing"
    return f"{number}: one of them is {100 / max(1, tests):.1f} points of accuracy; smaller differences say nothing"


def wilson(right: float, videos: int) -> Interval:
    """Returns the interval of a share of independent videos (Wilson 1927), also if none or all of them are right.

    >>> [round(end, 4) for end in wilson(10, 10)], [round(end, 4) for end in wilson(1, 2)], wilson(0, 0)
    ([0.7225, 1.0], [0.0945, 0.9055], (0.0, 1.0))
    """
    if videos == 0:
        return 0.0, 1.0
    share, extra = right / videos, Z * Z / videos
    centre = (share + extra / 2) / (1 + extra)
    half = sqrt(share * (1 - share) * extra + extra**2 / 4) / (1 + extra)
    return (0.0 if right == 0 else centre - half), (1.0 if right == videos else centre + half)


def paired(first: Right, second: Right) -> Interval:
    """Returns the interval of a difference, second - first, of two shares of right videos (Newcombe 1998, method 10).

    Both shares are of the same videos. A value is whether a video is right, or in which part of several runs it is: the
    interval is then that of judging each video by one run drawn at random, wider than that of the mean over the runs.

    >>> same = np.array([True, True, False, False])
    >>> low, high = paired(same, same)  # no video differs: symmetric, and the narrower the more videos
    >>> round(low, 3) == -round(high, 3) < 0
    True
    """
    n = len(first)
    one, other, both = (float(right.sum()) for right in (first, second, first * second))
    product = one * (n - one) * other * (n - other)
    together = n * both - one * other
    together = max(0.0, together - n / 2) if together > 0 else together  # Newcombe's correction for continuity
    agreement = together / sqrt(product) if product > 0 else 0.0
    before, after = one / n, other / n
    (low1, high1), (low2, high2) = wilson(one, n), wilson(other, n)

    def distance(down: float, up: float) -> float:
        return sqrt(max(0.0, down**2 - 2 * agreement * down * up + up**2))

    difference = after - before
    low = difference - distance(after - low2, high1 - before)
    return low, difference + distance(high2 - after, before - low1)


def over_classes(estimates: Sequence[float], intervals: Sequence[Interval]) -> Interval:
    """Returns the interval of the mean of independent numbers that have an interval each (MOVER; Zou & Donner 2008).

    >>> over_classes([0.5, 0.5], [(0.2, 0.9), (0.1, 0.8)])  # ± half of the hypotenuses of .3, .4 and of .4, .3
    (0.25, 0.75)
    """
    number, middle = len(estimates), sum(estimates) / len(estimates)
    down = sqrt(sum((one - low) ** 2 for one, (low, _) in zip(estimates, intervals, strict=True)))
    up = sqrt(sum((high - one) ** 2 for one, (_, high) in zip(estimates, intervals, strict=True)))
    return round(middle - down / number, 12), round(middle + up / number, 12)


def draws_of_groups(labels: Int[np.ndarray, " n"], groups: Sequence[str], *, seed: int = 0) -> Float[np.ndarray, "b n"]:
    """Returns how often each video is in each of `DRAWS` samples of whole groups, drawn with replacement.

    The groups of each class are drawn by themselves, so that every class is in every sample.
    """
    generator, counts = np.random.default_rng(seed), np.zeros((DRAWS, len(labels)))
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        names, group = np.unique(np.asarray(groups)[own], return_inverse=True)
        drawn = generator.multinomial(len(names), np.full(len(names), 1 / len(names)), size=DRAWS)
        counts[:, own] = drawn[:, group]
    return counts


def resampled(
    values: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"], draws: Float[np.ndarray, "b n"]
) -> Interval:
    """Returns the interval of the mean over classes of the classes' means of `values`.

    It is the middle 95 % of the means that the samples give.
    """
    members = [labels == label for label in np.unique(labels)]
    means = np.mean([draws[:, own] @ values[own] / draws[:, own].sum(1) for own in members], axis=0)
    low, high = np.percentile(means, SHARE)
    return float(low), float(high)


def outer(*intervals: Interval) -> Interval:
    """Returns the interval from the lowest to the highest end of several.

    >>> outer((0.1, 0.5), (0.2, 0.6))
    (0.1, 0.6)
    """
    return min(low for low, _ in intervals), max(high for _, high in intervals)
