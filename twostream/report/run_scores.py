"""Reads what the finished runs of a sweep have scored."""

from __future__ import annotations

from twostream.metrics.scores import Scores
from twostream.runs.sweep import Cell


def scores_of(cell: Cell) -> Scores | None:
    """Returns the scores of the test videos of a finished run; None if it lacks test_scores.npz, or it is damaged."""
    if not cell.folder or not cell.results:
        return None
    try:
        return Scores.load(cell.folder / "test_scores.npz")
    except ValueError:
        return None
