"""What the embedded data set hides, on decoded pixels and moments; and where it is said that it does not."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from twostream.config.bounds import cautions
from twostream.config.compose import compose_config
from twostream.data.bounds import beyond_bounds
from twostream.data.decoding import DECODERS, read_frames
from twostream.data.sampling import Chunks, Segments
from twostream.data.sources.moving_patterns import MOTIONS, ORDERS, PERIOD, displacements, draw_clip, write_video
from twostream.report.columns import note
from twostream.runs.sweep import Cell

LENGTH = 5


@pytest.mark.parametrize("decoder", [name for name in DECODERS if name in ("decord", "pyav")])
def test_decoded_frames_a_period_apart_are_equal_and_others_are_not(decoder: str, tmp_path) -> None:
    for seed, way in enumerate(MOTIONS["motion"]):
        path = tmp_path / f"{way}.mp4"
        clip = draw_clip(np.random.default_rng(seed), displacements((way,), 30), pattern=seed, patterns=4)
        write_video(path, clip)
        frames = read_frames(path, range(30), decoder=decoder)
        assert np.array_equal(frames[PERIOD:], frames[:-PERIOD])
        assert all((frames[i] != frames[0]).any() for i in range(1, PERIOD))


def test_decoded_chunks_of_an_order_are_those_of_the_other(tmp_path) -> None:
    read = {}
    for ways in ORDERS[:2]:
        clip = draw_clip(np.random.default_rng(3), displacements(ways, 31), pattern=2, patterns=4)
        write_video(tmp_path / "clip.mp4", clip)
        read[ways] = read_frames(tmp_path / "clip.mp4", range(31))
    forth, back = read.values()
    for start in range(31 - 13 - LENGTH):
        first, second = (slice(s, s + LENGTH + 1) for s in (start, start + 13))
        assert np.array_equal(forth[first], back[second])
        assert np.array_equal(forth[second], back[first])


@pytest.mark.parametrize(
    ("sampling", "options", "holds"),
    [
        (Chunks(1), {}, True),
        (Chunks(1, test_views=2), {}, False),
        (Chunks(4, (8, 8)), {"chunks": 4}, True),
        (Chunks(3, (8, 16), test_stride=16), {"frames": 38}, True),
        (Chunks(3, (1, 2), test_stride=8), {"frames": 22}, True),  # what training shows does not matter
        (Chunks(4, (8, 8)), {"frames": 12}, False),  # the clip has no room: the chunks move closer
        (Chunks(4, (1, 2)), {"chunks": 4}, False),
        (Chunks(2, (8, 8), test_views=3), {"frames": 40}, False),
        (Segments(1), {}, True),
        (Segments(3), {"chunks": 3}, False),
        (Chunks(2, (13, 13)), {"task": "order"}, True),
        (Chunks(2, (13, 13), test_views=5), {"task": "order"}, True),
        (Segments(2), {"task": "order"}, True),
        (Chunks(2, (12, 12)), {"task": "order"}, False),
        (Chunks(1, (13, 13)), {"task": "order"}, False),
        (Chunks(3, (13, 13)), {"task": "order"}, False),
        (Chunks(2, (13, 13)), {"task": "order", "frames": 34}, False),
        (Chunks(2, (14, 14)), {"task": "order", "frames": 34}, True),
    ],
)
def test_where_the_bounds_hold(sampling, options, holds: bool) -> None:
    told = beyond_bounds(sampling, LENGTH, **options)
    assert (told is None) == holds
    assert holds or "\n" not in str(told)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["sampling.num_chunks=4", "sampling.stride=[1,2]"], ["RGB 4 moments"]),
        (["sampling=segments", "sampling.num_chunks=3", "streams=rgb"], ["RGB 3 moments"]),
        (["sampling=chunks", "sampling.num_chunks=2", "streams=flow"], []),
        (["data=moving_patterns_order", "sampling=segments", "sampling.num_chunks=2"], []),
        (["data=moving_patterns_order", "sampling.stride=[8,8]"], ["pooling over time"]),
    ],
)
def test_a_configuration_is_told_what_does_not_hold(overrides, said) -> None:
    found = cautions(compose_config(overrides))
    assert len(found) == len(said)
    assert all(words in caution for words, caution in zip(said, found, strict=True))


def test_the_report_passes_the_caution_on() -> None:
    cell = Cell("0", None, {}, "finished", {"cautions": ["beyond"]})
    assert note(cell) == "beyond"


def test_scores_that_are_added_can_be_right_58_times_in_96() -> None:
    """Late fusion: RGB knows the places of the four patterns, flow the place that moves, and the direction."""
    by_flow = np.array([[0, 8, 1, 6], [0, 14, 2, 0], [0, 0, 0, 8], [0, 9, 7, 17]])  # [class, place]; found by search
    right = sum(most_right(by_flow, places) for places in itertools.permutations(range(4)))
    assert right == 58, "of 24 scenes × 4 places; a mixed-integer program says that there is no more"


def most_right(by_flow: np.ndarray, classes: tuple[int, ...]) -> int:
    """For how many of four places scores by RGB can be chosen with which argmax(RGB + flow) is the class there.

    So many as there are in a set of places whose classes are the one best assignment among themselves.
    """
    for count in range(4, 0, -1):
        for places in itertools.combinations(range(4), count):
            here = [classes[place] for place in places]
            worth = by_flow[here, places].sum()
            others = (by_flow[list(o), places].sum() for o in itertools.permutations(here) if list(o) != here)
            if all(other < worth for other in others):
                return count
    return 0
