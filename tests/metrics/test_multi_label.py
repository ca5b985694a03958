"""Several labels a video: numbers by hand, and those of scikit-learn from the same scores."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score, log_loss

from twostream.data.sources import Video
from twostream.metrics.multi_label import (
    average_precisions,
    choose_thresholds,
    class_numbers,
    measure_labels,
    positives_of,
    probabilities,
)
from twostream.metrics.score_fusion import fuse, search
from twostream.metrics.scores import Scores
from twostream.metrics.table import metrics_of, untested_in
from twostream.training.epoch_scores import EpochScores


def drawn(n: int = 200, k: int = 7, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores with ties, labels of which two classes have no positive."""
    rng = np.random.default_rng(seed)
    labels = rng.random((n, k)) < 0.3
    labels[:, [1, 4]] = False
    return np.round(rng.standard_normal((n, k)) + labels, 1).astype(np.float32), labels


def test_average_precision_by_hand() -> None:
    """Ranks + - + -: (1/1 + 2/3) / 2. A tie of + and - at the top, then +: 1/2 · 1/2 + 1/2 · 2/3."""
    logits = np.array([[4, 2], [3, 2], [2, 1], [1, 0]], np.float32)
    labels = np.array([[1, 1], [0, 0], [1, 1], [0, 0]], bool)
    assert average_precisions(logits, labels) == pytest.approx([5 / 6, 1 / 4 + 1 / 3])


def test_map_and_f1_are_those_of_scikit_learn() -> None:
    logits, labels = drawn()
    thresholds = np.linspace(0.2, 0.8, 7)
    found, some = measure_labels(logits, labels, thresholds), labels.any(0)
    assert found["map"] == average_precision_score(labels[:, some], logits[:, some], average="macro")
    predicted = 1 / (1 + np.exp(-logits.astype(float))) > thresholds
    assert found["micro_f1"] == pytest.approx(f1_score(labels, predicted, average="micro"), abs=1e-12)
    macro = f1_score(labels, predicted, average="macro", labels=np.flatnonzero(some))
    assert found["macro_f1"] == pytest.approx(macro, abs=1e-12)
    of_classes = [log_loss(labels[:, k], probabilities(logits[:, k]), labels=[0, 1]) for k in range(7)]
    assert found["loss"] == pytest.approx(np.mean(of_classes))


def test_a_class_without_a_positive_video_is_in_no_mean_and_named() -> None:
    logits = np.array([[1.0, 9.0], [-1.0, 9.0]])
    labels = np.array([[True, False], [False, False]])
    found = measure_labels(logits, labels)
    assert (found["map"], found["macro_f1"]) == (1.0, 1.0)
    assert found["micro_f1"] == pytest.approx(2 * 1 / (1 + 3)), "what is predicted of that class counts there"
    told = untested_in(scores(logits, labels=labels))
    assert told == "no video of 1 of 2 classes was tested, and means over classes (map, macro_f1) leave it out: b"
    assert math.isnan(average_precisions(logits, labels)[1])
    assert math.isnan(measure_labels(logits, np.zeros((2, 2), bool))["map"])


def test_scores_that_are_no_numbers_break_nothing() -> None:
    """Training may diverge: NaN is the lowest score, as -inf."""
    labels = np.array([[True], [False], [True]])
    assert average_precisions(np.array([[np.nan], [0.0], [np.inf]]), labels) == pytest.approx([(1 + 2 / 3) / 2])
    assert choose_thresholds(np.array([[np.nan], [0.0], [np.inf]]), labels).shape == (1,)
    assert choose_thresholds(np.full((3, 1), np.nan), labels).tolist() == [0.5]


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def test_thresholds_by_hand() -> None:
    """Probabilities .9+ .7+ .4- .2: F1 is 1 between .7 and .4. Nobody positive: one half."""
    logits = np.array([[logit(p), 0.0] for p in (0.2, 0.9, 0.4, 0.7)])
    labels = np.array([[0, 0], [1, 0], [0, 0], [1, 0]], bool)
    assert choose_thresholds(logits, labels) == pytest.approx([0.55, 0.5])
    # .9+ .6- .3+ .2-: two of two at .25 (F1 4/5); at .75 F1 is 2/3
    logits = np.array([[logit(p)] for p in (0.9, 0.6, 0.3, 0.2)])
    assert choose_thresholds(logits, np.array([[1], [0], [1], [0]], bool)) == pytest.approx([0.25])


def test_of_equal_thresholds_the_nearest_to_one_half_is_chosen() -> None:
    """.9+ .6- .5- .1+: F1 is 2/3 after the first (.75), and after all four (.05); .75 is nearer."""
    logits = np.array([[logit(p)] for p in (0.9, 0.6, 0.5, 0.1)])
    assert choose_thresholds(logits, np.array([[1], [0], [0], [1]], bool)) == pytest.approx([0.75])


def test_equal_scores_are_never_parted() -> None:
    logits, labels = drawn(60, 7, seed=3)
    thresholds = choose_thresholds(logits, labels)
    best = class_numbers(logits, labels, thresholds).f1
    for k in np.flatnonzero(labels.any(0)):
        above = [probabilities(logits[:, k]) > one for one in np.linspace(0.01, 0.99, 500)]
        f1 = [2 * (labels[:, k] & one).sum() / (labels[:, k].sum() + one.sum()) for one in above]
        assert best[k] == pytest.approx(max(f1))


def test_an_epoch_in_batches_is_measured_as_a_whole() -> None:
    logits, labels = drawn()
    kept = EpochScores(7)
    for start in range(0, 200, 32):
        kept.update(torch.tensor(logits[start : start + 32]), torch.tensor(labels[start : start + 32]).float())
    whole = measure_labels(logits, labels, choose_thresholds(logits, labels))
    assert kept.compute(kept.thresholds()) == {name: whole[name] for name in ("map", "macro_f1", "micro_f1")}
    kept.reset()
    assert math.isnan(kept.compute(None)["map"]), "no video could be read"


