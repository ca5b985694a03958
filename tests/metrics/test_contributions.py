"""What each stream contributes, by hand: counts, oracle, McNemar, intervals, and what is said of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from twostream import cli
from twostream.metrics.contribution_tables import accuracy_rows, as_json, class_rows, count_rows
from twostream.metrics.contributions import FUSED, Contributions, compare, mcnemar, points, sentence
from twostream.metrics.intervals import paired, wilson
from twostream.metrics.scores import Scores

CLASSES = ("a", "b", "c")
# Of ten videos, four of a, five of b, one of c: which are right.
LABELS = (0, 0, 0, 0, 1, 1, 1, 1, 1, 2)
RGB = (1, 1, 0, 0, 1, 1, 1, 0, 0, 0)
FLOW = (1, 0, 1, 0, 1, 0, 0, 1, 0, 0)
BOTH = (1, 1, 1, 1, 1, 1, 0, 1, 0, 0)


def scores(right, labels=LABELS, **changes) -> Scores:
    """Each video's class, or the one after it, has the highest score."""
    labels = np.array(labels)
    shown = np.where(np.array(right, bool), labels, (labels + 1) % 3)
    fields = {
        "videos": tuple(f"v{i:05}" for i in range(len(labels))),
        "labels": labels,
        "logits": np.eye(3, dtype=np.float32)[shown],
        "classes": CLASSES,
        **{"protocol": "train", "checkpoint": "", "data": "mine", "split": 1, "part": "test", "mirror": None},
    }
    return Scores(**{**fields, **changes})


def compared(*runs, labels=LABELS, splits=None) -> Contributions:
    """`splits`: of the runs, each of videos of its own."""

    def made(right, split: int) -> Scores:
        return scores(right, labels, split=split, videos=tuple(f"{split}/{i:05}" for i in range(len(labels))))

    of_runs = zip(runs, splits or [1] * len(runs), strict=True)
    threes = [[made(right, split) for right in run] for run, split in of_runs]
    return compare(threes, ("rgb", "flow"), names=[["rgb", "flow", "fused"]] * len(runs))


def test_counts_and_oracle_by_hand() -> None:
    """Both right: videos 0, 4; rgb alone: 1, 5, 6, of which fused has 1 and 5; flow alone: 2, 7; neither: 3, 8, 9."""
    found = compared([RGB, FLOW, BOTH])
    assert {name: found.counts[kind].tolist() for name, kind in found.kinds.items()} == {
        "both": [0, 2],
        "only rgb": [1, 2],
        "only flow": [0, 2],
        "neither": [2, 1],
    }
    assert found.oracle == pytest.approx(0.7)
    assert [found.accuracy(which).value for which in (0, 1, FUSED)] == pytest.approx([0.5, 0.4, 0.7])
    assert count_rows(found) == [
        ["right alone", "both", "only rgb", "only flow", "neither"],
        ["videos", "2", "3", "2", "3"],
        ["of these fused right", "2", "2", "2", "1"],
    ]


def test_gains_by_hand() -> None:
    """Over rgb 3 videos are won (2, 3, 7) and one lost (6); of class a 2 of 4 are won. c has one video, b five."""
    found = compared([RGB, FLOW, BOTH])
    assert found.gain(0) == pytest.approx((0.2, *paired(np.array(RGB, bool), np.array(BOTH, bool))))
    assert found.gain(1).value == pytest.approx(0.3)
    assert [found.gain(0, label).value for label in range(3)] == pytest.approx([0.5, 0.0, 0.0])
    assert found.accuracy(FUSED, 1)[1:] == pytest.approx(wilson(3, 5))
    assert [row[:2] for row in class_rows(found)[1:]] == [["a", "4"], ["b", "5"], ["c", "1"]]


@pytest.mark.parametrize(
    ("won", "lost", "p"),  # 2 · sum of C(n, i) / 2^n over i up to the smaller: by hand
    [(3, 1, 2 * (1 + 4) / 16), (1, 3, 2 * (1 + 4) / 16), (6, 0, 2 / 64), (8, 2, 2 * (1 + 10 + 45) / 1024), (2, 2, 1.0)],
)
def test_mcnemar_by_hand(won: int, lost: int, p: float) -> None:
    """Videos that are right in both (3) or in neither (5) change nothing."""
    first = np.repeat([True, False, True, False], [3, 5, lost, won])
    second = np.repeat([True, False, False, True], [3, 5, lost, won])
    assert mcnemar(first, second) == pytest.approx(p)
    assert mcnemar(first, first) == 1.0


def many(won: int, lost: int, both: int = 0) -> Contributions:
    """Of class a the fusion wins videos that rgb has wrong, and loses others; class b is right in all."""
    labels = [0] * (won + lost) + [1] * both
    rgb = [0] * won + [1] * lost + [1] * both
    fused = [1] * won + [0] * lost + [1] * both
    return compared([rgb, [0] * len(rgb), fused], labels=labels)


def test_the_sentence_of_a_gain() -> None:
    """Newcombe 1998, table II, method 10: cells 36, 12, 2, 0 have 20 points more, from 5.7 to 34.0."""
    assert sentence(many(12, 2, 36)) == ("flow adds +20.0 points to rgb (95 % interval 5.7 to 34.0), most for a"), (
        "b has no gain, so it is not named"
    )


def test_the_sentence_of_a_loss() -> None:
    assert sentence(many(2, 12, 36)) == "flow takes 20.0 points from rgb (95 % interval −34.0 to −5.7), most from a"


