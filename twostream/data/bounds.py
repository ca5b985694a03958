"""Checks whether the accuracy bounds of the embedded data set hold for the views that a test shows (pure).

- Task `motion`: a single frame does not show which cell moves, or in which direction. If all RGB frames that a test
  shows of a video are copies of one frame, no function of them, however it was trained, is right in more than
  1 of 16 videos on average.
- Task `order`: if each view of "left, then right" has the same chunks as that view of "right, then left", in another
  order, a network that ignores order (any pooling over time) cannot tell the two apart: 1 of 2 on average.

Both bounds depend only on what the test shows, not on training.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from jaxtyping import Int

from twostream.data.sampling import Sampling, flow_pairs, rgb_indices
from twostream.data.sources.moving_patterns import ORDERS, WINDOW, clip_length, displacements

SEEN = (
    "moving_patterns: the test shows RGB {moments} moments of a video, so it may see what moves, and the bounds of RGB "
    "(1/16) and late fusion (1/4) do not hold; they do with one test view and sampling=moving_patterns data.frames=null"
)
UNORDERED = (
    "moving_patterns: the chunks of the test do not meet both motions at the same moment, so pooling over time may "
    "tell which came first, and its bound (1/2) does not hold; it does with sampling=moving_patterns_order "
    "sampling.num_chunks=2 data.frames=null"
)


def beyond_bounds(
    sampling: Sampling, flow_length: int, *, task: str = "motion", frames: int | None = None, chunks: int = 1
) -> str | None:
    """Returns one line that says why the bounds of the data set do not hold for this test, or None if they hold.

    `task`, `frames` and `chunks` are those of `MovingPatterns`.
    """
    frames = clip_length(task, chunks, flow_length) if frames is None else frames
    views = sampling.fixed(frames, flow_length)
    if task == "order":
        forth, back = (displacements(ways, frames) % WINDOW for ways in ORDERS[:2])
        alike = all(contents(view, flow_length, forth) == contents(view, flow_length, back) for view in views)
        return None if alike else UNORDERED
    places = displacements(("right",), frames)[rgb_indices(views, flow_length, frames)] % WINDOW
    moments = len(np.unique(places.reshape(-1, 2), axis=0))
    return None if moments == 1 else SEEN.format(moments=moments)


def contents(view: Int[np.ndarray, " t"], flow_length: int, places: Int[np.ndarray, "f 2"]) -> Counter[bytes]:
    """Returns the chunks of a view without their order, each as the positions (y, x) of the texture in its frames."""
    shown = rgb_indices(view[None], flow_length, len(places))[0]
    pairs = flow_pairs(view[None], flow_length, len(places))[0]
    return Counter(places[[i, *chunk.ravel()]].tobytes() for i, chunk in zip(shown, pairs, strict=True))