# ---- files of scores, and their fusion ----


def scores(logits, labels=((1, 0), (1, 1)), **changes) -> Scores:
    fields = {
        "videos": ("1.mp4", "2.mp4"),
        "labels": np.array(labels, bool),
        "logits": np.array(logits, np.float32),
        "classes": ("a", "b"),
        "protocol": "train",
        "checkpoint": "aa",
        "data": "folder",
        "split": 1,
        "part": "test",
    }
    return Scores(**{**fields, **changes})


def test_a_file_of_several_labels_comes_back(tmp_path: Path) -> None:
    original = scores([[2, 0], [1, -1]], thresholds=np.array([0.25, 0.5]))
    original.save(tmp_path / "s.npz")
    again = Scores.load(tmp_path / "s.npz")
    assert again.multi
    assert again.labels.tolist() == [[True, False], [True, True]]
    assert again.thresholds is not None
    assert again.thresholds.tolist() == [0.25, 0.5]
    scores([[2, 0], [1, -1]]).save(tmp_path / "s.npz")
    assert Scores.load(tmp_path / "s.npz").thresholds is None


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"labels": ((1, 0, 0), (1, 1, 0))}, r"labels \(2, 3\)"),
        ({"thresholds": np.array([0.5])}, "must be a probability for each of 2 classes"),
        ({"thresholds": np.array([0.5, 1.5])}, "must be a probability"),
        ({"thresholds": np.array([0.5, np.nan])}, "must be a probability"),
        ({"labels": (0, 1), "thresholds": np.array([0.5, 0.5])}, "of several labels"),
    ],
)
def test_fields_that_do_not_fit_are_refused(changes, told: str) -> None:
    if changes.get("labels") == (0, 1):
        changes = {**changes, "labels": np.array([0, 1])}
        with pytest.raises(ValueError, match=told):
            Scores(**{**vars(scores([[2, 0], [1, -1]])), **changes})
        return
    with pytest.raises(ValueError, match=told):
        scores([[2, 0], [1, -1]], **changes)


def test_scores_of_videos_know_their_labels() -> None:
    named = {"b": (), "a": (0, 1)}
    videos = [Video(id=name, path=Path(name), label=-1, group=name, labels=labels) for name, labels in named.items()]
    found = Scores.of(
        videos,
        {0: np.zeros(2), 1: np.ones(2)},
        classes=("x", "y"),
        protocol="train",
        checkpoint="",
        data="folder",
        split=1,
        part="test",
    )
    assert found.videos == ("a", "b")
    assert found.labels.tolist() == [[True, True], [False, False]]
    assert positives_of(videos, 2).tolist() == [[False, False], [True, True]]


def test_f1_of_a_file_is_at_its_thresholds() -> None:
    """Probabilities .75, .5 of class a, both positive: one above one half, both above .4."""
    file = scores([[math.log(3), -1], [0, 1]])
    assert metrics_of(file)["macro_f1"] == pytest.approx((2 / 3 + 1) / 2)
    assert metrics_of(scores(file.logits, thresholds=np.array([0.4, 0.5])))["macro_f1"] == 1
    with pytest.raises(ValueError, match="the scores of 1 of 2 videos are not finite"):
        metrics_of(scores([[np.nan, 0], [0, 0]]))


def test_files_are_fused_by_logits_or_by_sigmoids_by_hand() -> None:
    """Probabilities .75 and .2, weights 1 : 3: (.75 + .6) / 4 = .3375. Logits: their mean."""
    one, other = scores([[math.log(3), 0], [0, 0]]), scores([[math.log(0.25), 0], [0, 0]])
    fused = fuse([one, other], (1, 3), softmax=True, names=("1", "2"))
    assert fused.multi
    assert fused.thresholds is None
    assert fused.logits[0, 0] == pytest.approx(math.log(0.3375 / 0.6625), rel=1e-6)
    assert fused.logits[1] == pytest.approx([0, 0], abs=1e-7)
    mean = fuse([one, other], (1, 3), softmax=False, names=("1", "2"))
    assert mean.logits[0, 0] == pytest.approx((math.log(3) + 3 * math.log(0.25)) / 4)


def test_tiny_sigmoids_keep_their_order() -> None:
    one = scores([[-800, -900], [800, 0]])
    assert fuse([one, one], (1, 1), softmax=True, names=("1", "2")).logits == pytest.approx(one.logits)


def test_files_of_other_labels_are_refused() -> None:
    one = scores([[2, 0], [1, -1]])
    with pytest.raises(ValueError, match=r"have other labels for 1 of 2 videos: 2.mp4"):
        fuse([one, scores(one.logits, labels=((1, 0), (1, 0)))], (1, 1), softmax=False, names=("1", "2"))
    single = Scores(**{**vars(one), "labels": np.array([0, 1])})
    with pytest.raises(ValueError, match=r"differ in data.labels: one of them has several labels a video"):
        fuse([one, single], (1, 1), softmax=False, names=("1", "2"))


def test_weights_are_searched_by_map() -> None:
    """The second file alone is right; half of the first's weight is enough to be wrong."""
    wrong = scores([[0, 4], [0, 0]], labels=((1, 0), (0, 1)), part="validation")
    right = scores([[2, 0], [0, 2]], labels=((1, 0), (0, 1)), part="validation")
    weights, metrics = search([wrong, right], softmax=False, names=("1", "2"))
    assert metrics["map"] == 1
    assert weights[1] > weights[0]
