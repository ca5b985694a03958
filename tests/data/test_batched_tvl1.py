"""TV-L1 in PyTorch against OpenCV's: each operation, a pass through all of them, and whole fields."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from tests.data.test_flow import as_rgb, distance, texture_and_moved
from twostream.data.flow import TVL1
from twostream.data.flow.batched_tvl1 import centred_gradient, divergence, forward_gradient, median, resized, warp

pytestmark = pytest.mark.skipif(not hasattr(cv2, "optflow"), reason="needs OpenCV's contributed modules")
ONE_PASS = {"scales": 1, "warps": 1, "median": 1}


def picture(height: int = 40, width: int = 52) -> np.ndarray:
    return (np.random.default_rng(0).random((height, width)) * 255).astype(np.float32)


def planes(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image)[None]


def test_images_are_resized_as_opencv_does():
    """The pyramid's step is by a factor, whatever size that is rounded to; the way back is by the sizes."""
    image = picture()
    smaller = cv2.resize(image, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_LINEAR)
    assert np.allclose(resized(planes(image), *smaller.shape, 1 / 0.8)[0], smaller, atol=1e-4)
    assert np.allclose(
        resized(planes(smaller), *image.shape)[0], cv2.resize(smaller, image.shape[::-1], interpolation=1), atol=1e-4
    )


@pytest.mark.parametrize("side", [1, 3, 5])
def test_the_median_is_that_of_opencv(side):
    image = picture()
    assert np.array_equal(median(planes(image), side)[0], cv2.medianBlur(image, side) if side > 1 else image)


def test_a_warp_reads_between_pixels_by_cubic_interpolation_and_zero_outside():
    """Against the formula in float64, also for motion far out of the picture."""
    image, rng = picture(12, 14), np.random.default_rng(1)
    motion = rng.normal(0, 6, (2, 12, 14)).astype(np.float32)
    found = warp(planes(image)[None], torch.from_numpy(motion)[:, None])[0, 0].numpy()

    def weight(away: float) -> float:  # Keys 1981, a = -0.75
        away = abs(away)
        if away < 1:
            return (1.25 * away - 2.25) * away * away + 1
        return -0.75 * (((away - 5) * away + 8) * away - 4) if away < 2 else 0.0

    for y in range(12):
        for x in range(14):
            row, column = y + float(motion[1, y, x]), x + float(motion[0, y, x])
            wanted = sum(
                float(image[r, c]) * weight(row - r) * weight(column - c) for r in range(12) for c in range(14)
            )
            assert abs(found[y, x] - wanted) < 2e-3, (y, x)


def test_divergence_is_the_negative_adjoint_of_the_gradient():
    """<gradient u, p> = -<u, div p> where p is 0 behind the last pixel, as the scheme needs to converge."""
    rng = torch.Generator().manual_seed(0)
    u, x, y = (torch.rand(1, 9, 11, generator=rng, dtype=torch.float64) for _ in range(3))
    x[:, :, -1], y[:, -1] = 0, 0
    across, down = forward_gradient(u)
    assert torch.allclose((across * x + down * y).sum(), -(u * divergence(x, y)).sum())


def test_the_centred_gradient_halves_differences_also_at_the_border():
    image = planes(picture())
    across, down = centred_gradient(image)
    inside, first = (image[0, 3, 5] - image[0, 3, 3]) / 2, (image[0, 3, 1] - image[0, 3, 0]) / 2
    assert across[0, 3, 4] == inside
    assert across[0, 3, 0] == first
    assert down[0, -1, 7] == (image[0, -1, 7] - image[0, -2, 7]) / 2


@pytest.mark.parametrize(
    ("options", "within"),
    [({**ONE_PASS, "outer_iterations": 1, "inner_iterations": 1}, 1e-5), (ONE_PASS, 1e-4), ({"scales": 2}, 0.02)],
)
def test_a_field_is_that_of_opencv_up_to_rounding(options, within):
    frames = dict(enumerate(map(as_rgb, texture_and_moved(1.5, -0.5))))
    [found] = TVL1(engine="torch", **options).fields(frames, [(0, 1)]).values()
    [wanted] = TVL1(**options).fields(frames, [(0, 1)]).values()
    assert np.abs(wanted).mean() > 0.05
    assert distance(found, wanted).max() < within


def test_whole_fields_are_close_to_opencvs_and_to_the_true_motion():
    frames = dict(enumerate(map(as_rgb, texture_and_moved(2.0, 1.0))))
    [found] = TVL1(engine="torch").fields(frames, [(0, 1)]).values()
    [wanted] = TVL1().fields(frames, [(0, 1)]).values()
    assert distance(found, wanted).mean() < 0.02
    assert np.allclose(np.median(found[16:-16, 16:-16], axis=(0, 1)), (2.0, 1.0), atol=0.06)


def test_a_pair_has_the_field_that_it_has_alone():
    """Pairs stop after different numbers of iterations: one without motion at once, the others later."""
    still, moved = map(as_rgb, texture_and_moved(1.0, 0.5))
    frames, pairs = {0: still, 1: moved, 2: still.copy()}, [(0, 1), (0, 2), (2, 1)]
    few = {"engine": "torch", "scales": 3, "warps": 2}
    together = TVL1(**few).fields(frames, pairs)
    for pair in pairs:
        [alone] = TVL1(**few, together=1).fields(frames, [pair]).values()
        assert distance(alone, together[pair]).max() < 1e-4, pair
    assert not together[0, 2].any()


def test_the_engine_is_part_of_a_stores_identity_and_the_batch_is_not():
    assert "engine" not in TVL1().settings()  # as in stores from before there was another
    assert TVL1(engine="torch", together=4).settings() == TVL1(engine="torch").settings() != TVL1().settings()


@pytest.mark.parametrize(
    ("options", "said"),
    [({"engine": "cuda"}, "flow.engine='cuda'.*choose from opencv, torch"), ({"together": 0}, "flow.together=0")],
)
def test_wrong_values_are_named(options, said):
    with pytest.raises(ValueError, match=said):
        TVL1(**options)
