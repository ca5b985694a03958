"""Where frames come from: a limit of time, a cache in memory."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import threading
import time
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from av import VideoFrame

from twostream.data import frames as module
from twostream.data.decoding import DECODERS, VideoError, frames, progressing
from twostream.data.decoding.pyav_reader import PyAVReader
from twostream.data.frames import Cached, Decoded, Guarded, Kept, remove_left_over
from twostream.data.sources import Video
from twostream.data.sources.moving_patterns import MovingPatterns

VIDEO = Video(id="a/b.avi", path=Path("b.avi"), label=0, group="x")


class Counting:
    """Five frames of 2x3 pixels, full of their own index; counts how often it is asked."""

    def __init__(self) -> None:
        self.reads = 0

    def count(self, video: Video) -> int:
        return 5

    def read(self, video: Video, indices, count: int | None = None) -> np.ndarray:
        self.reads += 1
        return np.stack([np.full((2, 3, 3), index, np.uint8) for index in indices])


class Hanging(Counting):
    def read(self, video: Video, indices, count: int | None = None) -> np.ndarray:
        threading.Event().wait(90)
        return super().read(video, indices, count)


def test_a_decoder_that_hangs_is_given_up_and_the_video_named() -> None:
    guarded = Guarded(Hanging(), 0.05)
    started = time.perf_counter()
    with pytest.raises(VideoError, match=r"b.avi: decoding hangs: no frame within 0.05 s \(decode_timeout\)"):
        guarded.read(VIDEO, [0])
    assert time.perf_counter() - started < 60
    guarded.seconds = 60
    assert guarded.count(VIDEO) == 5
    assert Guarded(Counting(), 5).read(VIDEO, [3, 1])[:, 0, 0, 0].tolist() == [3, 1]


class Clock:
    """Goes on by .05 s a frame."""

    now = 0.0

    def frame(self) -> None:
        self.now += 0.05
        time.sleep(0.03)  # while the other thread may look


CLOCK = Clock()


class Slow(Counting):
    def read(self, video: Video, indices, count: int | None = None) -> np.ndarray:
        for _ in progressing(indices):
            CLOCK.frame()
        return super().read(video, indices, count)


class SlowDecoder(PyAVReader):
    def pictures(self) -> Iterator[VideoFrame]:
        for picture in super().pictures():
            CLOCK.frame()
            yield picture


@pytest.mark.long
def test_a_long_video_may_take_longer_than_decode_timeout(tmp_path: Path, monkeypatch) -> None:
    """Progress, not total time, is what may not stop: forty frames of .05 s each with a limit of .09 or .9 s."""
    monkeypatch.setattr("twostream.data.frames.time", SimpleNamespace(monotonic=lambda: CLOCK.now))
    assert len(Guarded(Slow(), 0.09).read(VIDEO, range(40))) == 40
    with pytest.raises(VideoError, match=r"no frame within 0.04 s"):
        Guarded(Slow(), 0.04).read(VIDEO, range(40))
    monkeypatch.setitem(DECODERS, "pyav", SlowDecoder)
    monkeypatch.setattr(frames, "PyAVReader", SlowDecoder)
    video = MovingPatterns(tmp_path, split=1, train_clips=16, test_clips=16, frames=40).train[0]
    assert Guarded(Decoded(), 0.9).count(video) == 40
    assert Guarded(Decoded(), 0.9).read(video, [39]).shape == (1, 64, 64, 3)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs on this system")
def test_a_file_that_never_opens(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.avi")
    video = Video(id="pipe.avi", path=tmp_path / "pipe.avi", label=0, group="x")
    with pytest.raises(VideoError, match=r"pipe.avi: decoding hangs"):
        Guarded(Decoded("pyav"), 0.2).count(video)


def test_errors_pass_and_limits_are_checked() -> None:
    missing = Video(id="x", path=Path("nowhere.avi"), label=0, group="x")
    with pytest.raises(VideoError, match=r"nowhere.avi: cannot be opened"):
        Guarded(Decoded("pyav"), 5).read(missing, [0])
    with pytest.raises(ValueError, match="decode_timeout=0"):
        Guarded(Counting(), 0)


def test_cached_frames_are_decoded_once_and_the_same(kept: Kept) -> None:
    inner = Counting()
    cached = Cached(inner, kept)
    for indices in ([4, 0, 4], [2]):
        assert cached.read(VIDEO, indices)[:, 1, 2, 0].tolist() == indices
    assert cached.count(VIDEO) == 5
    assert inner.reads == 1


def test_workers_share_the_cache_and_it_goes_with_its_owner(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(module, "SPARE", 0)  # the disk may be nearly full
    cached = Cached(Counting(), Kept(tmp_path))
    cached.read(VIDEO, [0])
    copy = pickle.loads(pickle.dumps(cached))
    assert copy.read(VIDEO, [2])[0, 0, 0, 0] == 2
    assert copy.frame_source.reads == 1, "the copy found the file"
    del copy
    child = multiprocessing.get_context("fork").Process(target=cached.kept._finalizer)
    child.start()
    child.join()
    assert cached.kept.folder.is_dir(), "a forked worker that ends leaves it"
    folder = cached.kept.folder
    del cached
    assert not folder.exists()


class Fields:
    """Random fields of 2x3 pixels; notes which pairs it is asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def __call__(self, pairs) -> dict[tuple[int, int], np.ndarray]:
        self.asked += pairs
        return {pair: np.random.default_rng(pair).standard_normal((2, 3, 2), np.float32) for pair in pairs}


