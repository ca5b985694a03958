"""Measures calibration: whether a network's confidence says how often it is right."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from .accuracy import ranks

BINS = 15  # as in Guo et al. 2017


class Calibration(NamedTuple):
    """The bins of a reliability diagram.

    - `confidence`, `accuracy`: means over the videos of each bin, NaN for an empty bin.
    - `count`: the number of videos in each bin.
    - `error`: the expected calibration error.
    """

    confidence: Float[np.ndarray, " b"]
    accuracy: Float[np.ndarray, " b"]
    count: Int[np.ndarray, " b"]
    error: float


def calibration(logits: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"], num_bins: int = BINS) -> Calibration:
    """Measures how well the confidence, the largest class probability, says how often the prediction is right.

    Bin m of M holds the videos with confidence in ((m-1)/M, m/M]. The expected calibration error is the sum over bins
    of (videos in the bin / all videos) · |accuracy - mean confidence| (Guo et al. 2017, equation 3).
    """
    confidence = np.exp(log_softmax(logits).max(1))
    bins = np.digitize(confidence, np.arange(1, num_bins) / num_bins, right=True)  # an edge belongs to the bin below
    count = np.bincount(bins, minlength=num_bins)
    some = np.where(count > 0, count, np.nan)
    means = [np.bincount(bins, values, num_bins) / some for values in (confidence, ranks(logits, labels) == 0)]
    gaps = np.nan_to_num(np.abs(means[1] - means[0])) * count
    return Calibration(means[0], means[1], count, float(gaps.sum() / len(labels)))


def log_softmax(logits: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
    """Returns the logarithms of the class probabilities, in float64.

    >>> np.exp(log_softmax(np.array([[0.0, 0.0]]))).tolist()
    [[0.5, 0.5]]
    """
    logits = logits.astype(np.float64)
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
