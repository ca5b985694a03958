"""Computes confusion matrices of groups, from the scores that their runs have written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from twostream.metrics import confusion_of
from twostream.metrics.scores import Scores
from twostream.report.run_scores import scores_of
from twostream.runs.sweep import Cell

MOST_CLASSES = 5_000  # with more the matrix is too large for a picture


class Confusion(NamedTuple):
    """The confusion matrix of one run, or the sum of those of several."""

    classes: tuple[str, ...]
    counts: Int[np.ndarray, "k k"]  # [true class, predicted class]
    runs: int


def group_confusion(cells: Sequence[Cell]) -> Confusion | None:
    """Returns the sum over the finished runs that have test_scores.npz.

    Returns None if no run has it, if their classes differ, if there are too many of them, or several labels a video.
    """
    found = [scores for cell in cells if (scores := scores_of(cell)) and not scores.multi]
    matrices = [confusion(scores) for scores in found if 0 < len(scores.classes) <= MOST_CLASSES]
    if len({matrix.classes for matrix in matrices}) != 1:
        return None
    counts = sum((matrix.counts for matrix in matrices), start=np.zeros_like(matrices[0].counts))
    return Confusion(matrices[0].classes, counts, len(matrices))


def confusion(scores: Scores) -> Confusion:
    """Returns the matrix of one run."""
    return Confusion(scores.classes, confusion_of(scores.logits, scores.labels), 1)
