"""Classes of unequal size: weights, and an order in which all come equally often, shared and resumed like any other."""

from __future__ import annotations

from collections import Counter
from itertools import chain

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from twostream.data.balance import balanced_draws, balanced_weights
from twostream.data.dataset import ClipDataset
from twostream.data.flow import DIS
from twostream.data.frames import Decoded
from twostream.data.module import VideoDataModule
from twostream.data.samplers import ClipBatches, ClipSampler
from twostream.data.sampling import Chunks
from twostream.data.sources.moving_patterns import MovingPatterns
from twostream.data.transform import CentreCrop

LABELS = np.array([0] * 17 + [2] * 5 + [3])  # a class without videos, one with a single one; 23 = 3 · 7 + 2


def test_weights_are_those_of_scikit_learn_and_one_on_average() -> None:
    """23 / (3 · 17), 23 / (3 · 5), 23 / 3; k is 3, for the second class is not there."""
    found = balanced_weights(LABELS, 5)
    assert found.tolist() == pytest.approx([23 / 51, 0, 23 / 15, 23 / 3, 0])
    assert found[[0, 2, 3]] == pytest.approx(compute_class_weight("balanced", classes=np.array([0, 2, 3]), y=LABELS))
    assert found[LABELS].mean() == pytest.approx(1)


def test_classes_come_equally_often_and_a_video_once_before_any_comes_twice() -> None:
    """In each epoch, and in all of them together, whose ends a round of a class may span."""
    videos, epochs = Counter[int](), 40
    for epoch in range(epochs):
        draws = balanced_draws(LABELS, epoch=epoch, seed=3)
        assert len(draws) == len({*draws}) == len(LABELS)
        counts = Counter(LABELS[index] for index, _ in draws)
        assert {*counts} == {0, 2, 3}
        assert max(counts.values()) - min(counts.values()) <= 1
        assert all((index, repeat - 1) in draws for index, repeat in draws if repeat), "repeats count from 0"
        videos.update(index for index, _ in draws)
        for label in (0, 2, 3):
            own = [videos[index] for index in np.flatnonzero(label == LABELS)]
            assert max(own) - min(own) <= 1
    of_classes = [sum(videos[index] for index in np.flatnonzero(label == LABELS)) for label in (0, 2, 3)]
    assert sum(of_classes) == epochs * len(LABELS)
    assert max(of_classes) - min(of_classes) <= 1


def test_of_equal_classes_every_video_comes_once_an_epoch() -> None:
    for epoch in range(3):
        draws = balanced_draws(np.arange(12) % 4, epoch=epoch, seed=0)
        assert sorted(draws) == [(index, 0) for index in range(12)]


def test_draws_follow_from_seed_and_epoch_alone() -> None:
    first = balanced_draws(LABELS, epoch=5, seed=1)
    assert balanced_draws(LABELS, epoch=5, seed=1) == first
    assert balanced_draws(LABELS, epoch=6, seed=1) != first
    assert balanced_draws(LABELS, epoch=5, seed=2) != first


def batches_of(world_size: int, *, epoch: int, done: tuple[int, int] = (0, 0)) -> list[list[list[tuple[int, ...]]]]:
    """The keys of each batch of each process."""
    found = []
    for rank in range(world_size):
        sampler = ClipSampler(
            len(LABELS), shuffle=True, seed=1, rank=rank, world_size=world_size, labels=LABELS.tolist()
        )
        sampler.set_epoch(epoch)
        found.append(list(ClipBatches(sampler, 6 // world_size, done=done)))
    return found


@pytest.mark.parametrize("world_size", [2, 3, 6])
def test_a_batch_is_the_same_draws_however_many_processes_there_are(world_size: int) -> None:
    [alone] = batches_of(1, epoch=2)
    assert [len(batch) for batch in alone] == [6, 6, 6, 5]
    together = zip(*batches_of(world_size, epoch=2), strict=True)
    assert [sorted(chain(*shares)) for shares in together] == [sorted(batch) for batch in alone]


@pytest.mark.parametrize("world_size", [1, 2])
def test_an_epoch_goes_on_in_its_middle(world_size: int) -> None:
    whole, rest = batches_of(world_size, epoch=2), batches_of(world_size, epoch=2, done=(2, 3))
    assert rest == [batches[3:] for batches in whole]
    assert batches_of(world_size, epoch=3, done=(2, 3)) == batches_of(world_size, epoch=3)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> MovingPatterns:
    return MovingPatterns(tmp_path_factory.mktemp("cache"), split=1, train_clips=24, test_clips=16)


def clips(source: MovingPatterns, *, training: bool = True) -> ClipDataset:
    return ClipDataset(
        source.train,
        sampling=Chunks(1),
        transform=CentreCrop(size=48, flip=0.5),
        flow=DIS(length=3, preset="ultrafast"),
        frame_source=Decoded(),
        training=training,
    )


def test_a_video_that_comes_again_has_other_crops(source: MovingPatterns) -> None:
    data = clips(source)
    first, *others = [data[(1, 7, repeat)] for repeat in range(6)]
    assert torch.equal(first.second, data[(1, 7)].second), "the first time as without repeats"
    assert len({clip.second.numpy().tobytes() for clip in (first, *others)}) > 2
    assert torch.equal(others[0].second, data[(1, 7, 1)].second)
    assert [int(clip.repeat) for clip in (first, *others)] == [0, 1, 2, 3, 4, 5]


def test_training_alone_is_balanced(source: MovingPatterns) -> None:
    """24 videos of 16 classes, eight of which have one: in the second epoch these come twice."""
    data = VideoDataModule(
        train=clips(source),
        validation=clips(source, training=False),
        test=clips(source, training=False),
        batch_size=8,
        num_workers=0,
        balanced=True,
    )
    data.begin_at(1, 0)
    batches = list(data.train_dataloader())
    keys = list(chain(*([*zip(one.index.tolist(), one.repeat.tolist(), strict=True)] for one in batches)))
    assert keys == balanced_draws(np.array([video.label for video in source.train]), epoch=1, seed=0)
    assert any(repeat for _, repeat in keys)
    for loader in (data.val_dataloader(), data.test_dataloader()):
        assert [index for one in loader for index in one.index.tolist()] == list(range(24))
