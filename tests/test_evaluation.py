"""Numbers of a result table."""

from __future__ import annotations

import math

import pytest
import torch

from twostream.evaluation import calibration, class_accuracy, confusion_of, mean_class_accuracy, measure, ranks


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


def logits_of(*probabilities: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(probabilities, dtype=torch.float64).log()


def test_overall_and_mean_class_accuracy_of_an_unbalanced_test() -> None:
    """Of class 0 all 6 right, of class 1 one of 3, of class 2 the only one wrong: 7/10 and (1 + 1/3 + 0)/3 = 4/9.

    Top-5 of six classes: only the sixth place is wrong. Video 9 of class 2 has it: 9/10 and (1 + 1 + 0)/3.
    """
    labels = torch.tensor([0] * 6 + [1] * 3 + [2])
    logits = torch.zeros(10, 6)
    logits[range(9), [0, 0, 0, 0, 0, 0, 1, 0, 0]] = 9.0
    logits[9] = torch.tensor([5.0, 4.0, -1.0, 3.0, 2.0, 1.0])
    found = measure(logits, labels)
    assert found["top1"] == pytest.approx(0.7)
    assert found["mean_class_top1"] == pytest.approx(4 / 9)
    assert found["top5"] == pytest.approx(0.9)
    assert found["mean_class_top5"] == pytest.approx(2 / 3)
    assert found["mean_class_top1"] == pytest.approx(float(mean_class_accuracy(confusion_of(logits, labels))))


def test_there_is_no_top5_of_five_classes_and_no_metric_of_nothing() -> None:
    assert set(measure(torch.eye(5), torch.arange(5))) == {"top1", "mean_class_top1", "loss", "ece"}
    with pytest.raises(ValueError, match="no video was scored"):
        measure(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(ValueError, match="the scores of 1 of 2 videos are not finite"):
        measure(torch.tensor([[0.0, math.nan], [0.0, 1.0]]), torch.tensor([0, 1]))


def test_of_equal_scores_the_first_class_is_taken() -> None:
    tied = torch.zeros(3, 3)
    labels = torch.tensor([0, 1, 2])
    assert ranks(tied, labels).tolist() == [0, 1, 2]
    assert confusion_of(tied, labels).tolist() == [[1, 0, 0], [1, 0, 0], [1, 0, 0]]


def test_calibration_error_by_hand() -> None:
    """Five bins. Confidences .55, .6 (in (.4, .6]) right and wrong; .9, .95, 1 (in (.8, 1]) right, right, wrong.

    First: |1/2 - .575| · 2 = .15. Second: |2/3 - .95| · 3 = .85. Sum 1 of 5 videos: .2.
    """
    logits = logits_of((0.55, 0.45), (0.6, 0.4), (0.9, 0.1), (0.95, 0.05), (1.0, 0.0)).clamp_min(-700)
    found = calibration(logits, torch.tensor([0, 1, 0, 0, 1]), num_bins=5)
    assert found.count.tolist() == [0, 0, 2, 0, 3]
    assert found.error == pytest.approx(0.2)
    assert found.accuracy[[2, 4]].tolist() == pytest.approx([1 / 2, 2 / 3])
    assert found.confidence[[2, 4]].tolist() == pytest.approx([0.575, 0.95])
    assert math.isnan(found.accuracy[0])


def test_a_confidence_on_an_edge_is_in_the_bin_below() -> None:
    """((m-1)/M, m/M]: 1/2 of two classes that are alike is in the first of two bins."""
    assert calibration(torch.zeros(1, 2), torch.tensor([0]), num_bins=2).count.tolist() == [1, 0]
    assert calibration(torch.zeros(1, 4), torch.tensor([0])).count.argmax() == 3, "1/4 is in (3/15, 4/15]"


def test_always_sure_and_right_half_of_the_time() -> None:
    """Confidence 1, accuracy .5: an error of .5, whatever the bins."""
    logits = torch.tensor([[90.0, 0.0], [90.0, 0.0]])
    assert measure(logits, torch.tensor([0, 1]))["ece"] == pytest.approx(0.5)
