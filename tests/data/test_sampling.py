from __future__ import annotations

import inspect
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf

from twostream.data.sampling import Chunks, Clip, Segments, flow_pairs, rgb_indices

FOLDER = Path(__file__).parents[2] / "conf" / "sampling"
OPTIONS = sorted(path for path in FOLDER.glob("*.yaml") if "defaults" not in OmegaConf.load(path))  # those are others
every_option = pytest.mark.parametrize("option", OPTIONS, ids=lambda path: path.stem)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@every_option
def test_option_lists_every_argument_and_builds(option):
    choice = OmegaConf.load(option)
    target = get_class(choice.pop("_target_"))
    assert set(choice) == set(inspect.signature(target).parameters)


@every_option
@pytest.mark.parametrize("flow_length", [0, 1, 10])
def test_any_clip_gives_frames_that_exist(option, flow_length):
    sampling = instantiate(OmegaConf.load(option), test_views=3)
    for num_frames in [*range(1, 70), 1776]:
        views = [
            sampling.random(num_frames, flow_length, rng(num_frames)),
            sampling.fixed(num_frames, flow_length),
        ]
        assert views[0].shape[0] == 1
        assert views[1].shape == (3, views[0].shape[1])
        for starts in views:
            frames = rgb_indices(starts, flow_length, num_frames)
            pairs = flow_pairs(starts, flow_length, num_frames)
            assert frames.shape == starts.shape
            assert pairs.shape == (*starts.shape, flow_length, 2)
            assert np.all(np.diff(starts) >= 0)  # never backwards in time
            assert starts.min() >= 0
            assert frames.min() >= 0
            assert frames.max() < num_frames
            assert np.all((pairs >= 0) & (pairs < num_frames))
            if num_frames > flow_length:  # room for one chunk: no field is made up
                assert starts.max() + flow_length < num_frames
                assert np.all(pairs[..., 1] - pairs[..., 0] == 1)


def test_a_clip_is_frames_in_a_row_each_with_one_field():
    sampling, generator = Clip(num_frames=16), rng()
    drawn = [sampling.random(20, 1, generator)[0] for _ in range(200)]
    assert {int(starts[0]) for starts in drawn} == set(range(4))
    assert all(np.array_equal(np.diff(starts), np.ones(15)) for starts in drawn)
    starts = Clip(num_frames=3, stride=2).fixed(10, 1)
    assert rgb_indices(starts, 1, 10).tolist() == [[2, 4, 6]]
    assert flow_pairs(starts, 1, 10)[0, :, 0].tolist() == [[2, 3], [4, 5], [6, 7]]


def test_a_clip_of_a_video_that_is_too_short_stays_at_its_end():
    assert Clip(num_frames=6, stride=2).fixed(6, 1).tolist() == [[0, 2, 4, 4, 4, 4]]
    assert Clip(num_frames=4).random(3, 0, rng()).tolist() == [[0, 1, 2, 2]]
    assert Chunks(num_chunks=4, stride=(1, 1)).fixed(3, 0).tolist() == [[1, 1, 1, 1]]  # unlike chunks


@every_option
def test_one_frame_is_repeated_without_motion(option):
    sampling = instantiate(OmegaConf.load(option))
    for starts in (sampling.random(1, 10, rng()), sampling.fixed(1, 10)):
        assert not starts.any()
        assert not rgb_indices(starts, 10, 1).any()
        assert not flow_pairs(starts, 10, 1).any()


