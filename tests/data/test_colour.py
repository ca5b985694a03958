from __future__ import annotations

import numpy as np
import pytest

from twostream.data.colour import ColourJitter


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


class Drawn(np.random.Generator):
    """A generator whose draws are written down beforehand."""

    def __init__(self, *draws):
        super().__init__(np.random.PCG64())
        self.draws = list(draws)

    def uniform(self, *_bounds):
        return self.draws.pop(0)


def colours(*pixels_rgb: tuple[int, int, int]) -> np.ndarray:
    """Two frames of one row of pixels, (2, 3, 1, n)."""
    frame = np.array(pixels_rgb, np.uint8).T[:, None]
    return np.stack([frame, frame[..., ::-1]])


def test_no_colour_jitter_is_no_work():
    rgb = colours((1, 2, 3), (4, 5, 6))
    assert ColourJitter()(rgb, Drawn()) is rgb  # no draw either


def test_colour_jitter_by_hand():
    rgb = colours((100, 50, 10), (200, 250, 30))

    def first(brightness=1.0, contrast=1.0, saturation=1.0, turn=0.0):
        jitter = ColourJitter(0.9, 0.9, 0.9, 0.5)
        return jitter(rgb, Drawn(brightness, contrast, saturation, turn))[0, :, 0].T.tolist()

    assert first() == [[100, 50, 10], [200, 250, 30]]
    assert first(brightness=1.5) == [[150, 75, 15], [255, 255, 45]]  # clipped
    # grey levels .299 r + .587 g + .114 b: 60.39 and 209.97, mean 135.18
    assert first(contrast=0.5) == [[118, 93, 73], [168, 193, 83]]
    assert first(saturation=0.5) == [[80, 55, 35], [205, 230, 120]]
    assert first(brightness=0.5, contrast=0.0) == [[68, 68, 68], [68, 68, 68]]  # 67.59
    assert first(turn=1 / 3) == [[10, 100, 50], [30, 200, 250]]  # red becomes green, green blue, blue red
    assert first(turn=-1 / 3) == [[50, 10, 100], [250, 30, 200]]


def test_colour_jitter_is_one_draw_for_all_frames_and_reproducible():
    frame = rng().integers(0, 256, (3, 8, 8), np.uint8)
    rgb = np.stack([frame, frame, frame])
    jitter = ColourJitter(0.4, 0.4, 0.4, 0.1)
    once = jitter(rgb, rng(3))
    assert once.dtype == np.uint8
    assert np.array_equal(once[0], once[1])
    assert np.array_equal(once[0], once[2])
    assert np.array_equal(once, jitter(rgb, rng(3)))
    assert not np.array_equal(once, jitter(rgb, rng(4)))


def test_colour_jitter_draws_within_its_bounds_and_reaches_them():
    grey, generator = np.full((1, 3, 2, 2), 100, np.uint8), rng()
    levels = np.array([ColourJitter(brightness=0.3)(grey, generator)[0, :, 0, 0] for _ in range(2000)])
    assert (levels.min(), levels.max()) == (70, 130)
    assert np.all(levels == levels[:, :1])
    # grey has no colour, and a uniform clip no contrast
    assert np.array_equal(ColourJitter(contrast=1.0, saturation=1.0, hue=0.5)(grey, generator), grey)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"hue": 0.6}, r"transform\.colour\.hue=0\.6"),
        ({"brightness": -1.0}, r"transform\.colour\.brightness=-1\.0"),
        ({"contrast": 1.1}, r"transform\.colour\.contrast=1\.1"),
    ],
)
def test_wrong_values_are_named(options, named):
    with pytest.raises(ValueError, match=named):
        ColourJitter(**options)
