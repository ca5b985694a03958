"""Clips: shapes, shared work, and draws that depend on nothing but seed, epoch and video."""

from __future__ import annotations

from functools import partial
from itertools import chain

import numpy as np
import pytest
import torch

import twostream.data.frames as frames_module
from twostream.data.dataset import ClipDataset, collate
from twostream.data.decoding import VideoError
from twostream.data.flow import DIS, quantise
from twostream.data.frames import Cached, Decoded
from twostream.data.made import in_boxes, mirrored_flow, mirrored_picture
from twostream.data.module import VideoDataModule
from twostream.data.samplers import ClipBatches, ClipSampler
from twostream.data.sampling import Chunks
from twostream.data.sources import Video
from twostream.data.sources.moving_patterns import MovingPatterns
from twostream.data.transform import CentreCrop, crop_computed, crop_rgb, crop_stored
from twostream.options.streams import flow, rgb


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> MovingPatterns:
    return MovingPatterns(tmp_path_factory.mktemp("cache"), split=1, train_clips=16, test_clips=16)


def clips(source: MovingPatterns, **options) -> ClipDataset:
    defaults = {
        "sampling": Chunks(2, stride=(2, 2)),
        "transform": CentreCrop(size=64, crop_fraction=1.0, flip=0.0),
        "flow": DIS(length=3, preset="ultrafast"),
        "frame_source": Decoded(),
    }
    return ClipDataset(source.train, **{**defaults, **options})


def test_shapes_types_and_label(source) -> None:
    clip = clips(source)[(0, 5)]
    assert clip.first.shape == (1, 2, 3, 64, 64)
    assert clip.second.shape == (1, 2, 6, 64, 64)
    assert (clip.first.dtype, clip.second.dtype) == (torch.uint8, torch.int8)
    assert (int(clip.label), int(clip.index)) == (source.train[5].label, 5)


def test_a_stream_that_is_not_wanted_has_no_channels_and_costs_nothing(source, monkeypatch) -> None:
    monkeypatch.setattr(DIS, "fields", lambda *_: pytest.fail("flow was computed"))
    clip = clips(source, streams=(rgb(),))[(0, 0)]
    assert clip.second.shape == (1, 2, 0, 64, 64)
    monkeypatch.undo()
    only_flow, both = clips(source, streams=(flow(3),))[(0, 0)], clips(source)[(0, 0)]
    assert only_flow.second.shape == (1, 2, 0, 64, 64)
    assert torch.equal(only_flow.first, both.second)


def test_overlapping_stacks_and_views_decode_and_compute_each_once(source, monkeypatch) -> None:
    """Two chunks 2 apart with 3 fields each: frames 0…5 and 5 pairs, not 8 frames and 6 pairs; flips are free."""
    read, computed = [], []
    read_frames, fields = frames_module.read_frames, DIS.fields
    monkeypatch.setattr(
        frames_module, "read_frames", lambda p, i, **k: (read.append(list(i)), read_frames(p, i, **k))[1]
    )
    monkeypatch.setattr(DIS, "fields", lambda self, f, p: (computed.append(len(p)), fields(self, f, p))[1])
    clip = clips(source, transform=CentreCrop(size=64, crop_fraction=1.0, test_flip=True))[(0, 0)]
    assert clip.first.shape[0] == 2
    assert [len(indices) for indices in read] == [6]
    assert len(set(read[0])) == 6
    assert computed == [5]


def test_a_flipped_view_mirrors_the_picture_and_turns_u(source) -> None:
    """u1, v1, u2, v2, …: even channels change sign, odd ones do not."""
    plain, flipped = clips(source, transform=CentreCrop(size=64, crop_fraction=1.0, test_flip=True))[(0, 3)].second
    mirrored = flipped.flip(-1).int()
    assert torch.equal(mirrored[:, 0::2], -plain[:, 0::2].int())
    assert torch.equal(mirrored[:, 1::2], plain[:, 1::2].int())
    rgb_plain, rgb_flipped = clips(source, transform=CentreCrop(size=64, crop_fraction=1.0, test_flip=True))[
        (0, 3)
    ].first
    assert torch.equal(rgb_flipped.flip(-1), rgb_plain)


def test_a_mirrored_crop_is_the_crop_mirrored_and_not_cut_out_again(source, monkeypatch) -> None:
    """Ten crops of frames that are resized: the same pixels as each box on its own, from five resizings."""
    transform = CentreCrop(size=40, crop_fraction=0.8, test="ten")
    [frame] = Decoded().read(source.train[0], [5])
    field = np.random.default_rng(0).normal(0, 9, (64, 64, 2)).astype(np.float32)
    boxes, cut = transform.fixed(64, 64), []
    for image, crop, mirror in (
        (frame, lambda frame, box: crop_rgb([frame], box, 40)[0], partial(mirrored_picture, stream=rgb())),
        (field, lambda field, box: crop_computed(field, box, 40, 20.0), mirrored_flow),
        (quantise(field.transpose(2, 0, 1), 20.0), lambda levels, box: crop_stored(levels, box, 40), mirrored_flow),
    ):
        found = in_boxes(image, boxes, lambda image, box, crop=crop: (cut.append(box), crop(image, box))[1], mirror)
        assert all(np.array_equal(view, crop(image, box)) for view, box in zip(found, boxes, strict=True))
    assert len(cut) == 3 * 5


