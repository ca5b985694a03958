"""Numbers of a probe by hand, and what it says of them."""

from __future__ import annotations

import numpy as np
import pytest

from twostream.probe.logistic import fit_linear
from twostream.probe.outcome import measured, sentence, warnings
from twostream.probe.scoring import BOTH, kinds, unseen_scores


def scores_for(predicted: list[int], k: int = 2) -> np.ndarray:
    return np.eye(k)[predicted]


def outcome_of(n: int, rgb_wrong: int, both_wrong: int, flow_wrong: int = 0):
    """n videos of each of two classes, each a group; so many of the first are wrong."""
    labels = np.repeat([0, 1], n)

    def scored(wrong: int) -> np.ndarray:
        return scores_for([1] * wrong + [0] * (n - wrong) + [1] * n)

    scores = {BOTH: scored(both_wrong), "rgb": scored(rgb_wrong), "flow": scored(flow_wrong)}
    groups = [str(position) for position in range(2 * n)]
    return measured(scores, labels, groups, classes=("a", "b"), fitted=np.array([5, 9]))


def test_numbers_by_hand() -> None:
    labels, groups = np.array([0, 0, 0, 0, 1, 1]), list("abcdef")
    scores = {BOTH: scores_for([0, 0, 0, 1, 1, 1]), "rgb": scores_for([0, 0, 1, 1, 1, 0])}
    scores["flow"] = scores_for([1] * 6)
    found = measured(scores, labels, groups, classes=("a", "b"), fitted=np.array([3, 2]))
    assert {name: number.value for name, number in found.top1.items()} == {BOTH: 5 / 6, "rgb": 3 / 6, "flow": 2 / 6}
    assert {name: number.value for name, number in found.mean_class.items()} == {BOTH: 7 / 8, "rgb": 0.5, "flow": 0.5}
    assert found.gain is not None
    assert found.gain.value == pytest.approx(0.375)
    assert {name: row["gain"].value for name, row in found.classes.items()} == {"a": 0.25, "b": 0.5}
    assert found.largest == ("a", 4 / 6, 0.5)
    for number in (*found.top1.values(), *found.mean_class.values(), found.gain):
        assert number.low <= number.value <= number.high


def test_the_sentence_says_whether_the_difference_is_more_than_chance() -> None:
    assert "it helps, for the interval excludes zero" in sentence(outcome_of(40, rgb_wrong=20, both_wrong=0))
    assert "it harms, for the interval excludes zero" in sentence(outcome_of(40, rgb_wrong=0, both_wrong=20))
    said = sentence(outcome_of(5, rgb_wrong=1, both_wrong=0))
    assert said.startswith("both 1.00 (95 % ")
    assert ", rgb 0.90, flow 1.00: flow adds +0.10 to rgb" in said
    assert "the interval includes zero" in said


def test_few_videos_are_warned_of() -> None:
    assert warnings(outcome_of(25, rgb_wrong=1, both_wrong=0)) == []
    (line,) = warnings(outcome_of(5, rgb_wrong=1, both_wrong=0))
    assert line.startswith("10 test videos of 10 groups are few: both top-1 is known to 28 points (0.72 to 1.00)")


def test_of_one_stream_there_is_no_gain() -> None:
    labels = np.array([0, 1])
    found = measured({"rgb": scores_for([0, 1])}, labels, ["a", "b"], classes=("a", "b"), fitted=np.array([1, 1]))
    assert found.gain is None
    assert sentence(found).startswith("rgb 1.00 (95 % ")


def made(seed: int = 0):
    generator = np.random.default_rng(seed)
    labels = np.arange(18) % 3
    features = generator.normal(size=(18, 5)) + 2 * np.eye(5)[labels]
    return features, labels, [f"g{position // 3}" for position in range(18)]


def test_what_is_held_out_changes_nothing_in_the_fit() -> None:
    features, labels, groups = made()
    fold = (np.arange(12), np.arange(12, 18))
    before, strengths = unseen_scores(features, labels, groups, [fold], num_classes=3)
    changed, other = features.copy(), labels.copy()
    changed[13:], other[13:] = 100.0, 0
    after, again = unseen_scores(changed, other, groups, [fold], num_classes=3)
    assert strengths == again
    np.testing.assert_array_equal(before[12], after[12])
    assert sorted(before) == list(range(12, 18))


def test_scores_are_those_of_the_fit_to_the_training_videos() -> None:
    features, labels, groups = made()
    fold = (np.arange(12), np.arange(12, 18))
    found, (strength,) = unseen_scores(features, labels, groups, [fold], num_classes=3)
    fit = fit_linear(features[:12], labels[:12], groups[:12], num_classes=3)
    assert fit.strength == strength
    np.testing.assert_allclose(found[17], fit.scores(features[17:])[0], atol=1e-9)


def test_both_is_the_streams_side_by_side() -> None:
    rgb, flow = np.ones((3, 4)), np.zeros((3, 5))
    found = kinds({"rgb": rgb, "flow": flow})
    assert list(found) == [BOTH, "rgb", "flow"]
    assert found[BOTH].shape == (3, 9)
    assert list(kinds({"flow": flow})) == ["flow"]
