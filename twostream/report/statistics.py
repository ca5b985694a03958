"""Mean, standard deviation and significance of the numbers of a few runs (pure functions)."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np
from jaxtyping import Float

EXACT = 30  # most pairs for which all choices of signs are counted; that takes 2 · 2^15 sums
RANDOM_FLIPS = 100_000


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


def sign_flip_p(differences: Sequence[float]) -> float | None:
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
    seen = abs(d.sum()) - 1e-9 * np.abs(d).sum()  # equal sums, added in another order, differ in the last digits
    if seen <= 0:
        return 1.0
    if len(d) > EXACT:
        return _random_sign_flip_p(d, seen)
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


def _random_sign_flip_p(d: Float[np.ndarray, " n"], seen: float) -> float:
    generator, chunk, hits = np.random.default_rng(0), 1_000, 0
    for _ in range(RANDOM_FLIPS // chunk):
        signs = generator.integers(0, 2, size=(chunk, len(d)), dtype=np.int8) * 2 - 1
        hits += int((np.abs(signs @ d) >= seen).sum())
    return (hits + 1) / (RANDOM_FLIPS + 1)  # the choice seen is one of them: p is never 0


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