def test_kept_frames_and_fields_give_the_same_clips_and_are_made_once(source, kept, monkeypatch) -> None:
    """In five epochs of random starts, each of the 11 pairs of a clip of 12 frames is computed once at most."""
    cached = clips(source, training=True, frame_source=Cached(Decoded(), kept), kept=kept)
    plain = clips(source, training=True)
    wanted = [plain[epoch, index] for epoch in range(5) for index in (0, 3)]
    computed, fields = [], DIS.fields
    monkeypatch.setattr(DIS, "fields", lambda self, f, p: (computed.extend(p), fields(self, f, p))[1])
    for clip, (epoch, index) in zip(wanted, [(epoch, index) for epoch in range(5) for index in (0, 3)], strict=True):
        found = cached[epoch, index]
        assert all(torch.equal(one, other) for one, other in zip(found, clip, strict=True))
    assert 11 < len(computed) <= 2 * 11


def test_what_a_rendered_set_says_of_its_videos_is_what_decoding_finds(source) -> None:
    for video in (source.train[0], source.test[-1]):
        frames = Decoded().read(video, range(Decoded().count(video)))
        made = source.rendered
        assert frames.shape[:3] == (made.count(video.path, "pyav"), made.height, made.width) == (12, 64, 64)


def test_training_draws_come_from_seed_epoch_and_video(source) -> None:
    options = {"training": True, "transform": CentreCrop(size=48, flip=0.5), "sampling": Chunks(2, stride=(1, 3))}
    one, same = clips(source, seed=3, **options), clips(source, seed=3, **options)
    for i in range(4):  # another history
        same[(0, i)]
    assert torch.equal(one[(1, 7)].second, same[(1, 7)].second)
    draws = {one[(epoch, 7)].second.numpy().tobytes() for epoch in range(6)}
    assert len(draws) > 2, "other epochs, other draws"


def test_motion_arrives_as_int8_in_units_of_the_bound(source) -> None:
    """3 pixels a frame of a bound of 20 are 3 · 127 / 20 = 19 levels; DIS is off by a few tenths of a pixel."""
    index = next(i for i, video in enumerate(source.train) if source.classes[video.label].endswith("-right"))
    u = clips(source, flow=DIS(length=3, preset="medium"))[(0, index)].second[0, 0, 0].float()
    moving = u[u.abs() > 8]
    assert len(moving) > 100
    assert 15 < moving.median() < 23


def sampled(world_size: int, length: int = 10, *, batch_size: int = 4, shuffle: bool = False) -> list[list[list[int]]]:
    """The videos of each batch of each process."""
    samplers = [ClipSampler(length, shuffle=shuffle, rank=r, world_size=world_size) for r in range(world_size)]
    return [[[i for _, i in keys] for keys in ClipBatches(s, batch_size // world_size)] for s in samplers]


def test_processes_share_each_batch_by_hand() -> None:
    """Ten videos, batches of four: the last batch has two, of which one process of four has none … as it must."""
    assert sampled(1) == [[[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]]
    assert sampled(2) == [[[0, 2], [4, 6], [8]], [[1, 3], [5, 7], [9]]]
    assert sampled(4) == [[[0], [4], [8]], [[1], [5], [9]], [[2], [6], []], [[3], [7], []]]
    assert sampled(4, length=1) == [[[0]], [[]], [[]], [[]]], "nobody waits for who has nothing to do"


@pytest.mark.parametrize("length", [1, 7, 8, 29])
def test_a_batch_is_the_same_videos_however_many_processes_there_are(length: int) -> None:
    [alone] = sampled(1, length, batch_size=12, shuffle=True)
    assert sorted(index for batch in alone for index in batch) == list(range(length))
    for world_size in (2, 3, 4, 12):
        together = zip(*sampled(world_size, length, batch_size=12, shuffle=True), strict=True)
        assert [sorted(chain(*shares)) for shares in together] == [sorted(batch) for batch in alone]


def test_sampler_shuffles_anew_each_epoch_and_reproducibly() -> None:
    sampler, same = (ClipSampler(20, shuffle=True, seed=1) for _ in range(2))
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert {epoch for epoch, _ in first} == {0}
    assert {epoch for epoch, _ in second} == {1}
    assert [i for _, i in first] != [i for _, i in second]
    assert list(same) == first


@pytest.mark.long
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_of_both_kinds_make_the_same_batches(source, context: str) -> None:
    def batches(num_workers: int) -> list[np.ndarray]:
        data = VideoDataModule(
            train=clips(source, training=True),
            validation=clips(source),
            test=clips(source),
            batch_size=4,
            num_workers=num_workers,
        )
        loader = data.train_dataloader()
        if num_workers:
            loader.multiprocessing_context = context
        return [batch.second.numpy() for batch in loader]

    for one, other in zip(batches(0), batches(2), strict=True):
        assert np.array_equal(one, other)


def test_a_broken_video_is_fatal_or_left_out_and_named(source, tmp_path) -> None:
    empty = tmp_path / "empty.mp4"
    empty.write_bytes(b"")
    videos = [source.train[0], Video(id="a/empty.mp4", path=empty, label=0, group="x"), source.train[1]]
    options = clips(source)
    settings = {name: getattr(options, name) for name in ("sampling", "transform", "flow", "frame_source")}
    with pytest.raises(VideoError, match=r"empty.mp4: is empty"):
        ClipDataset(videos, **settings)[(0, 1)]
    lenient = ClipDataset(videos, broken="skip", **settings)
    batch = collate([lenient[(0, index)] for index in range(3)])
    assert batch.index.tolist() == [0, 2]
    assert collate([lenient[(0, 1)]]) is None
    assert lenient.unreadable() == ["a/empty.mp4"]
    with pytest.raises(ValueError, match="broken='ignore': choose from error, skip"):
        ClipDataset(videos, broken="ignore", **settings)
