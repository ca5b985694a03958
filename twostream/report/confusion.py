"""Computes confusion matrices of groups, from the scores that their runs have written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from twostream.metrics import confusion_of
from twostream.metrics.scores import Scores
from twostream.runs.sweep import Cell

MOST_CLASSES = 5_000  # with more the matrix is too large for a picture


class Confusion(NamedTuple):
    """The confusion matrix of one run, or the sum of those of several."""

    classes: tuple[str, ...]
    counts: Int[np.ndarray, "k k"]  # [true class, predicted class]
    runs: int


def group_confusion(cells: Sequence[Cell]) -> Confusion | None:
    """Returns the sum over the finished runs that have test_scores.npz.

    Returns None if no run has it, or if their classes differ.
    """
    found = [read_confusion(cell.folder / "test_scores.npz") for cell in cells if cell.folder and cell.results]
    matrices = [matrix for matrix in found if matrix is not None]
    if len({matrix.classes for matrix in matrices}) != 1:
        return None
    counts = sum((matrix.counts for matrix in matrices), start=np.zeros_like(matrices[0].counts))
    return Confusion(matrices[0].classes, counts, len(matrices))


def read_confusion(scores_npz: Path) -> Confusion | None:
    """Returns the matrix of one run, or None if its file is absent, cannot be read, or has too many classes."""
    try:
        scores = Scores.load(scores_npz)
    except ValueError:
        return None
    if not 0 < len(scores.classes) <= MOST_CLASSES:
        return None
    return Confusion(scores.classes, confusion_of(scores.logits, scores.labels), 1)
