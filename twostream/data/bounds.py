"""Where what is said of the embedded data set holds by construction, and where it does not (pure).

- Task `motion`: one frame looks alike whichever cell moves, and where to. If all RGB frames that a test shows of a video
  are copies of one, no function of them, however trained, is right in more than 1 of 16 videos on average.
- Task `order`: if the chunks of a view of "left, right" are, in another order, those of "right, left", nothing that takes
  them in any order (any pooling over time) tells the two apart: 1/2 on average.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from jaxtyping import Int

from twostream.data.dataset import Sampling
from twostream.data.sampling import flow_pairs, rgb_indices
from twostream.data.synthetic import ORDERS, WINDOW, clip_length, displacements


def beyond_bounds(
    sampling: Sampling, flow_length: int, *, task: str, frames: int | None, chunks: int = 1
) -> str | None:
    """What a test with these views may see that the data set is said to hide, in a line; None where nothing."""
    frames = clip_length(task, chunks, flow_length) if frames is None else frames
    starts = sampling.fixed(frames, flow_length)
    if task == "order":
        forth, back = (displacements(ways, frames) % WINDOW for ways in ORDERS[:2])
        if all(contents(view, flow_length, forth) == contents(view, flow_length, back) for view in starts):
            return None
        return (
            "the chunks of a test do not meet both motions at the same moment, so that pooling over time can tell which "
            "came first (the bound of 1/2 does not hold); it cannot with sampling=moving_patterns_order, T=2 and 3-D data"
        )
    moments = len(np.unique(displacements(("right",), frames)[rgb_indices(starts, flow_length, frames)] % WINDOW, axis=0))
    return None