def test_a_field_is_computed_once_and_the_same_bits_come_back(kept: Kept) -> None:
    compute = Fields()
    for pairs in ([(0, 1), (2, 2)], np.array([(1, 2), (0, 1)]), [(0, 1), (2, 2)]):
        found = kept.fields(VIDEO, pairs, compute)
        wanted = {(int(i), int(j)) for i, j in pairs}
        assert found.keys() == wanted
        assert all(found[pair].tobytes() == field.tobytes() for pair, field in Fields()(list(wanted)).items())
        assert all(field.shape == (2, 3, 2) and field.dtype == np.float32 for field in found.values())
    assert sorted(compute.asked) == [(0, 1), (1, 2), (2, 2)]
    another = pickle.loads(pickle.dumps(kept)).fields(VIDEO, [(0, 1)], compute)
    assert np.array_equal(another[0, 1], found[0, 1])
    assert len(compute.asked) == 3, "a worker found it"
    other = Video(id="a/c.avi", path=Path("c.avi"), label=0, group="x")
    kept.fields(other, [(0, 1)], compute)
    assert len(compute.asked) == 4, "fields of another video are others"


def test_fields_do_not_fill_the_memory(tmp_path: Path, monkeypatch, caplog) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage(1000, 850, 140))
    kept, compute = Kept(tmp_path), Fields()  # a field has 48 bytes; 140 - 48 < 100
    for _ in range(2):
        kept.fields(VIDEO, [(0, 1)], compute)
    assert compute.asked == [(0, 1), (0, 1)]
    assert not list(kept.folder.iterdir())


def test_a_full_memory_is_a_warning_and_no_error(tmp_path: Path, monkeypatch, caplog) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage(1000, 850, 150))
    inner = Counting()
    cached = Cached(inner, Kept(tmp_path))  # a video has 90 bytes; 150 - 90 < 100
    with caplog.at_level(logging.WARNING):
        for index in (1, 3):
            assert cached.read(VIDEO, [index])[0, 0, 0, 0] == index
    assert inner.reads == 2
    assert len([record for record in caplog.records if "is full with 0 videos" in record.message]) == 1


def test_folders_of_killed_processes_are_removed(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=int)
    process.start()
    process.join()
    for number in (process.pid, os.getpid()):
        (tmp_path / f"twostream-{number}-x").mkdir()
    remove_left_over(tmp_path)
    assert [folder.name for folder in tmp_path.iterdir()] == [f"twostream-{os.getpid()}-x"]
