"""Numbers of a result table."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, recall_score

from twostream.metrics import TOP, calibration, class_f1, confusion_of, count_right, measure, ranks, untested
from twostream.metrics.accuracy import accuracies
from twostream.metrics.running import FiniteMean, RunningAccuracy


def test_mean_class_accuracy_differs_from_overall_accuracy() -> None:
    """90 of 90 and 0 of 10 correct: .9 of the videos, .5 of the classes. A class without videos does not count.

    F1: 2 · 90 / (90 + 90) and 0 of class 1.
    """
    labels, taken = np.array([0] * 90 + [1] * 10), np.array([0] * 90 + [2] * 10)
    found = accuracies(count_right(np.eye(3)[taken], labels))
    assert found == {"top1": 0.9, "mean_class_top1": 0.5, "macro_f1": 0.5}


def test_f1_by_hand_and_as_scikit_learn_has_it() -> None:
    """Of a, b, c: 3, 2 and 0 videos. a is taken for a, a, b, and b for b, c: F1 2 · 2/(3 + 2) and 2 · 1/(2 + 2)."""
    labels, taken = np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 2])
    counted = count_right(np.eye(3)[taken], labels)
    assert class_f1(counted)[:2].tolist() == [0.8, 0.5]
    assert math.isnan(class_f1(counted)[2])
    assert accuracies(counted)["macro_f1"] == pytest.approx(0.65)
    rng = np.random.default_rng(0)
    for videos in (5, 40, 300):
        labels, logits = rng.integers(0, 9, videos) ** 2 // 9, rng.normal(size=(videos, 9))
        logits[np.arange(videos), labels] += 1
        there = np.unique(labels)
        theirs = f1_score(labels, logits.argmax(1), average="macro", labels=there, zero_division=0)
        assert measure(logits, labels)["macro_f1"] == pytest.approx(theirs)
        assert measure(logits, labels)["mean_class_top1"] == pytest.approx(
            recall_score(labels, logits.argmax(1), average="macro", labels=there, zero_division=0)
        )


def test_classes_that_were_not_tested_are_named() -> None:
    assert untested(np.array([1, 0, 2]), ("a", "b", "c")) == ""
    text = "no video of 2 of 3 classes was tested, and means over classes (mean_class, macro_f1) leave them out: a, c"
    assert untested(np.array([1, 1]), ("a", "b", "c")) == text


def test_overall_and_mean_class_accuracy_of_an_unbalanced_test() -> None:
    """Of class 0 all 6 right, of class 1 one of 3, of class 2 the only one wrong: 7/10 and (1 + 1/3 + 0)/3 = 4/9.

    Top-5 of six classes: only the sixth place is wrong. Video 9 of class 2 has it: 9/10 and (1 + 1 + 0)/3.
    """
    labels = np.array([0] * 6 + [1] * 3 + [2])
    logits = np.zeros((10, 6), np.float32)
    logits[range(9), [0, 0, 0, 0, 0, 0, 1, 0, 0]] = 9.0
    logits[9] = [5.0, 4.0, -1.0, 3.0, 2.0, 1.0]
    found = measure(logits, labels)
    assert found["top1"] == pytest.approx(0.7)
    assert found["mean_class_top1"] == pytest.approx(4 / 9)
    assert found["top5"] == pytest.approx(0.9)
    assert found["mean_class_top5"] == pytest.approx(2 / 3)


def test_there_is_no_top5_of_five_classes_and_no_metric_of_nothing() -> None:
    assert set(measure(np.eye(5), np.arange(5))) == {"top1", "mean_class_top1", "macro_f1", "loss", "ece"}
    with pytest.raises(ValueError, match="no video was scored"):
        measure(np.zeros((0, 3)), np.zeros(0, int))
    with pytest.raises(ValueError, match="the scores of 1 of 2 videos are not finite"):
        measure(np.array([[0.0, math.nan], [0.0, 1.0]]), np.array([0, 1]))


def test_of_equal_scores_the_first_class_is_taken() -> None:
    tied, labels = np.zeros((3, 3)), np.array([0, 1, 2])
    assert ranks(tied, labels).tolist() == [0, 1, 2]
    assert confusion_of(tied, labels).tolist() == [[1, 0, 0], [1, 0, 0], [1, 0, 0]]


@pytest.mark.parametrize("logits", [[math.nan] * 6, [math.nan, 1, 0, 0, 0, 0]])
def test_a_score_that_is_no_number_is_never_right(logits: list[float]) -> None:
    """A network that returns NaN would be right each time, where a score is right that no other one exceeds."""
    assert ranks(np.array([logits]), np.array([0])).tolist() == [6]
    running = RunningAccuracy(6)
    running.update(torch.tensor([logits]), torch.tensor([0]))
    assert running.compute() == accuracies(count_right(np.array([logits]), np.array([0])))
    assert running.compute()["macro_f1"] == 0


def test_loss_by_hand() -> None:
    """-ln 3/4 and -ln 1/4, however large the scores are."""
    logits = np.array([[math.log(3), 0.0], [1e4 + math.log(3), 1e4]])
    assert measure(logits, np.array([0, 1]))["loss"] == pytest.approx(-(math.log(0.75) + math.log(0.25)) / 2)


def test_16_bit_scores_are_measured_alike_in_training_and_of_files() -> None:
    """Thousands of ties: in batches as tensors, and at once as float32 arrays, to the last digit.

    By an independent formula: a stable descending sort has the first of equal classes first.
    """
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3000, 101, generator=generator).bfloat16()
    labels = torch.randint(101, (3000,), generator=generator)
    running = RunningAccuracy(101)
    for batch, label in zip(logits.split(32), labels.split(32), strict=True):
        running.update(batch, label)
    ours, files = running.compute(), measure(logits.float().numpy(), labels.numpy())
    order = np.argsort(-logits.double().numpy(), axis=1, kind="stable")
    for name, places in TOP.items():
        right = (order[:, :places] == labels.numpy()[:, None]).any(1)
        assert ours[name] == files[name] == right.mean()
        assert ours[f"mean_class_{name}"] == files[f"mean_class_{name}"]
    assert ours["macro_f1"] == files["macro_f1"]
    assert ours["macro_f1"] == pytest.approx(f1_score(labels.numpy(), order[:, 0], average="macro"))


def test_a_batch_whose_loss_is_not_finite_does_not_count() -> None:
    """Losses 1 of two clips, NaN, 4 of one: (2 · 1 + 4) / 3 = 2; one of three clips is right."""
    mean, accuracy = FiniteMean(), RunningAccuracy(2)
    scores = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    for loss, labels in ((1.0, [0, 1]), (math.nan, [0, 0]), (4.0, [1])):
        value, label = torch.tensor(loss), torch.tensor(labels)
        mean.update(value, weight=len(label))
        accuracy.update(scores[: len(label)], label, value.isfinite())
    assert mean.compute() == 2
    assert accuracy.compute()["top1"] == pytest.approx(1 / 3)
    assert accuracy.compute()["macro_f1"] == pytest.approx((2 * 1 / (1 + 3) + 0) / 2)


def logits_of(*probabilities: tuple[float, ...]) -> np.ndarray:
    return np.log(np.maximum(probabilities, 1e-300))


def test_calibration_error_by_hand() -> None:
    """Five bins. Confidences .55, .6 (in (.4, .6]) right and wrong; .9, .95, 1 (in (.8, 1]) right, right, wrong.

    First: |1/2 - .575| · 2 = .15. Second: |2/3 - .95| · 3 = .85. Sum 1 of 5 videos: .2.
    """
    logits = logits_of((0.55, 0.45), (0.6, 0.4), (0.9, 0.1), (0.95, 0.05), (1.0, 0.0))
    found = calibration(logits, np.array([0, 1, 0, 0, 1]), num_bins=5)
    assert found.count.tolist() == [0, 0, 2, 0, 3]
    assert found.error == pytest.approx(0.2)
    assert found.accuracy[[2, 4]].tolist() == pytest.approx([1 / 2, 2 / 3])
    assert found.confidence[[2, 4]].tolist() == pytest.approx([0.575, 0.95])
    assert math.isnan(found.accuracy[0])


def test_a_confidence_on_an_edge_is_in_the_bin_below() -> None:
    """((m-1)/M, m/M]: 1/2 of two classes that are alike is in the first of two bins."""
    assert calibration(np.zeros((1, 2)), np.array([0]), num_bins=2).count.tolist() == [1, 0]
    assert calibration(np.zeros((1, 4)), np.array([0])).count.argmax() == 3, "1/4 is in (3/15, 4/15]"


def test_always_sure_and_right_half_of_the_time() -> None:
    """Confidence 1, accuracy .5: an error of .5, whatever the bins."""
    assert measure(np.array([[90.0, 0.0], [90.0, 0.0]]), np.array([0, 1]))["ece"] == pytest.approx(0.5)
