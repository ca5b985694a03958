"""Workers make each batch together: the batches stay what they were, and the next epoch begins in time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from pytorch_lightning.utilities.combined_loader import CombinedLoader
from torch.utils.data import DataLoader, Dataset

from twostream.data.clip import Clip
from twostream.data.dataset import collate
from twostream.data.decoding import VideoError
from twostream.data.loader import ClipLoader, Pieces, on_device
from twostream.data.samplers import ClipBatches, ClipSampler


class Clips(Dataset[Clip | None]):
    """Clips that show their key, without those of `lost` videos; `made` says how many of each epoch were asked for."""

    in_pieces = False

    def __init__(self, length: int = 23, lost: tuple[int, ...] = (), broken: int | None = None) -> None:
        self.length = length
        self.lost = lost
        self.broken = broken
        self.made = torch.zeros(3, length, dtype=torch.int32).share_memory_()

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, key: tuple[int, int]) -> Clip | None:
        epoch, index = key
        self.made[epoch, index] += 1
        if index == self.broken:
            raise VideoError(f"{index}.avi", "is broken")
        values = torch.Generator().manual_seed(100 * epoch + index)
        rgb = torch.randint(0, 256, (1, 2, 3, 4, 4), generator=values, dtype=torch.uint8)
        clip = Clip(rgb, rgb.view(torch.int8), torch.tensor(index % 5), torch.tensor(index))
        return None if index in self.lost else clip

    def no_clips(self) -> Clip:
        rgb = torch.zeros(0, 1, 2, 3, 4, 4, dtype=torch.uint8)
        return Clip(rgb, rgb.view(torch.int8), torch.zeros(0).long(), torch.zeros(0).long())


def batches_of(rank: int = 0, world_size: int = 1, *, size: int = 8, done: tuple[int, int] = (0, 0)) -> ClipBatches:
    sampler = ClipSampler(23, shuffle=True, seed=3, rank=rank, world_size=world_size)
    return ClipBatches(sampler, size, done=done)


def loader_of(dataset: Clips, batches: ClipBatches, **options: Any) -> ClipLoader:
    return ClipLoader(dataset, batches, **options)  # type: ignore[arg-type]


def two_epochs(loader: DataLoader, batches: ClipBatches, first: int = 0) -> Iterator[list[torch.Tensor]]:
    for epoch in (first, first + 1):
        batches.sampler.set_epoch(epoch)
        yield from ([tensor.clone() for tensor in batch] for batch in loader)


@pytest.mark.long
@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("persistent", [True, False])
@pytest.mark.parametrize(("world_size", "done"), [(1, (0, 0)), (1, (0, 2)), (3, (1, 1)), (4, (0, 0))])
def test_batches_are_those_of_whole_batches(workers: int, persistent: bool, world_size: int, done: tuple) -> None:
    """Of each process, in the second epoch, too, and after a resumed one; some videos cannot be read."""
    if world_size > 1 and not persistent:
        return
    for rank in range(world_size):
        dataset, batches = Clips(lost=(1, 4, 5, 22)), batches_of(rank, world_size, size=8 // world_size, done=done)
        whole = DataLoader(dataset, batch_sampler=batches, collate_fn=partial(collate, none=dataset.no_clips()))
        expected = list(two_epochs(whole, batches, done[0]))
        loader = loader_of(dataset, batches, workers=workers, persistent=persistent, epochs=3)
        assert len(loader) == len(batches)
        found = list(two_epochs(loader, batches, done[0]))
        assert len(found) == len(expected) == 2 * len(batches) - done[1]
        for one, other in zip(found, expected, strict=True):
            assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(one, other, strict=True))


def test_every_worker_has_a_part_of_a_batch() -> None:
    """By hand: 10 clips and 4 workers make 5 pieces of 2, so that the larger parts go round."""
    batches = batches_of(size=10)
    loader = loader_of(Clips(), batches, workers=4)
    pieces: Any = loader.batch_sampler
    assert [len(piece) for piece in pieces] == [2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1]
    assert len(pieces) == 12
    assert [key for piece in pieces for key in piece] == [key for keys in batches for key in keys]
    for workers, size in ((16, 1), (0, 10)):
        whole: Any = loader_of(Clips(), batches, workers=workers).batch_sampler
        assert whole.size == size
    assert Pieces(batches, 4).of([]) == [[]], "a process without a clip waits for its empty batch, as others for theirs"


def wait_for(count: int, made: torch.Tensor) -> int:
    """How many clips are made, at least `count` soon, and what follows at once."""
    ends = time.monotonic() + 60
    while int(made.sum()) < count and time.monotonic() < ends:
        time.sleep(0.01)
    time.sleep(0.1)
    return int(made.sum())


def test_memory_holds_so_many_batches_and_the_next_epoch_begins_before_it_is_asked_for() -> None:
    dataset, batches = Clips(), batches_of(size=4)
    loader = loader_of(dataset, batches, workers=2, persistent=True, epochs=2)
    epoch = iter(loader)
    assert wait_for(8, dataset.made) == 8, "two batches"
    taken = [next(epoch) for _ in range(len(loader))]
    assert wait_for(8, dataset.made[1]) == 8, "two batches, while the last one is trained on"
    assert dataset.made[0].tolist() == [1] * 23
    batches.sampler.set_epoch(1)
    taken += list(loader)
    assert dataset.made[1].tolist() == [1] * 23, "none is made twice"
    assert wait_for(0, dataset.made[2]) == 0, "there is no third epoch"
    assert sum(len(batch.label) for batch in taken) == 46


def test_an_error_names_the_video() -> None:
    loader = loader_of(Clips(broken=7), batches_of(), workers=1, persistent=True)  # PyTorch waits 5 s for each to end
    with pytest.raises(VideoError, match=r"7\.avi: is broken"):
        list(loader)


@pytest.mark.long
@pytest.mark.parametrize("persistent", [True, False])
def test_workers_end_when_training_does(persistent: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of an epoch, with pieces on their way, and after the last one has begun the next."""
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 60.0)  # so long a worker is waited for,
    monkeypatch.setattr("torch.utils.data._utils.worker.MP_STATUS_CHECK_INTERVAL", 60.0)  # … and waits for work
    for batches in (1, 3):
        loader = loader_of(Clips(), batches_of(), workers=3, persistent=persistent, epochs=2)
        combined = CombinedLoader(loader)
        begun = iter(combined)
        for _ in range(batches):
            next(begun)
        iterator: Any = combined._iterator.iterators[0]  # type: ignore[union-attr]
        workers = iterator.gi_frame.f_locals["pieces"]._workers
        assert all(worker.is_alive() for worker in workers) == (persistent or batches == 1)
        started = time.monotonic()
        combined.reset()
        del begun, iterator
        for worker in workers:
            worker.join(60)
        assert not any(worker.is_alive() for worker in workers)
        assert time.monotonic() - started < 30


def test_batches_for_a_gpu_stay_in_pieces_until_they_are_there() -> None:
    dataset, batches = Clips(lost=(1, 4, 5, 22)), batches_of(4, 5, size=2)  # the last batch of this process is empty
    whole = list(loader_of(dataset, batches))
    loader = loader_of(dataset, batches, workers=2, pin_memory=True)  # without a GPU, PyTorch pins nothing
    pieces = list(loader)
    assert all(isinstance(batch, list) for batch in pieces)
    for one, other in zip(map(partial(on_device, device="cpu"), pieces), whole, strict=True):
        assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(one, other, strict=True))
