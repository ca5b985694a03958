"""Sliding windows: their places by hand, their clips those of the data set to the bit, their memory constant."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from twostream.data.dataset import ClipDataset
from twostream.data.decoding import TimedFrame, timed_frames
from twostream.data.flow import DIS
from twostream.data.frames import Decoded
from twostream.data.sampling import Chunks, Segments
from twostream.data.sources import Video
from twostream.data.transform import CentreCrop
from twostream.data.windows import View, Windows, steps
from twostream.options.streams import flow, rgb


def view(sampling=None, streams=None, length: int = 5) -> View:
    sampling = sampling or Chunks(num_chunks=3, stride=(2, 6))
    return View(sampling, CentreCrop(size=32), DIS(preset="ultrafast", length=length), streams or (rgb(), flow(length)))


def frames(count: int):
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
    return (TimedFrame(i / 10, np.roll(picture, i, axis=1)) for i in range(count))


def places(count: int, *, length: int, stride: int) -> list[tuple[int, int]]:
    collector = Windows(view(streams=(rgb(),)), length=length, stride=stride)
    found = [collector.add(step) for step in steps(frames(count), None)]
    return [(window.start, window.end) for window in [*found, collector.finish()] if window is not None]


def test_lengths_of_training_clips() -> None:
    assert view(Chunks(num_chunks=3, stride=(2, 6))).length == 14, "two strides of 4, and a stack of 5 + 1 frames"
    assert view(Chunks()).length == 4 * 5 + 6
    assert view(Chunks(num_chunks=1)).length == 6
    assert view(Segments(num_chunks=3)).length == 18


def test_places() -> None:
    assert places(14, length=6, stride=3) == [(0, 6), (3, 9), (6, 12), (8, 14)], "the last window ends with the video"
    assert places(12, length=6, stride=3) == [(0, 6), (3, 9), (6, 12)]
    assert places(6, length=6, stride=6) == [(0, 6)]
    assert places(5, length=6, stride=3) == [(0, 5)]
    assert places(1, length=6, stride=3) == [(0, 1)]
    with pytest.raises(ValueError, match="window=6 stride=7 frames"):
        Windows(view(), length=6, stride=7)


def test_a_later_window_holds_its_own_frames_and_motion() -> None:
    collector = Windows(view(), length=14, stride=7)
    found = [collector.add(step) for step in steps(frames(21), view().flow)]
    [first, second] = [window for window in found if window is not None]
    assert second.seconds == (0.7, 2.0)
    assert first.shown.tolist() == [2, 6, 10]  # starts 0, 4, 8 and half of 5
    assert second.shown.tolist() == [9, 13, 17]
    alone = Windows(view(), length=14, stride=14)
    again = [alone.add(step) for step in steps(islice(frames(21), 7, None), view().flow)][13]
    assert again is not None
    assert np.array_equal(again.streams[0], second.streams[0])
    assert np.array_equal(again.streams[1], second.streams[1])
    assert not np.array_equal(first.streams[0], second.streams[0])


def test_a_window_of_one_frame_stands_still() -> None:
    collector = Windows(view(), length=14, stride=7)
    assert [collector.add(step) for step in steps(frames(1), view().flow)] == [None]
    window = collector.finish()
    assert window is not None
    assert window.streams[0].shape == (3, 3, 32, 32)
    assert window.streams[1].shape == (3, 10, 32, 32)
    assert not window.streams[1].any()


def test_kept_memory_does_not_grow() -> None:
    collector = Windows(view(), length=14, stride=7)
    for step in steps(frames(100), view().flow):
        collector.add(step)
    assert len(collector._pictures[rgb()]) == 14
    assert len(collector._motion) == 13


@pytest.mark.parametrize(
    "sampling", [Chunks(num_chunks=3, stride=(1, 5)), Segments(num_chunks=3)], ids=["chunks", "segments"]
)
@pytest.mark.parametrize("name", ["five_frames.avi", "one_frame.avi", "rotate90_flag.mp4"])
def test_clips_are_those_of_the_data_set(real_data, name, sampling) -> None:
    path, seen = real_data / "hard" / "derived" / name, view(sampling)
    data = ClipDataset([Video(name, path, 0, name)], frame_source=Decoded("pyav"), **seen._replace()._asdict())
    clip = data[0, 0]
    collector = Windows(seen, length=1000, stride=500)
    assert not any(collector.add(step) for step in steps(timed_frames(path), seen.flow))
    window = collector.finish()
    assert clip is not None
    assert window is not None
    assert np.array_equal(clip.first[0], window.streams[0])
    assert np.array_equal(clip.second[0], window.streams[1])
    assert window.streams[1].any() == (name != "one_frame.avi")
