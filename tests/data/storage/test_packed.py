"""Packed frames: the same frames as decoded, within what JPEG changes, and never those of anything else."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from twostream.config.compose import compose_config
from twostream.config.data import build_data, build_source
from twostream.data.decoding import VideoError, read_frames
from twostream.data.sources import Video
from twostream.data.sources.moving_patterns import MovingPatterns
from twostream.data.storage import packed as packed_module
from twostream.data.storage.container import Container, write_container
from twostream.data.storage.packed import Packed, pack_clip, packed_path


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> MovingPatterns:
    return MovingPatterns(tmp_path_factory.mktemp("cache"), split=1, train_clips=16, test_clips=16)


@pytest.fixture(scope="module")
def folder(source, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    for video in source.train:
        assert pack_clip(video, folder).made
    return folder


def test_any_frame_is_that_of_decoding(source, folder) -> None:
    frame_source, wanted = pickle.loads(pickle.dumps(Packed(folder))), [7, 0, 11, 7]
    for video in source.train[:4]:
        found, expected = frame_source.read(video, wanted), read_frames(video.path, wanted)
        assert found.shape == (4, 64, 64, 3)
        assert found.dtype == np.uint8
        assert frame_source.count(video) == 12
        gray = (found.astype(int) @ [299, 587, 114] - expected.astype(int) @ [299, 587, 114]) / 1000
        assert np.abs(gray).mean() < 2, "JPEG, not another frame"
        for other in (6, 1, 10):
            assert np.abs(gray).mean() < np.abs(found[0].astype(int) - read_frames(video.path, [other])[0]).mean() / 2
    assert frame_source.read(source.train[0], []).shape == (0, 64, 64, 3)
    for index in (12, -1):
        with pytest.raises(IndexError, match=f"frame {index} does not exist; there are 12"):
            frame_source.read(source.train[0], [index])


def test_large_frames_become_smaller_and_small_ones_stay(source, tmp_path) -> None:
    video = source.train[0]
    pack_clip(video, tmp_path / "a", short_side=32)
    pack_clip(video, tmp_path / "b", short_side=256)
    assert Packed(tmp_path / "a").read(video, [3]).shape == (1, 32, 32, 3)
    assert Packed(tmp_path / "b").read(video, [3]).shape == (1, 64, 64, 3)
    with pytest.raises(ValueError, match="quality=0"):
        pack_clip(video, tmp_path, quality=0)


def test_what_is_there_is_left_alone_unless_it_is_something_else(source, tmp_path) -> None:
    video = source.train[0]
    first = pack_clip(video, tmp_path)
    path = packed_path(tmp_path, video.id)
    whole = path.read_bytes()
    assert first == (True, 12, len(whole))
    assert pack_clip(video, tmp_path) == (False, 12, len(whole))
    path.write_bytes(whole[:-1])
    with pytest.raises(VideoError, match="cut off or damaged"):
        Packed(tmp_path).count(video)
    assert pack_clip(video, tmp_path).made
    assert path.read_bytes() == whole
    assert pack_clip(video, tmp_path, quality=50).made
    assert Container(path).header["quality"] == 50
    assert os.listdir(path.parent) == [path.name]


def test_frames_of_another_version_of_the_decoding_are_refused_and_packed_again(source, tmp_path) -> None:
    video = source.train[0]
    pack_clip(video, tmp_path)
    packed = Container(packed_path(tmp_path, video.id))
    blobs, header = [packed[index] for index in range(len(packed))], packed.header
    del header["source"]["frames"]  # as it was written before versions were on record
    write_container(packed_path(tmp_path, video.id), blobs, header=header)
    with pytest.raises(VideoError, match=r"the frames are of version 1 of our decoding, .* may differ; pack it again"):
        Packed(tmp_path).count(video)
    assert pack_clip(video, tmp_path).made
    assert Packed(tmp_path).count(video) == 12


def test_frames_of_another_file_are_refused_with_both_values(source, folder, tmp_path) -> None:
    one, other = source.train[:2]
    with pytest.raises(VideoError, match=f"{other.path} has .* bytes, and {one.path.stat().st_size:,} when"):
        Packed(folder).count(replace(one, path=other.path))
    with pytest.raises(VideoError, match="no packed frames"):
        Packed(folder).count(source.test[0])
    with pytest.raises(ValueError, match=r"16 of 32 videos are not there"):
        Packed(folder).require([*source.train, *source.test])
    with pytest.raises(ValueError, match="no video can have the id"):
        Packed(folder).count(Video(id="../x", path=one.path, label=0, group="x"))
    with pytest.raises(ValueError, match="no such folder"):
        Packed(tmp_path / "nowhere")


def test_a_disk_that_fills_up_leaves_nothing(source, tmp_path, monkeypatch) -> None:
    def full(*_):
        yield b"first"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(packed_module, "_jpegs", full)
    with pytest.raises(OSError, match="No space left"):
        pack_clip(source.train[0], tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_training_takes_packed_frames(source, tmp_path) -> None:
    root = tmp_path / "videos"
    for video in [*source.train, *source.test]:
        path = root / source.classes[video.label] / f"{video.path.parent.name}-{video.path.name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(video.path)
    choice = ["data=folder", f"data.root={root}", "num_workers=0", "flow.length=5", "validation_fraction=0"]
    listed = build_source(compose_config(choice))
    for video in [*listed.train, *listed.test]:
        pack_clip(video, tmp_path / "packed")
    cfg = compose_config([*choice, "data.frames=packed", f"data.packed={tmp_path / 'packed'}"])
    packed = build_data(cfg, listed).test_set[(0, 3)]
    decoded = build_data(compose_config(choice), listed).test_set[(0, 3)]
    assert 0 < (packed.first.int() - decoded.first.int()).abs().float().mean() < 8
    assert packed.label == decoded.label
    with pytest.raises(ValueError, match="choose from video, packed"):
        build_data(compose_config([*choice, "data.frames=zip"]), listed)
    with pytest.raises(ValueError, match=rf"{root}/packed-256.*no such folder"):
        build_data(compose_config([*choice, "data.frames=packed"]), listed)
