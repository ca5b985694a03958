"""Score fusion by hand, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from twostream.metrics.score_fusion import fuse, grid, parse_weights, search
from twostream.metrics.scores import Scores


def scores(logits, *, videos=("a/1", "b/1"), labels=(0, 1), **changes) -> Scores:
    fields = {
        "videos": videos,
        "labels": np.array(labels),
        "logits": np.array(logits, np.float32),
        "classes": ("a", "b"),
        "protocol": "tsn",
        "checkpoint": "aa",
        "data": "ucf101",
        "split": 1,
        "part": "test",
        "mirror": False,
    }
    return Scores(**{**fields, **changes})


RGB = scores([[2, 0], [1, 0]])
FLOW = scores([[0, 1], [-2, 3]], protocol="quick", checkpoint="bb")
NAMES = ("rgb.npz", "flow.npz")


def test_the_weighted_mean_of_logits_by_hand() -> None:
    """Weights 1 : 1.5 are .4 and .6."""
    fused = fuse([RGB, FLOW], (1, 1.5), softmax=False, names=NAMES)
    assert fused.logits == pytest.approx(np.array([[0.8, 0.6], [-0.8, 1.8]]))
    assert (fused.videos, fused.labels.tolist()) == (RGB.videos, [0, 1])
    assert (fused.protocol, fused.checkpoint, fused.part) == ("tsn+quick", "aa+bb", "test")


def test_the_weighted_mean_of_probabilities_by_hand() -> None:
    """(3/4, 1/4) and (1/5, 4/5), weights 1 : 3: (15 + 12, 5 + 48) / 80. A constant added to logits changes nothing."""
    one = scores(np.log([[0.75, 0.25]]), videos=("a/1",), labels=(0,))
    other = scores(np.log([[0.2, 0.8]]) + 5, videos=("a/1",), labels=(0,))
    fused = fuse([one, other], (1, 3), softmax=True, names=NAMES)
    assert np.exp(fused.logits) == pytest.approx(np.array([[27 / 80, 53 / 80]]), rel=1e-6)


def test_improbable_classes_keep_their_order() -> None:
    """Of e^-800, e^-900 and 1, float64 knows only the last; half of each file's is e^-800 / 2, e^-900 / 2."""
    one = scores([[-800, -900, 0]], videos=("a/1",), labels=(0,), classes=("a", "b", "c"))
    fused = fuse([one, one], (1, 1), softmax=True, names=NAMES)
    assert fused.logits == pytest.approx(np.array([[-800, -900, 0]]))
    assert fuse([one, one], (1, 0), softmax=True, names=NAMES).logits == pytest.approx(np.array([[-800, -900, 0]]))


def test_logits_and_probabilities_can_disagree() -> None:
    """A margin of 4 against two of -1.5 wins by logits: 4 - 3 > 0. By probabilities .98 + 2 · .18 = 1.35 < 1.5."""
    sure = scores([[4.0, 0.0]], videos=("a/1",), labels=(0,))
    against = scores([[0.0, 1.5]], videos=("a/1",), labels=(0,))
    files, names = [sure, against, against], ("1", "2", "3")
    assert fuse(files, (1, 1, 1), softmax=False, names=names).logits.argmax() == 0
    assert fuse(files, (1, 1, 1), softmax=True, names=names).logits.argmax() == 1


def test_one_file_alone_comes_out_as_it_went_in() -> None:
    assert np.array_equal(fuse([RGB, FLOW], (1, 0), softmax=False, names=NAMES).logits, RGB.logits)


REFUSED = [
    (
        {"videos": ("a/2", "b/1")},
        r"rgb.npz and flow.npz are not .* same videos \(2 and 2\): 1 only in .*\(a/1\), 1",
    ),
    ({"videos": ("b/1",), "labels": (1,), "logits": [[0, 1]]}, r"\(2 and 1\): 1 only in the first \(a/1\), 0 only"),
    ({"labels": (1, 1)}, "other labels for 1 of 2 videos: a/1"),
    ({"classes": ("a", "c")}, r"differ in their classes \(2 and 2\): b / c"),
    ({"classes": ("a", "b", "c"), "logits": [[0, 1, 0]] * 2}, r"differ in their classes \(2 and 3\): none / c"),
    ({"split": 2}, "differ in split: 1 and 2"),
    ({"part": "validation"}, "differ in part: 'test' and 'validation'"),
    ({"mirror": True}, "differ in data.mirror: false and true"),
]


@pytest.mark.parametrize(("changes", "told"), REFUSED)
def test_files_of_different_tests_are_refused(changes, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        fuse([RGB, scores(**{"logits": [[0, 1], [0, 1]], **changes})], (1, 1), softmax=False, names=NAMES)


def test_a_file_that_does_not_tell_of_mirrors_is_taken() -> None:
    fused = fuse([scores([[2, 0], [1, 0]], mirror=None), FLOW], (1, 1), softmax=False, names=NAMES)
    assert fused.mirror is False


@pytest.mark.parametrize("text", ["1", "1:2:3", "1:-1", "0:0", "a:b", "1:nan", "1:inf", ""])
def test_wrong_weights_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=rf"--weights '{text}': must be 2 numbers, .* such as 1:1\.5"):
        parse_weights(text, 2)


def validation(logits, labels) -> Scores:
    ids = tuple(f"{i}" for i in range(len(labels)))
    return scores(logits, videos=ids, labels=labels, part="validation")


def test_the_search_finds_the_only_weights_that_are_always_right() -> None:
    """Margins for the true class: w - .6 (1 - w) > 0 needs w > .375, .5 (1 - w) - .7 w > 0 needs w < .4167: .4."""
    one = validation([[1, 0], [0.7, 0]], (0, 1))
    other = validation([[-0.6, 0], [-0.5, 0]], (0, 1))
    weights, metrics = search([one, other], softmax=False, names=NAMES)
    assert weights == pytest.approx((0.4, 0.6))
    assert metrics["top1"] == 1


def test_equal_files_are_weighed_equally() -> None:
    one = validation([[1, 0], [0, 1]], (0, 1))
    assert search([one, one], softmax=True, names=NAMES)[0] == (0.5, 0.5)


def test_a_search_on_test_videos_is_refused() -> None:
    with pytest.raises(ValueError, match=r"--search: rgb.npz, flow.npz is of test videos; .*--part validation"):
        search([RGB, FLOW], softmax=False, names=NAMES)
    five = [validation([[1, 0]], (0,))] * 5
    with pytest.raises(ValueError, match="5 files; at most 4"):
        search(five, softmax=False, names="12345")


def test_the_grid_is_all_of_it() -> None:
    assert all(sum(weights) == pytest.approx(1) for weights in grid(3))
    assert len(set(grid(3))) == 231  # 22 over 2
