"""Mean, spread and significance: of the numbers of a few runs, and of what these got right video by video.

Three questions, and what each takes for granted (pure functions):

- `sign_flip_p` of the runs' differences: would new seeds, on these videos, differ, too? It assumes next to nothing, so
  three seeds can never answer it.
- `sign_flip_p` of the groups' differences: would new videos, shown to these networks, tell them apart? Whether other
  seeds give such networks it cannot say: a seed that was lucky is lucky on every video.
- `two_levels`: would new seeds differ on new videos? This is the question that a table of settings asks.

That seeds and data both vary, and that a test which holds one of them fixed finds too much, is shown for machine
learning by Bouthillier et al. 2021 (arXiv 2103.03098) and Agarwal et al. 2021 (arXiv 2108.13264); elsewhere it is the
language-as-fixed-effect fallacy (Clark 1973), and radiology's studies of many readers and many cases (Hillis 2007).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

EXACT = 30  # most pairs for which all choices of signs are counted; that takes 2 · 2^15 sums
RANDOM_FLIPS = 100_000
CHUNK = 500  # flips at once
DRAWS = 10_000  # of the two-level bootstrap
SHARE = (2.5, 97.5)  # per cent: the ends of the middle 95 %


def mean(values: Sequence[float]) -> float | None:
    """Returns the arithmetic mean, or None if there are no values.

    >>> mean([0.5, 1.0]), mean([])
    (0.75, None)
    """
    return sum(values) / len(values) if values else None


def sample_std(values: Sequence[float]) -> float | None:
    """Returns the sample standard deviation (ddof = 1), or None for fewer than two values, which show no spread.

    >>> sample_std([1.0, 2.0, 3.0]), sample_std([1.0])
    (1.0, None)
    """
    if len(values) < 2:
        return None
    centre = sum(values) / len(values)
    return sqrt(sum((value - centre) ** 2 for value in values) / (len(values) - 1))


def sign_flip_p(differences: Sequence[float], *, flips: int = RANDOM_FLIPS) -> float | None:
    """Returns the two-sided p of "the mean difference is 0", by flipping signs; None for fewer than two pairs.

    If the two settings were alike, each pair's difference would be as likely with the other sign. p is the share of all
    2^n choices of signs whose mean is at least as far from 0 as the one seen. Why this test: the runs of two settings
    share seeds and splits, so they are compared pair by pair; with a handful of pairs a normal distribution cannot be
    checked, and this test needs none. Its price: p is never below 2/2^n (0.25 for three pairs), so p < 0.05 needs six
    pairs at least. Beyond 30 pairs the share is of 100,000 random choices (fixed seed) and the one seen.

    >>> sign_flip_p([1.0, 2.0, 3.0])  # only + + + and − − − are as far out: 2 of 8
    0.25
    >>> sign_flip_p([1.0, -1.0, 2.0])  # |sums| are 4 2 2 2 2 4 and twice 0: 6 of 8 reach 2
    0.75
    """
    d = np.asarray(differences, dtype=np.float64)
    if len(d) < 2:
        return None
    d = d[d != 0]  # whose sign makes no difference
    seen = abs(d.sum()) - 1e-9 * np.abs(d).sum()  # equal sums, added in another order, differ in the last digits
    if seen <= 0:
        return 1.0
    if len(d) > EXACT:
        return _random_sign_flip_p(d, seen, flips)
    left, right = _signed_sums(d[: len(d) // 2]), np.sort(_signed_sums(d[len(d) // 2 :]))
    above = len(right) - np.searchsorted(right, seen - left, side="left")
    below = np.searchsorted(right, -seen - left, side="right")
    return float((above + below).sum() / 2 ** len(d))


def _signed_sums(d: Float[np.ndarray, " n"]) -> Float[np.ndarray, " m"]:
    """Returns the sums under all 2^n choices of signs."""
    sums = np.zeros(1)
    for value in d:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def _random_sign_flip_p(d: Float[np.ndarray, " n"], seen: float, flips: int) -> float:
    generator, hits, width = np.random.default_rng(0), 0, -(-len(d) // 8)
    for start in range(0, flips, CHUNK):
        octets = generator.integers(0, 256, size=(min(CHUNK, flips - start), width), dtype=np.uint8)
        positive = np.unpackbits(octets, axis=1, count=len(d)) @ d
        hits += int((np.abs(2 * positive - d.sum()) >= seen).sum())
    return (hits + 1) / (flips + 1)  # the choice seen is one of them: p is never 0


class Both(NamedTuple):
    """What the mean difference of two settings would be with new seeds and new videos."""

    low: float  # the ends of the interval of 95 %
    high: float
    p: float  # two-sided, of "the difference is 0"


def two_levels(
    differences: Float[np.ndarray, "m g"], shares: Float[np.ndarray, "m g"], videos: int, *, draws: int = DRAWS
) -> Both | None:
    """Returns interval and p of the mean difference by a bootstrap over two levels; None for one run or one group.

    `differences`: what each group of videos adds in each of m pairs of runs; they sum to the mean difference.
    `shares`: of each group in each pair; they sum to 1. `videos`: how many were tested. The levels:

    - Videos: whole groups are drawn again with replacement, with what they gave in the mean over the pairs.
    - Seeds: how far the mean of m pairs is off is drawn from Student's t with m − 1 degrees of freedom. Its spread is
      the variance between the pairs, less what videos explain of it, which is in the first level already.

    Why not draw pairs again, too: three pairs drawn from three hide a third of their variance, and lie between their
    smallest and their largest, so that where seeds matter most "95 %" are 82 (`python -m benchmarks.inference`). And no
    drawing of rows and columns is exact (McCullagh 2000; Owen & Eckles 2012). The price is the assumption that seeds
    scatter normally.

    Half a video more that only one setting gets right, either way, keeps the interval of settings that agree on all
    videos from having no width (Agresti & Min 2005).

    >>> two_levels(np.zeros((2, 50)), np.full((2, 50), 0.01), videos=50)  # two seeds, 50 videos, always the same right
    Both(low=-0.04, high=0.04, p=1.0)
    """
    m, g = differences.shape
    if m < 2 or g < 2:
        return None
    generator = np.random.default_rng(0)
    of_pairs, parts = m * differences.sum(1), m * shares  # a pair's difference; shares within it
    mean = of_pairs.mean()
    own = m * differences - parts * of_pairs[:, None]
    explained = (g / (g - 1)) * ((own - own.mean(0)) ** 2).sum() / (m * (m - 1))
    between = max(0.0, of_pairs.var(ddof=1) / m - explained)
    of_groups = (m * differences - parts * mean).mean(0) * sqrt(g / (g - 1))
    values, counts = np.unique(of_groups.round(15), return_counts=True)
    drawn = generator.multinomial(g, counts / g, size=draws) @ values
    drawn += (generator.poisson(0.5, draws) - generator.poisson(0.5, draws)) / videos
    drawn += generator.standard_t(m - 1, draws) * sqrt(between)
    low, high = mean + np.percentile(drawn, SHARE)
    below, above = ((mean + drawn <= 0).sum(), (mean + drawn >= 0).sum())
    return Both(float(low), float(high), float(min(1.0, 2 * (min(below, above) + 1) / (draws + 1))))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Corrects p values by Holm's method (1979) for as many comparisons as there are p values.

    None stays None and is not counted. The smallest of m is multiplied by m, the next by m − 1, …; none becomes smaller
    than the one before it, nor more than 1. The chance of any false finding among the rows is then at most the level
    asked for.

    >>> holm([0.04, 0.01, None, 0.03])  # 3 · 0.01; 2 · 0.03; 0.04, not below 0.06
    [0.06, 0.03, None, 0.06]
    """
    order = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p))
        corrected[index] = largest
    return corrected
