"""Tests over videos, seeds and both: by hand, against counting all signs, against SciPy, and by simulation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from made_sweeps import results, sweep, write_report
from scipy import stats

from benchmarks.inference import COLUMNS, WORLDS, rates
from twostream.metrics.scores import Scores
from twostream.report import as_text, build_report
from twostream.report.columns import group_columns
from twostream.report.html import page_data
from twostream.report.markdown import as_markdown
from twostream.report.metric import Metric
from twostream.report.notes import notes
from twostream.report.per_video import Marks, Paired, Unknown, marks_of, pair
from twostream.report.statistics import sign_flip_p, two_levels
from twostream.runs.sweep import Sweep

ROOT = Path(__file__).parents[2]
Right = Mapping[tuple[str, str], Sequence[int]]


def made(
    folder: Path,
    right: Right,
    *,
    labels: Sequence[int] | None = None,
    groups: Sequence[str] | None = None,
    videos: Mapping[tuple[str, str], Sequence[str]] | None = None,
) -> Sweep:
    """A sweep over fusion and seed: `right` says of each run which videos it has right, in order of their names."""
    axes = {"fusion": list(dict.fromkeys(f for f, _ in right)), "seed": list(dict.fromkeys(s for _, s in right))}
    plan = sweep(axes, lambda f, s: float(np.mean(right[f, s])) if (f, s) in right else "missing", folder)
    for cell in plan.cells:
        if cell.folder is None:
            continue
        key = cell.overrides["fusion"], cell.overrides["seed"]
        hits = np.array(right[key])
        labels_of = np.zeros(len(hits), int) if labels is None else np.array(labels)
        names = tuple(videos[key]) if videos and key in videos else tuple(f"v{i:04}" for i in range(len(hits)))
        logits = np.zeros((len(hits), 3), np.float32)
        logits[np.arange(len(hits)), np.where(hits == 1, labels_of, 2)] = 1
        cell.folder.mkdir(parents=True)
        described = {"protocol": "train", "checkpoint": "", "data": "folder", "split": 1, "part": "test"}
        Scores(names, labels_of, logits, ("a", "b", "no video's"), **described).save(cell.folder / "test_scores.npz")  # type: ignore[arg-type]
        if groups is not None:
            rows = [f"{name},a,{group},test" for name, group in zip(names, groups, strict=True)]
            (cell.folder / "split.csv").write_text("\n".join(["video,label,group,split", *rows]))
        (cell.folder / "overrides.json").write_text(json.dumps([f"{k}={v}" for k, v in cell.overrides.items()]))
        (cell.folder / "results.json").write_text(json.dumps(cell.results))
    ledger = {"command": plan.command, "axes": plan.axes, "cells": [dict(cell.overrides) for cell in plan.cells]}
    (folder / "ledger.json").write_text(json.dumps(ledger))
    return plan


def table(plan: Sweep, **asked) -> dict[str, tuple[str, ...]]:
    return {c.title: c.texts for c in group_columns(build_report(plan, marks_of=marks_of, **asked))}


def test_videos_of_one_group_are_one_sign_and_seeds_of_one_video_too(tmp_path: Path) -> None:
    """Of four videos a has all right and b none, with both seeds: 2/2⁴ alone, 2/2² in two groups."""
    right = {("a", "0"): [1] * 4, ("a", "1"): [1] * 4, ("b", "0"): [0] * 4, ("b", "1"): [0] * 4}
    for name, groups, p, units in (("alone", None, 2 / 16, 4), ("grouped", ("g", "g", "h", "h"), 2 / 4, 2)):
        report = build_report(made(tmp_path / name, right, groups=groups), marks_of=marks_of)
        compared = report.rows[1].comparison
        assert compared is not None
        assert (compared.p_videos, compared.units, compared.kind[1].startswith("groups")) == (p, units, units == 2)
        assert compared.p_both is not None
        assert compared.p_both >= p, "who asks more cannot be surer"
        assert compared.p_seeds == 0.5


def test_p_over_videos_is_that_of_all_signs_and_of_scipy(tmp_path: Path) -> None:
    generator = np.random.default_rng(2)
    first, second = (generator.random((3, 9)) < 0.6, generator.random((3, 9)) < 0.4)
    right = {(f, str(s)): r.astype(int) for f, runs in (("a", first), ("b", second)) for s, r in enumerate(runs)}
    report = build_report(made(tmp_path / "sweep", right), marks_of=marks_of, baseline="fusion=b")
    compared = report.rows[0].comparison
    assert compared is not None
    d = (first.mean(0) - second.mean(0)) / 9
    sums = [abs(np.dot(signs, d)) for signs in product((1, -1), repeat=9)]
    assert compared.p_videos == pytest.approx(sum(one >= abs(d.sum()) - 1e-12 for one in sums) / 2**9)
    by_scipy = stats.permutation_test(
        (first.mean(0), second.mean(0)),
        lambda x, y, axis: (x - y).mean(axis=axis).round(12),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
    )
    assert compared.p_videos == pytest.approx(by_scipy.pvalue)
    assert compared.difference == pytest.approx(9 * d.mean())


def test_random_signs_agree_with_scipy() -> None:
    d = np.random.default_rng(4).normal(0.15, 1, 60)
    drawn = stats.permutation_test(
        (d, np.zeros(60)), lambda x, y, axis: (x - y).mean(axis=axis), permutation_type="samples", vectorized=True,
        n_resamples=20_000, rng=1,
    )  # fmt: skip
    assert sign_flip_p(d.tolist()) == pytest.approx(drawn.pvalue, abs=0.015)


def test_zeros_do_not_count_as_signs() -> None:
    """Six of a thousand videos differ, all in one direction: exactly 2/2⁶."""
    assert sign_flip_p([0.0] * 994 + [0.001] * 6) == 2 / 64


def marks(run: str, right: Sequence[float], videos: str, groups: str | None = None, split: int = 1) -> Marks:
    n = len(right)
    return Marks(
        run, tuple(videos), np.zeros(n, int), np.array(right) / n, np.full(n, 1 / n), groups and tuple(groups), split
    )


def test_pairs_by_hand() -> None:
    """Split 1 tests a b c, split 2 tests d e; c and d are of one group, y."""
    runs = [
        (marks("A1", [1, 1, 0], "abc", "xxy"), marks("B1", [0, 1, 1], "abc", "xxy")),
        (marks("A2", [1, 1], "de", "yz", split=2), marks("B2", [0, 1], "de", "yz", split=2)),
    ]
    paired = pair(runs)
    assert isinstance(paired, Paired)
    assert paired.differences.tolist() == pytest.approx(np.array([[1 / 6, -1 / 6, 0], [0, 1 / 4, 0]]))
    assert paired.shares == pytest.approx(np.array([[2 / 6, 1 / 6, 0], [0, 1 / 4, 1 / 4]]))
    assert (paired.videos, paired.grouped) == (5, True)
    other = pair([*runs, (marks("A3", [1, 1, 0], "abd"), marks("B3", [0, 1, 1], "abd"))])
    assert other == Unknown("A1 and A3 were not tested on the same videos")


def test_marks_by_hand(tmp_path: Path) -> None:
    """Classes 0 0 0 1 and the first and last right: 2/4; of classes, (1/3 + 1)/2, a share of 1/6 and of 1/2."""
    plan = made(tmp_path / "sweep", {("a", "0"): [1, 0, 0, 1]}, labels=[0, 0, 0, 1], groups=("g", "g", "", "h"))
    found = marks_of(plan.cells, Metric("test/top1"))["0"]
    assert isinstance(found, Marks)
    assert found.right.tolist() == [0.25, 0, 0, 0.25]
    assert found.groups == ("g", "g", "v0002", "h"), "a video without a group is one of its own"
    content = results(0.5)
    content["metrics"]["test/mean_class"] = 2 / 3
    cells = [plan.cells[0]._replace(results=content)]
    found = marks_of(cells, Metric("test/mean_class"))["0"]
    assert isinstance(found, Marks)
    assert found.right.tolist() == pytest.approx([1 / 6, 0, 0, 1 / 2])
    assert found.shares.sum() == pytest.approx(1)
    for metric, why in (("test/loss", "is no mean over videos"), ("test/macro_f1", "is no mean over videos")):
        assert marks_of(cells, Metric(metric))["0"] == Unknown(f"{metric} {why}")
    cells = [plan.cells[0]._replace(results=results(0.6))]
    told = "test_scores.npz of 0 gives 50.00, its results.json another number"
    assert marks_of(cells, Metric("test/top1"))["0"] == Unknown(told)


def test_several_labels_a_video_give_no_number(tmp_path: Path, monkeypatch) -> None:
    plan = made(tmp_path / "sweep", {("a", "0"): [1, 0]})
    several = type("Several", (), {"labels": np.zeros((2, 3), bool), "videos": ("a", "b")})
    monkeypatch.setattr("twostream.report.per_video.scores_of", lambda cell: several)
    assert marks_of(plan.cells, Metric("test/top1"))["0"] == Unknown("videos of 0 have several labels")


@pytest.mark.parametrize("m", [3, 9])
def test_seeds_alone_give_students_interval(m: int) -> None:
    """Every video differs as much as the pair that it is in: nothing is left for videos to explain."""
    d = np.random.default_rng(m).normal(0.1, 0.05, m)
    both = two_levels(np.tile(d[:, None] / m / 50, 50), np.full((m, 50), 1 / m / 50), 10**6, draws=200_000)
    assert both is not None
    low, high = stats.t.interval(0.95, m - 1, loc=d.mean(), scale=stats.sem(d))
    assert (both.low, both.high) == pytest.approx((low, high), rel=0.03, abs=0.003)
    assert both.p == pytest.approx(stats.ttest_1samp(d, 0).pvalue, rel=0.05, abs=1e-3)


def test_videos_alone_give_the_usual_interval() -> None:
    """All seeds have the same videos right, so that nothing is between them; means lie 1/400 apart."""
    d = np.random.default_rng(0).integers(-1, 2, 400) / 400
    both = two_levels(np.tile(d / 3, (3, 1)), np.full((3, 400), 1 / 1200), 400, draws=100_000)
    assert both is not None
    half = 1.96 * 400 * d.std(ddof=1) / 20
    assert (both.low, both.high) == pytest.approx((d.sum() - half, d.sum() + half), abs=1 / 400)


@pytest.mark.long
@pytest.mark.parametrize(
    "tested", [np.ones((3, 200)), np.kron(np.eye(5), np.ones(40))], ids=["one split", "five folds"]
)
def test_what_is_between_pairs_only_for_their_videos_is_not_counted_twice(tested: np.ndarray) -> None:
    """Of pure noise by video, the variance between pairs is on average what videos explain of it."""
    generator, half, (m, g) = np.random.default_rng(1), [], tested.shape
    for _ in range(100):
        both = two_levels(
            generator.standard_normal((m, g)) * tested / tested.sum(), tested / tested.sum(), g, draws=1_000
        )
        assert both is not None
        half.append((both.high - both.low) / 2)
    assert np.median(half) == pytest.approx(1.96 / np.sqrt(tested.sum()), rel=0.2)


def test_settings_that_agree_on_every_video_have_an_interval_with_a_width() -> None:
    both = two_levels(np.zeros((3, 40)), np.full((3, 40), 1 / 120), 40)
    assert both is not None
    assert both.low == -both.high < 0
    assert both.p == 1


@pytest.mark.parametrize(("m", "g"), [(1, 9), (9, 1)])
def test_one_run_or_one_group_says_nothing_of_others(m: int, g: int) -> None:
    assert two_levels(np.zeros((m, g)), np.full((m, g), 1 / m / g), 9) is None


def test_three_seeds_are_enough_where_videos_agree(tmp_path: Path) -> None:
    """a is right on 24 of 40 videos more than b, with each of three seeds; the test of seeds stays at .25."""
    better, worse = [1] * 34 + [0] * 6, [0] * 24 + [1] * 10 + [0] * 6
    right = {(f, str(seed)): r for f, r in (("a", better), ("b", worse)) for seed in range(3)}
    plan = made(tmp_path / "sweep", right)
    shown = table(plan)
    assert shown["p seeds"] == ("", "0.25")
    assert shown["p both"] == shown["p videos"] == ("", "< 0.001")
    assert shown["Δ to best [95 %]"][1].startswith("−60.00 [−7")
    assert "pairs" not in shown, "n tells them"
    told = "\n".join(notes(build_report(plan, marks_of=marks_of)))
    assert "sign flips of 40 videos (no split.csv" in told
    assert "Of 3 pairs it cannot be below 0.25" in told


def test_every_format_says_the_same(tmp_path: Path) -> None:
    right = {(f, str(s)): [1, 1, 1, int(f == "a"), s % 2] * 8 for f in "ab" for s in range(3)}
    plan = made(tmp_path / "sweep", right, groups=[f"g{i // 5}" for i in range(40)])
    report = write_report(plan.folder, wandb="off")
    text = {c.title: c.texts for c in group_columns(report)}["Δ to best [95 %]"][1]
    pages = {path.name: path.read_text() for path in (plan.folder / "report").iterdir()}
    assert text in as_text(report)
    assert text.replace("[", r"\[").replace("]", r"\]") in pages["report.md"]
    assert text in [*page_data(report)["groupTable"][3]["texts"]]
    assert text.replace("−", "$-$").replace("[", "{[}").replace("]", "{]}") in pages["report.tex"]
    row = dict(zip(*(line.split(",") for line in pages["groups.csv"].splitlines()[::2]), strict=True))
    compared = report.rows[1].comparison
    assert compared is not None
    assert [float(row[name]) for name in ("low", "high", "p_both", "units")] == pytest.approx(
        [compared.low, compared.high, compared.p_both, 8]
    )
    assert "sign flips of 8 groups of videos" in as_markdown(report)


def test_runs_of_other_videos_are_not_compared_over_videos(tmp_path: Path) -> None:
    right = {(f, str(seed)): [1, int(f == "a")] * 4 for f in "abc" for seed in range(2)}
    plan = made(tmp_path / "sweep", right, videos={("b", "1"): [f"w{i}" for i in range(8)]})
    report = build_report(plan, marks_of=marks_of)
    compared = report.rows[1].comparison
    assert compared is not None
    assert (compared.p_seeds, compared.p_videos, compared.low) == (0.5, None, None)
    assert report.rows[2].comparison is not None
    assert report.rows[2].comparison.p_videos is not None
    assert "1 row is not compared over videos: 2 and 3 were not tested on the same videos." in notes(report)


def test_one_seed_is_compared_over_videos_alone(tmp_path: Path) -> None:
    right = {("a", "0"): [1] * 8, ("b", "0"): [0] * 7 + [1]}
    plan = made(tmp_path / "sweep", right)
    shown = table(plan)
    assert shown["p videos"] == ("", p := "0.016"), "7 of 8 videos: 2/2⁷"
    assert p
    assert not {"p both", "p seeds", "Δ to best [95 %]"} & shown.keys()
    assert any("takes two seeds or splits at least" in line for line in notes(build_report(plan, marks_of=marks_of)))


@pytest.mark.slow
@pytest.mark.parametrize("name", WORLDS)
def test_how_often_each_test_is_wrong(name: str) -> None:
    """Of 4,000 studies: false positives of 5 % ± 1 of what each test asks, power, and the table of docs/chance.md."""
    world, rate = WORLDS[name], rates(WORLDS[name])
    if world.seeds <= 3:
        assert rate["seeds"] == 0, "three seeds are never enough"
    if name == "no luck":
        assert rate["groups"] == pytest.approx(0.05, abs=0.01)
        assert rate["videos"] > 0.07, "videos of one group are no evidence each"
    if world.luck > 0.1 and world.groups > 10:
        assert rate["groups"] > 0.1, "videos cannot tell luck"
    if world.gain == 0:
        assert rate["both"] <= (0.06 if world.seeds > 2 else 0.09)
    else:
        assert rate["both"] > 0.35
    assert rate["held by both"] == pytest.approx(0.95, abs=0.015 if world.seeds > 2 and not world.fails else 0.05)
    [row] = [line for line in (ROOT / "docs" / "chance.md").read_text().splitlines() if line.startswith(f"| {name} |")]
    told = [float(cell) for cell in row.strip("| ").split(" | ")[1:]]
    assert told == pytest.approx([100 * world.truth, *(100 * rate[key] for key in COLUMNS)], abs=0.3)