def test_few_videos_show_nothing() -> None:
    found = compared([RGB, FLOW, BOTH])
    low, high = paired(np.array(RGB, bool), np.array(BOTH, bool))
    assert low < 0 < high
    assert sentence(found) == (
        f"flow is not shown to add anything to rgb: +20.0 points (95 % interval {points(low)} to {points(high)})"
    )
    assert sentence(found, added=0).startswith("rgb is not shown to add anything to flow: +30.0 points")


def test_runs_of_the_same_videos_are_averaged() -> None:
    """Two seeds: the interval is over ten videos, not twenty, and is no narrower than that of equal seeds."""
    one, two = [RGB, FLOW, BOTH], [RGB, FLOW, RGB]
    found = compared(one, two)
    assert (found.runs, found.right.shape, found.counts.sum()) == (2, (3, 10), 20)
    assert found.gain(0).value == pytest.approx((0.2 + 0.0) / 2)
    assert found.p(0) is None
    assert [len(accuracy_rows(of)[0]) for of in (compared(one), found)] == [6, 5], "no column of p"
    assert compared(one, one).gain(0) == pytest.approx(compared(one).gain(0))


def test_splits_are_put_together() -> None:
    one, two = [RGB, FLOW, BOTH], [RGB, FLOW, RGB]
    found = compared(one, two, splits=[1, 2])
    twice = [tuple(first) + tuple(second) for first, second in zip(one, two, strict=True)]
    assert found.gain(0) == pytest.approx(compared(twice, labels=LABELS * 2).gain(0))
    assert found.p(0) == pytest.approx(0.625), "3 : 1, each video once"


def test_no_p_where_splits_share_videos() -> None:
    """As random splits and the official ones of HMDB51 do: a video counts twice there, as with two seeds."""
    runs = [[scores(right, split=split) for right in (RGB, FLOW, BOTH)] for split in (1, 2)]
    assert compare(runs, ("rgb", "flow"), names=[["rgb", "flow", "fused"]] * 2).p(0) is None


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"videos": tuple(f"w{i:05}" for i in range(10))}, "rgb and flow are not of the same videos"),
        ({"labels": np.array((1, *LABELS[1:]))}, "rgb and flow have other labels for 1 of 10 videos"),
        ({"classes": ("a", "b", "d")}, "rgb and flow differ in their classes"),
        ({"split": 2}, "rgb and flow differ in split"),
    ],
)
def test_files_of_other_tests_are_refused(changes, told: str) -> None:
    three = [scores(RGB), scores(FLOW, **changes), scores(BOTH)]
    with pytest.raises(ValueError, match=told):
        compare([three], ("rgb", "flow"), names=[["rgb", "flow", "fused"]])


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name, right in {"rgb": RGB, "flow": FLOW, "both": BOTH}.items():
        scores(right).save(tmp_path / f"{name}.npz")
    return tmp_path


def run(monkeypatch, *arguments: object) -> None:
    monkeypatch.setattr("sys.argv", ["twostream", "contributions", *map(str, arguments)])
    cli.main()


def test_the_command(files: Path, monkeypatch, capsys) -> None:
    typed = [f"{name}={files / file}.npz" for name, file in (("rgb", "rgb"), ("flow", "flow"), ("fused", "both"))]
    run(monkeypatch, *typed, "--out", files / "out")
    told = capsys.readouterr().out
    assert told.startswith("flow is not shown to add anything to rgb: +20.0 points")
    assert "mine split 1, test: 10 videos; in %\n" in told
    assert "either (oracle)  70.0" in told
    found = json.loads((files / "out/contributions.json").read_text())
    assert found == json.loads(json.dumps(as_json(compared([RGB, FLOW, BOTH]))))
    assert found["counts"]["only rgb"] == {"videos": 3, "fused_right": 2}
    assert found["p_mcnemar"]["rgb"] == pytest.approx(0.625)
    page = (files / "out/contributions.md").read_text()
    assert "| of these fused right | 2 | 2 | 2 | 1 |" in page
    assert (files / "out/contributions.png").stat().st_size > 5_000


def test_without_a_fusion_it_is_the_mean_of_logits(files: Path, monkeypatch, capsys) -> None:
    """Where one alone is right, two classes have equal logits, and the first wins: the true one, of a and b."""
    run(monkeypatch, f"rgb={files}/rgb.npz", f"depth={files}/flow.npz")
    told = capsys.readouterr().out
    assert "fused: the mean of logits" in told
    assert "depth is not shown" in told.splitlines()[0]
    assert "fused            70.0" in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["rgb=rgb.npz"], "rgb: name two streams and at most one fused: rgb=FILE flow=FILE fused=FILE"),
        (["rgb=rgb.npz", "rgb=flow.npz"], "rgb rgb: name two streams"),
        (["rgb=rgb.npz", "flow=flow.npz", "depth=both.npz"], "rgb flow depth: name two streams"),
        (["rgb.npz", "flow.npz"], "rgb.npz: say of which stream it is, such as rgb=rgb.npz"),
        (["rgb=rgb.npz", "flow=gone.npz"], "gone.npz: no such file"),
        (["rgb=rgb.npz", "flow=other.npz"], "rgb=rgb.npz and flow=other.npz are not of the same videos"),
    ],
)
def test_wrong_input_is_one_line(files: Path, monkeypatch, words: list[str], told: str) -> None:
    scores(RGB, videos=tuple(f"w{i:05}" for i in range(10))).save(files / "other.npz")
    monkeypatch.chdir(files)
    with pytest.raises(SystemExit, match=told) as stopped:
        run(monkeypatch, *words)
    assert "\n" not in str(stopped.value)
