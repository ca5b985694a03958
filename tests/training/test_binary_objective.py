"""The objective of several labels a video, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from twostream.training.objective import BinaryCrossEntropy

HEAD = torch.tensor([[math.log(3), 0.0], [0.0, -math.log(3)]])  # sigmoids 3/4, 1/2; 1/2, 1/4
LABEL = torch.tensor([[1.0, 0.0], [0.0, 0.0]])


def test_binary_cross_entropy_is_the_mean_over_classes_by_hand() -> None:
    """-ln 3/4, -ln 1/2; -ln 1/2, -ln 3/4: every video has the mean of ln 4/3 and ln 2."""
    mean = (math.log(4 / 3) + math.log(2)) / 2
    assert BinaryCrossEntropy().each(HEAD, LABEL).tolist() == pytest.approx([mean, mean])
    assert BinaryCrossEntropy().mean(HEAD, LABEL, training=False).item() == pytest.approx(mean)


def test_labels_are_smoothed_in_training_alone() -> None:
    """Smoothing .2 of a class: .9 · -ln(3/4) + .1 · -ln(1/4), as of two classes; ln 2 stays ln 2."""
    smoothed = 0.9 * math.log(4 / 3) + 0.1 * math.log(4)
    objective = BinaryCrossEntropy(label_smoothing=0.2)
    assert objective.mean(HEAD, LABEL, training=True).item() == pytest.approx((smoothed + math.log(2)) / 2)
    assert objective.mean(HEAD, LABEL, training=False).item() == pytest.approx(
        BinaryCrossEntropy().mean(HEAD, LABEL, training=True).item()
    )
    assert objective.each(HEAD, LABEL).tolist() == BinaryCrossEntropy().each(HEAD, LABEL).tolist()
