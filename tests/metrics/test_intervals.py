"""Intervals against published values, and what both of their parts see."""

from __future__ import annotations

import numpy as np
import pytest

from twostream.metrics.intervals import DRAWS, draws_of_groups, outer, over_classes, paired, resampled, wilson


@pytest.mark.parametrize(
    ("right", "videos", "low", "high"),  # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson(right: int, videos: int, low: float, high: float) -> None:
    assert wilson(right, videos) == pytest.approx((low, high), abs=5e-5)
    assert wilson(videos - right, videos) == pytest.approx((1 - high, 1 - low), abs=5e-5)


@pytest.mark.parametrize(
    ("cells", "low", "high"),  # Newcombe 1998, Statistics in Medicine 17:2635, table II, method 10
    [((36, 12, 2, 0), 0.0569, 0.3404), ((36, 14, 0, 0), 0.1528, 0.4167)],
)
def test_paired(cells: tuple[int, ...], low: float, high: float) -> None:
    """Cells: right in both, in the one alone, in the other alone, in none."""
    one = np.repeat([True, True, False, False], cells)
    other = np.repeat([True, False, True, False], cells)
    assert paired(other, one) == pytest.approx((low, high), abs=2e-4)
    assert paired(one, other) == pytest.approx((-high, -low), abs=2e-4)


def test_samples_are_of_whole_groups_and_keep_every_class() -> None:
    labels, groups = np.array([0, 0, 0, 1, 1]), ["a", "a", "b", "c", "d"]
    draws = draws_of_groups(labels, groups)
    assert draws.shape == (DRAWS, 5)
    assert (draws[:, 0] == draws[:, 1]).all()  # of one group
    assert (draws[:, 0] + draws[:, 2] == 2).all()  # two groups of the class, in every sample
    assert (draws[:, 3] + draws[:, 4] == 2).all()
    assert draws[:, 0].mean() == pytest.approx(1, abs=0.05)
    assert (draws == draws_of_groups(labels, groups)).all()  # a fixed seed


def test_alike_videos_of_one_group_count_once() -> None:
    labels = np.zeros(40, int)
    values = np.repeat([1.0, 0.0], 20)
    by_two = resampled(values, labels, draws_of_groups(labels, ["a"] * 20 + ["b"] * 20))
    alone = resampled(values, labels, draws_of_groups(labels, [str(i) for i in range(40)]))
    assert by_two == (0.0, 1.0)
    assert 0.3 < alone[0] < alone[1] < 0.7


def test_where_all_are_right_only_the_formula_has_a_width() -> None:
    labels = np.zeros(10, int)
    sampled = resampled(np.ones(10), labels, draws_of_groups(labels, [str(i) for i in range(10)]))
    assert sampled == (1.0, 1.0)
    assert outer(sampled, over_classes([1.0], [wilson(10, 10)])) == pytest.approx((0.7225, 1.0), abs=1e-4)
