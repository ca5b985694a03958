"""The Middlebury colour wheel at places that are known."""

from __future__ import annotations

import numpy as np
import pytest

from twostream.data.flow import colour_wheel, flow_colours


def test_the_wheel() -> None:
    wheel = colour_wheel()
    assert wheel.shape == (55, 3)
    assert wheel[1].tolist() == [255, 17, 0], "floor(255 · 1 / 15)"
    assert wheel[16].tolist() == [213, 255, 0], "255 - floor(255 · 1 / 6)"
    assert wheel[54].tolist() == [255, 0, 43], "255 - floor(255 · 5 / 6)"
    assert (wheel.max(1) == 255).all()


@pytest.mark.parametrize(
    ("motion", "colour"),
    [
        ((1, 0), (255, 0, 0)),  # right: place 0
        ((-1, 0), (0, 209, 255)),  # left: place 54/2 = 27, 2 of 11 steps from cyan to blue
        ((0, 1), (255, 229, 0)),  # down: place 13.5 of the 15 steps from red to yellow
        ((0, -1), (88, 0, 255)),  # up: place 40.5, 4.5 of the 13 steps from blue to magenta
        ((0, 0), (255, 255, 255)),
    ],
)
def test_directions(motion, colour) -> None:
    """Red right, yellow down, cyan left, violet up: the colours of the benchmark's own key."""
    found = flow_colours(np.float32([[motion]]), largest=1.0)[0, 0]
    assert np.abs(found.astype(int) - colour).max() <= 1


def test_full_colour_is_at_the_largest_motion_and_darker_beyond() -> None:
    left = flow_colours(np.float32([[[-4, 0], [-2, 0], [-8, 0]]]), largest=4.0)[0].astype(int)
    assert np.abs(left[0] - (0, 209, 255)).max() <= 1
    assert np.abs(left[1] - (127, 232, 255)).max() <= 1, "half way to white"
    assert np.abs(left[2] - (0, 156, 191)).max() <= 1, "three quarters of the full colour"
