"""Class weights and the focal loss by hand, in training alone."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from twostream.training.objective import CrossEntropy

QUARTERS = torch.tensor([[math.log(3), 0.0], [math.log(3), 0.0], [math.log(3), 0.0]])  # 3/4 and 1/4, of three clips
LABELS = torch.tensor([0, 0, 1])
RIGHT, WRONG = -math.log(3 / 4), -math.log(1 / 4)


def test_the_sum_of_weighted_losses_is_divided_by_the_number_of_clips() -> None:
    """(.5 · -ln 3/4 · 2 + 2 · -ln 1/4) / 3: not / (.5 + .5 + 2), which is what PyTorch's `weight` does."""
    loss = CrossEntropy(class_weights=(0.5, 2.0)).mean(QUARTERS, LABELS, training=True)
    assert loss.item() == pytest.approx((0.5 * RIGHT * 2 + 2 * WRONG) / 3)
    two = CrossEntropy(class_weights=(0.5, 2.0)).mean(QUARTERS[:2], LABELS[:2], training=True)
    assert two.item() == pytest.approx(0.5 * RIGHT)
    theirs = F.cross_entropy(QUARTERS[:2], LABELS[:2], weight=torch.tensor([0.5, 2.0]))
    assert theirs.item() == pytest.approx(RIGHT)


def test_a_batch_in_parts_has_the_same_loss() -> None:
    """Means of parts, weighed by their clips, are that of all: what accumulation and processes do."""
    torch.manual_seed(0)
    heads, labels = torch.randn(7, 3), torch.tensor([0, 0, 1, 2, 2, 0, 1])
    loss = CrossEntropy(label_smoothing=0.1, class_weights=(0.2, 3.0, 1.0), focal=2.0)
    parts = [
        loss.mean(part, label, training=True) * len(label)
        for part, label in zip(heads.split([4, 2, 1]), labels.split([4, 2, 1]), strict=True)
    ]
    torch.testing.assert_close(sum(parts) / 7, loss.mean(heads, labels, training=True))


def test_smoothed_labels_have_the_weight_of_their_own_class() -> None:
    """Smoothing .2 of two classes: 2 · (.9 · -ln 1/4 + .1 · -ln 3/4) for class 1."""
    loss = CrossEntropy(label_smoothing=0.2, class_weights=(0.5, 2.0)).mean(QUARTERS[2:], LABELS[2:], training=True)
    assert loss.item() == pytest.approx(2 * (0.9 * WRONG + 0.1 * RIGHT))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_the_focal_loss_and_its_gradient_by_hand(gamma: float) -> None:
    """Of p: (1 - p)^gamma · -ln p. Slope to the score of its class (Lin et al. 2017, appendix B, with y = 1):

    (1 - p)^gamma · (gamma · p · ln p + p - 1).
    """
    for label, p in ((0, 3 / 4), (1, 1 / 4)):
        heads = QUARTERS[:1].double().requires_grad_()
        loss = CrossEntropy(focal=gamma).mean(heads, torch.tensor([label]), training=True)
        loss.backward()
        assert loss.item() == pytest.approx((1 - p) ** gamma * -math.log(p))
        slope = (1 - p) ** gamma * (gamma * p * math.log(p) + p - 1)
        assert heads.grad is not None
        assert heads.grad[0, label].item() == pytest.approx(slope)
        assert heads.grad.sum().item() == pytest.approx(0)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_what_is_certainly_right_or_wrong_has_a_finite_gradient(gamma: float) -> None:
    heads = torch.tensor([[300.0, 0.0], [300.0, 0.0]], requires_grad=True)
    loss = CrossEntropy(focal=gamma).mean(heads, torch.tensor([0, 1]), training=True)
    loss.backward()
    assert loss.item() == pytest.approx(150)  # 0 and 1 · 300
    assert heads.grad is not None
    assert heads.grad.isfinite().all()
    assert heads.grad[0].tolist() == [0, 0]


def test_focal_and_weights_multiply() -> None:
    loss = CrossEntropy(class_weights=(0.5, 2.0), focal=2.0).mean(QUARTERS, LABELS, training=True)
    assert loss.item() == pytest.approx((0.5 * RIGHT / 16 * 2 + 2 * WRONG * 9 / 16) / 3)


def test_without_them_the_loss_is_that_of_before_to_the_last_bit() -> None:
    torch.manual_seed(0)
    heads, labels = torch.randn(64, 11), torch.randint(11, (64,))
    for smoothing in (0.0, 0.1):
        loss = CrossEntropy(label_smoothing=smoothing)
        assert torch.equal(
            loss.mean(heads, labels, training=True), F.cross_entropy(heads, labels, label_smoothing=smoothing)
        )


def test_tests_are_plain() -> None:
    loss = CrossEntropy(label_smoothing=0.1, class_weights=(0.5, 2.0), focal=2.0)
    assert loss.mean(QUARTERS, LABELS, training=False).item() == pytest.approx((2 * RIGHT + WRONG) / 3)
    assert loss.each(QUARTERS, LABELS).tolist() == pytest.approx([RIGHT, RIGHT, WRONG])
