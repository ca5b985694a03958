"""The figures of `python -m benchmarks.flow` are those that their names say."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.flow import end_point_distance, enlarge, photometric_error

RAMP = np.tile(np.arange(0, 160, 10, dtype=np.uint8), (16, 1))  # 10 grey levels a pixel, to the right


def constant(u: float, v: float) -> np.ndarray:
    return np.full((16, 16, 2), [u, v], np.float32)


@pytest.mark.parametrize(("u", "error"), [(2, 0), (0, 20), (1.5, 5), (-1, 30)])
def test_photometric_error_of_a_scene_that_moves_two_pixels_to_the_right(u: float, error: float) -> None:
    second = np.clip(RAMP.astype(int) - 20, 0, 255).astype(np.uint8)
    clipped = photometric_error(RAMP[:, 4:12], second[:, 4:12], constant(u, 0)[:, 4:12])
    assert clipped == pytest.approx(error, abs=1e-4)


def test_end_point_distance_is_a_length() -> None:
    assert end_point_distance(constant(3, 0), constant(0, -4)) == 5


def test_a_larger_field_has_larger_motion() -> None:
    assert enlarge(constant(1, 2), 48, 32)[24, 16].tolist() == [2, 6]