@every_option
def test_same_rng_same_draw_and_others_differ(option):
    sampling = instantiate(OmegaConf.load(option))
    draws = [sampling.random(300, 10, rng(seed)).tolist() for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


def test_short_clip_runs_into_its_last_frame():
    starts = Chunks(num_chunks=2, stride=(1, 3)).fixed(num_frames=4, flow_length=5)
    assert starts.tolist() == [[0, 0]]
    assert flow_pairs(starts, 5, 4)[0, 1].tolist() == [[0, 1], [1, 2], [2, 3], [3, 3], [3, 3]]
    assert rgb_indices(starts, 5, 4).tolist() == [[2, 2]]


def test_neighbouring_chunks_share_pairs_where_the_stride_is_below_the_flow_length():
    pairs = flow_pairs(np.array([[0, 4]]), 10, 100)
    assert len(np.unique(pairs.reshape(-1, 2), axis=0)) == 14  # 4·1 + 10 fields


def test_chunks_draw_every_stride_and_every_start_evenly():
    sampling, generator = Chunks(num_chunks=5, stride=(1, 10)), rng()
    draws = np.concatenate([sampling.random(60, 10, generator) for _ in range(4000)])
    strides = np.diff(draws)
    assert np.all(strides == strides[:, :1])  # one stride per clip
    counts = np.bincount(strides[:, 0], minlength=11)
    assert counts[0] == 0
    assert counts[1:].min() > 320  # 400 ± 19 expected
    assert counts[1:].max() < 480
    for stride in (1, 10):
        starts = draws[strides[:, 0] == stride, 0]
        assert starts.min() == 0
        assert starts.max() == 60 - (4 * stride + 11)  # span 15 … 51 frames


def test_chunks_draw_only_strides_that_fit():
    sampling, generator = Chunks(num_chunks=5, stride=(2, 10)), rng()
    for num_frames, strides in (
        (51, range(2, 11)),
        (50, range(2, 10)),
        (19, [2]),
        (18, [1]),
        (14, [0]),
        (11, [0]),
    ):
        seen = {int(np.diff(sampling.random(num_frames, 10, generator))[0, 0]) for _ in range(400)}
        assert seen == set(strides), num_frames


def test_chunks_test_stride_is_the_middle_of_the_range_or_chosen_and_shrinks():
    assert Chunks(stride=(1, 10)).test_stride == 5
    # stride 5 spans 31 of 41 frames: 5 before, 5 after
    assert Chunks(stride=(1, 10)).fixed(41, 10).tolist() == [[5, 10, 15, 20, 25]]
    assert Chunks(stride=(1, 10), test_stride=7).fixed(39, 10).tolist() == [[0, 7, 14, 21, 28]]
    assert Chunks(stride=(1, 10), test_stride=7).fixed(38, 10).tolist() == [[1, 7, 13, 19, 25]]
    assert Chunks(stride=(1, 10), test_stride=12).fixed(59, 10).tolist() == [[0, 12, 24, 36, 48]]


def test_chunks_views_reach_from_the_first_frame_to_the_last():
    starts = Chunks(stride=(1, 10), test_views=4).fixed(100, 10)  # span 31: room for 69
    assert starts[:, 0].tolist() == [0, 23, 46, 69]
    assert starts[-1, -1] + 10 == 99


def test_a_single_chunk_starts_anywhere():
    sampling, generator = Chunks(num_chunks=1), rng()
    starts = [int(sampling.random(14, 10, generator)[0, 0]) for _ in range(200)]
    assert set(starts) == {0, 1, 2, 3}
    assert sampling.fixed(14, 10).tolist() == [[1]]


@pytest.mark.parametrize(("num_chunks", "test_views"), [(25, 1), (5, 5), (3, 1), (7, 2)])
def test_segments_test_at_the_positions_of_tsn(num_chunks, test_views):
    count = num_chunks * test_views
    for num_frames in (40, 101, 250, 251, 1776):
        tick = Fraction(num_frames - 5, count)  # exact; in flow fields: (N - L + 1) / 25 with N = num_frames - 1
        expected = [int(tick / 2 + tick * k) for k in range(count)]
        starts = Segments(num_chunks, test_views=test_views).fixed(num_frames, 5)
        assert sorted(starts.ravel().tolist()) == expected
        assert starts[0].tolist() == expected[::test_views]


def test_segments_are_disjoint_and_cover_every_start():
    sampling, generator = Segments(num_chunks=3), rng()
    draws = np.concatenate([sampling.random(15, 5, generator) for _ in range(2000)])  # 10 starts: 3 + 3 + 4
    seen = [np.unique(draws[:, k]).tolist() for k in range(3)]
    assert seen == [[0, 1, 2], [3, 4, 5], [6, 7, 8, 9]]
    assert np.bincount(draws[:, 2])[6:].min() > 420  # 500 ± 19 expected
    assert abs(np.corrcoef(draws[:, 0], draws[:, 1])[0, 1]) < 0.1  # each drawn for itself


def test_segments_share_starts_when_there_are_too_few():
    assert Segments(num_chunks=5).random(12, 10, rng()).tolist() == [[0, 0, 0, 1, 1]]  # 2 starts
    assert Segments(num_chunks=5).fixed(12, 10).tolist() == [[0, 0, 1, 1, 1]]
    assert Segments(num_chunks=5).random(10, 10, rng()).tolist() == [[0] * 5]


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Chunks(num_chunks=0), "num_chunks=0"),
        (lambda: Chunks(stride=(0, 10)), r"stride=\[0, 10\]"),
        (lambda: Chunks(stride=(5, 4)), r"stride=\[5, 4\]"),
        (lambda: Chunks(stride=(5,)), r"stride=\[5\]"),
        (lambda: Chunks(test_stride=0), "test_stride=0"),
        (lambda: Chunks(test_views=0), "test_views=0"),
        (lambda: Segments(0), "num_chunks=0"),
        (lambda: Clip(0), "num_frames=0"),
        (lambda: Clip(stride=0), "stride=0"),
        (lambda: Segments(3, test_views=-1), "test_views=-1"),
        (lambda: Segments(3).fixed(0, 10), "num_frames=0"),
        (lambda: Chunks(3).random(9, -1, rng()), "flow_length=-1"),
    ],
)
def test_wrong_values_are_named(make, named):
    with pytest.raises(ValueError, match=named):
        make()
