"""Statistics, groups, comparisons and pivots against numbers worked out by hand."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from made_sweeps import results, sweep

from twostream.report import build_report
from twostream.report.columns import cell_columns, group_columns, note, pivot_text
from twostream.report.compare import find_baseline
from twostream.report.csv_files import cells_as_csv
from twostream.report.notes import notes
from twostream.report.statistics import holm, mean, sample_std, sign_flip_p
from twostream.runs.sweep import Sweep

SEEDS = ("0", "1", "2")


def test_mean_and_sample_standard_deviation_by_hand() -> None:
    """0.8, 0.9, 1.0: squares of differences .01 + 0 + .01, over n − 1 = 2, root .1."""
    assert mean([0.8, 0.9, 1.0]) == pytest.approx(0.9)
    assert sample_std([0.8, 0.9, 1.0]) == pytest.approx(0.1)
    assert sample_std([0.8]) is None


def test_permutation_p_by_hand() -> None:
    assert sign_flip_p([0.1]) is None
    assert sign_flip_p([0.0, 0.0, 0.0]) == 1
    assert sign_flip_p([0.1, 0.2]) == 0.5  # |sums| .3 .1 .1 .3: 2 of 4
    assert sign_flip_p([1, 2, 3, 4]) == 2 / 16
    assert sign_flip_p([-1, 2, 3, 4]) == 4 / 16  # sum 8: reached by ±(1+2+3+4) and ±(−1+2+3+4)
    assert sign_flip_p([0.3, 0.1, 0.2]) == sign_flip_p([-0.1, -0.2, -0.3]) == 0.25  # digits lost in adding do not count


def test_permutation_p_equals_counting_all_signs() -> None:
    generator = np.random.default_rng(3)
    for n in (2, 5, 9):
        d = generator.normal(0.4, 1, n).round(2)
        sums = [abs(np.dot(signs, d)) for signs in product((1, -1), repeat=n)]
        expected = sum(value >= abs(d.sum()) - 1e-9 for value in sums) / 2**n
        assert sign_flip_p(list(d)) == pytest.approx(expected)


def test_many_pairs_are_sampled_and_agree_with_the_normal_limit() -> None:
    """100 differences of size 1, 62 of them positive: the sum of signs is 24, z = 2.4 (2.3 with continuity)."""
    p = sign_flip_p([1.0] * 62 + [-1.0] * 38)
    exact = 2 * sum(math.comb(100, k) for k in range(62, 101)) / 2**100  # .0210
    assert p == pytest.approx(exact, abs=4 * math.sqrt(exact / 100_000))


def test_holm_by_hand() -> None:
    """Sorted .01 .02 .03 .5: times 4 3 2 1 are .04 .06 .06 .5."""
    assert holm([0.5, 0.01, 0.03, 0.02]) == pytest.approx([0.5, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([None, None]) == [None, None]


def ablation() -> Sweep:
    """conv is 0.1, 0.2, 0.3 better than sum; of max, one seed failed and one is running; concat was never begun."""
    tops = {"sum": (0.5, 0.5, 0.5), "max": (0.9, "failed", "running"), "conv": (0.6, 0.7, 0.8)}
    return sweep(
        {"fusion": ("sum", "max", "conv", "concat"), "seed": SEEDS},
        lambda fusion, seed: tops[fusion][int(seed)] if fusion in tops else "missing",
    )


def test_rows_of_an_ablation_by_hand() -> None:
    report = build_report(ablation())
    rows = {row.group.axes["fusion"]: row for row in report.rows}
    assert [row.group.n for row in report.rows] == ["3", "3", "1/3", "0/3"], (
        "the best first, those that lack runs behind"
    )
    assert rows["conv"].group.mean == pytest.approx(0.7)
    assert rows["conv"].group.std == pytest.approx(0.1)
    assert rows["max"].group.mean == 0.9, "not averaged with what is not there"
    assert rows["max"].group.std is None
    assert rows["max"].group.states == "failed: seed=1; running: seed=2"
    assert rows["concat"].group.mean is None
    assert [row.best for row in report.rows] == [True, False, False, False], "max has 0.9 of one seed only"
    compared = rows["sum"].comparison
    assert compared is not None
    assert (compared.pairs, compared.p_seeds, compared.p_seeds_holm) == (3, 0.25, 0.25), "no other row has two pairs"
    assert compared.difference == pytest.approx(-0.2)
    assert rows["conv"].comparison is None
    assert rows["max"].comparison is not None
    assert rows["max"].comparison.pairs == 1
    assert rows["max"].comparison.p_seeds is None


def test_the_same_in_words() -> None:
    report = build_report(ablation())
    columns = {column.title: column.texts for column in group_columns(report)}
    assert columns["test/top1, %"] == ("70.00 ± 10.00", "50.00 ± 0.00", "90.00", "—")
    assert columns["without a result"][3] == "missing: seed=0, seed=1, seed=2"
    assert columns["Δ to best"] == ("best", "−20.00", "+30.00", "n/a")
    assert columns["p seeds"] == ("", "0.25", "n/a", "n/a")
    assert columns["parameters"] == ("162,912", "162,912", "162,912", "")
    assert columns["FLOPs"][0] == "41.1 M"
    assert "clips/s" not in columns
    assert "paper, %" not in columns


def test_pairs_are_the_same_seeds() -> None:
    """a has seeds 0 and 1, b has 1 and 2: one pair, a − b = .2 − .7, though both have two runs."""
    tops = {("a", "0"): 0.9, ("a", "1"): 0.2, ("b", "1"): 0.7, ("b", "2"): 0.1}
    made = sweep({"fusion": ("a", "b"), "seed": SEEDS}, lambda *key: tops.get(key, "missing"))
    compared = build_report(made, baseline="fusion=b").rows[0].comparison
    assert compared is not None
    assert compared.pairs == 1
    assert compared.difference == pytest.approx(-0.5)


def test_seeds_and_splits_are_averaged_over_unless_asked_for() -> None:
    made = sweep(
        {"fusion": ("sum", "max"), "split": ("1", "2"), "seed": ("0", "1")}, lambda f, split, seed: 0.1 * int(split)
    )
    both = build_report(made)
    assert both.over == ("seed", "split")
    assert [row.group.n for row in both.rows] == ["4", "4"]
    assert both.rows[0].group.mean == pytest.approx(0.15)
    by_split = build_report(made, pivot=("fusion", "split"))
    assert by_split.over == ("seed",)
    assert [row.group.mean for row in by_split.rows] == pytest.approx([0.2, 0.2, 0.1, 0.1])
    assert by_split.pivots[0].positions == {("sum", "2"): 0, ("max", "2"): 1, ("sum", "1"): 2, ("max", "1"): 3}


def test_a_third_axis_makes_more_tables_and_no_averages() -> None:
    made = sweep(
        {"pooling": ("gap", "gem"), "fusion": ("a", "b", "c"), "layer": ("conv3", "conv5")}, lambda *values: 0.5
    )
    report = build_report(made)
    assert report.pivot_axes == ("fusion", "pooling"), "the most values; pooling was typed before layer"
    assert [dict(pivot.fixed) for pivot in report.pivots] == [{"layer": "conv3"}, {"layer": "conv5"}]
    assert [len(pivot.positions) for pivot in report.pivots] == [6, 6]
    assert pivot_text(report, report.pivots[1].positions["c", "gem"]) == "50.00"
    assert pivot_text(report, None) == ""


def test_equal_means_are_all_best_and_a_loss_is_best_when_low() -> None:
    made = sweep({"fusion": ("a", "b", "c")}, lambda fusion: 0.2 if fusion == "c" else 1.0)
    assert [row.best for row in build_report(made).rows] == [True, True, False]
    assert [row.best for row in build_report(made, metric="test/loss").rows] == [True, True, False]


def test_a_finished_run_without_a_finite_value_is_no_result() -> None:
    made = sweep({"fusion": ("a", "b"), "seed": ("0", "1")}, lambda fusion, seed: 0.5)
    cells = list(made.cells)
    cells[1] = cells[1]._replace(results=results(math.nan))
    group = build_report(made._replace(cells=tuple(cells))).rows[1].group
    assert (group.mean, group.n, group.states) == (0.5, "1/2", "finished without test/top1: seed=1")


def test_runs_of_before_there_was_macro_f1_are_reported_beside_those_that_have_it() -> None:
    """By it, they are finished without a value; by another number, they are as ever."""
    made = sweep({"fusion": ("a", "b"), "seed": ("0", "1")}, lambda fusion, seed: 0.5)
    new = results(0.7)
    new["metrics"]["test/macro_f1"] = 0.65
    made = made._replace(cells=(*made.cells[:3], made.cells[3]._replace(results=new)))
    report = build_report(made, metric="test/macro_f1")
    assert [row.group.n for row in report.rows] == ["1/2", "0/2"]
    assert report.rows[1].group.states == "finished without test/macro_f1: seed=0, seed=1"
    columns = {column.title: column.texts for column in group_columns(report)}
    assert columns["test/macro_f1, %"] == ("65.00", "—")
    of_cells = {column.title: column.texts for column in cell_columns(build_report(made))}
    assert of_cells["test/macro_f1, %"] == ("—", "—", "—", "65.00")
    assert cells_as_csv(report).splitlines()[1].startswith("0,a,0,finished,,")
    assert [row.group.mean for row in build_report(made).rows] == pytest.approx([0.6, 0.5])


def test_a_copy_of_a_run_is_counted_once() -> None:
    """a has 0.5 and 0.6, and a copy of the first run; b has 0.8 and 0.9."""
    tops = {"a": (0.5, 0.6), "b": (0.8, 0.9)}
    made = sweep({"fusion": ("a", "b"), "seed": ("0", "1")}, lambda fusion, seed: tops[fusion][int(seed)])
    cells = [cell._replace(results={**(cell.results or {}), "cell": cell.name}) for cell in made.cells]
    copy = cells[0]._replace(name="copy")
    report = build_report(made._replace(cells=(*cells, copy)))
    group = report.rows[1].group
    assert (group.mean, group.n) == (pytest.approx(0.55), "2")
    assert report.rows[1].comparison is not None
    assert report.rows[1].comparison.pairs == 2
    assert report.states == {"finished": 4, "repeated": 1}
    assert note(report.unfinished[0]) == "has the same configuration as 0, which is counted"
    assert "1 of the runs repeat another one with the same configuration and are not counted." in notes(report)


def test_two_configurations_of_the_same_values_are_two_runs_but_one_pair() -> None:
    made = sweep({"fusion": ("a", "b")}, lambda fusion: 0.5)
    again = [cell._replace(name=f"again {cell.name}", results=results(0.7, cell="other")) for cell in made.cells]
    report = build_report(made._replace(cells=(*made.cells, *again)))
    assert report.rows[0].group.mean == pytest.approx(0.6)
    assert report.rows[1].comparison is not None
    assert report.rows[1].comparison.pairs == 1
    assert "mean ± sample standard deviation (ddof = 1) over runs of the same values" in notes(report)[0]


def test_a_row_of_fewer_splits_is_not_best_where_there_is_no_plan() -> None:
    """Of b only split 1 was run, which is easy: 0.9 there, against 0.8 of 0.9 and 0.7 on both."""
    tops = {("a", "1"): 0.9, ("a", "2"): 0.7, ("b", "1"): 0.9, ("c", "2"): 0.6}
    made = sweep({"fusion": ("a", "b", "c"), "split": ("1", "2")}, lambda *key: tops.get(key, "missing"))
    begun = made._replace(cells=tuple(cell for cell in made.cells if cell.folder))
    report = build_report(begun)
    assert [row.best for row in report.rows] == [True, False, False]
    assert any("only one that has them all can be marked best." in line for line in notes(report))
    unequal = build_report(begun._replace(cells=begun.cells[1:]))
    assert not any(row.best for row in unequal.rows)
    assert any(line.endswith("can be marked best, and none has.") for line in notes(unequal))
    assert not any("marked best" in line for line in notes(build_report(begun._replace(cells=begun.cells[:2]))))


def test_while_a_sweep_runs_rows_of_the_same_seeds_are_compared() -> None:
    tops = {"a": (0.5, "running"), "b": (0.6, "missing")}
    made = sweep({"fusion": ("a", "b"), "seed": ("0", "1")}, lambda fusion, seed: tops[fusion][int(seed)])
    report = build_report(made)
    assert [row.best for row in report.rows] == [True, False]
    assert "one run a row, no spread is known" in notes(report)[0]


def test_notes_tell_what_makes_a_number_doubtful() -> None:
    made = sweep({"fusion": ("a",)}, lambda fusion: 0.5)
    told = made.cells[0]._replace(results=results(0.5, leaked=3, leaked_validation=4, unreadable={"test": ["x", "y"]}))
    seen = "began with weights trained on 4 of its validation videos"
    assert note(told) == f"trained on 3 of its test videos; {seen}; 2 test videos could not be read"


def test_clips_per_second_are_shown_where_measured() -> None:
    made = sweep({"fusion": ("a", "b")}, lambda fusion: 0.5)
    speeds = {"clips_per_second": 12.34, "test_videos_per_second": 45.6}
    cells = [cell._replace(results=results(0.5, **speeds)) for cell in made.cells]
    columns = {c.title: c.texts for c in group_columns(build_report(made._replace(cells=tuple(cells))))}
    assert (columns["clips/s"], columns["test videos/s"]) == (("12.3", "12.3"), ("45.6", "45.6"))


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"metric": "test/top7"}, "metric='test/top7': no run has it; choose from test/loss, test/top1"),
        ({"pivot": ("fusion", "layer")}, "pivot='layer': was not swept; choose from fusion, seed"),
        ({"pivot": ("fusion", "fusion")}, "pivot='fusion' twice"),
        ({"baseline": "fusion"}, "baseline='fusion': write axis=value"),
        ({"baseline": "layer=conv3"}, "'layer' is no axis of the table; choose from fusion"),
        ({"baseline": "fusion=min"}, "no run has fusion=min; choose from sum, max, conv, concat"),
        ({"baseline": "fusion=concat"}, "none of its runs has a result .missing: seed=0, seed=1, seed=2"),
    ],
)
def test_wrong_questions_name_the_choices(asked: dict, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        build_report(ablation(), **asked)


def test_a_baseline_is_one_group() -> None:
    made = sweep({"fusion": ("a", "b"), "layer": ("conv3", "[conv5,fc8]")}, lambda fusion, layer: 0.5)
    groups = [row.group for row in build_report(made).rows]
    assert find_baseline("layer=[conv5,fc8],fusion=b", groups) == 3
    with pytest.raises(ValueError, match=r"2 groups are that, e\.g\. fusion=a,layer=conv3, fusion=a,layer"):
        find_baseline("fusion=a", groups)


def test_an_empty_folder_is_no_sweep() -> None:
    with pytest.raises(ValueError, match="holds no runs"):
        build_report(sweep({"fusion": ()}, lambda fusion: 0.5))


def test_probe_columns_by_hand() -> None:
    """Probes .6 and .4 of two runs of three: mean .5; only the run that fell from .6 to .5 has a note."""
    made = sweep({"fusion": ("sum",), "seed": SEEDS}, lambda fusion, seed: (0.5, 0.7, 0.9)[int(seed)])
    for cell, probe in zip(made.cells, (0.6, 0.4, None), strict=True):
        assert cell.results is not None
        cell.results["probe"] = None if probe is None else {"top1": probe, "mean_class": 0.3, "loss": 1.0}
    report = build_report(made)
    [group] = [column for column in group_columns(report) if column.title == "probe, %"]
    [each] = [column for column in cell_columns(report) if column.title == "probe, %"]
    assert (group.keys, group.texts) == ((0.5,), ("50.00",))
    assert each.keys == (0.6, 0.4, None)
    notes_of = [note(cell) for cell in made.cells]
    assert notes_of == ["training has made it worse than its probe: test/top1 50.00 after 60.00", "", ""]
