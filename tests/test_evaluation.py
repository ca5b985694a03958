"""Numbers of a result table."""

from __future__ import annotations

import math

import torch

from twostream.evaluation import class_accuracy, mean_class_accuracy


def test_mean_class_accuracy_differs_from_overall_accuracy() -> None:
    """90 of 90 and 0 of 10 correct: .9 of the videos, .5 of the classes."""
    confusion = torch.tensor([[90, 0], [10, 0]])
    assert mean_class_accuracy(confusion) == 0.5
    assert confusion.diagonal().sum() / confusion.sum() == 0.9


def test_a_class_without_videos_does_not_count() -> None:
    """Even if something was taken for it: it is no row of the matrix that has videos."""
    confusion = torch.tensor([[3, 1, 0], [0, 0, 0], [0, 1, 1]])
    first, second, third = class_accuracy(confusion).tolist()
    assert (first, third) == (0.75, 0.5)
    assert math.isnan(second)
    assert mean_class_accuracy(confusion) == 0.625
