"""The loaders of a run: which process reads which videos, in which order and batches."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Sampler

from twostream.data.clip import Clip
from twostream.data.dataset import ClipDataset, collate
from twostream.data.record import Record
from twostream.data.tasks import available_cores
from twostream.data.workers import start_worker


class ClipSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, index) keys: this process's share of the videos, each video on exactly one process.

    Process r of N has the positions r, r + N, r + 2N … of the epoch's order. So the first k keys of all processes are
    together the first k·N of the order, whatever N is; no video is dropped or repeated.
    """

    def __init__(self, length: int, *, shuffle: bool, seed: int = 0, rank: int = 0, world_size: int = 1) -> None:
        self.length = length
        self.shuffle = shuffle
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch; Lightning calls this before each one."""
        self.epoch = epoch

    @property
    def longest(self) -> int:
        """The number of keys of the process that has the most."""
        return -(-self.length // self.world_size)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch, order = 0, np.arange(self.length)
        if self.shuffle:
            epoch, order = self.epoch, np.random.default_rng((self.seed, self.epoch)).permutation(self.length)
        return iter([(epoch, int(index)) for index in order[self.rank :: self.world_size]])

    def __len__(self) -> int:
        return len(range(self.rank, self.length, self.world_size))


class ClipBatches(Sampler[list[tuple[int, int]]]):
    """Yields the keys of a sampler, `batch_size` at a time; every process has the same number of batches.

    Batch i of all processes together is the same set of videos, however many processes there are. In the last batch a
    process may have fewer videos than others, or none. `done` is (epoch, number of batches): that epoch starts after
    these batches, which were used before the run was resumed.
    """

    def __init__(self, sampler: ClipSampler, batch_size: int, *, done: tuple[int, int] = (0, 0)) -> None:
        self.sampler = sampler
        self.batch_size = batch_size
        self.done = done

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        first = self.done[1] if self.sampler.epoch == self.done[0] else 0
        keys = list(self.sampler)
        for batch in range(first, len(self)):
            yield keys[batch * self.batch_size : (batch + 1) * self.batch_size]

    def __len__(self) -> int:
        return -(-self.sampler.longest // self.batch_size)


def share(batch_size: int, world_size: int) -> int:
    """Returns how many videos of a batch each process has. Raises ValueError if `world_size` does not divide it."""
    if batch_size % world_size:
        raise ValueError(
            f"batch_size={batch_size} is that of all processes together, and {world_size} of them (trainer.devices × "
            f"trainer.num_nodes) cannot share it equally; choose a multiple of {world_size}"
        )
    return batch_size // world_size


class VideoDataModule(pl.LightningDataModule):
    """The loaders of one run: training, validation and test.

    `batch_size` counts the videos of all processes together; `test_batch_size` counts those of each process, and no
    result depends on it. `num_workers=-1` starts one worker per available core, shared among this machine's processes.
    `record` lists the videos of the run, for recovery checkpoints.

    Building a loader raises ValueError if the processes cannot share a batch equally.
    """

    def __init__(
        self,
        *,
        train: ClipDataset,
        validation: ClipDataset,
        test: ClipDataset,
        batch_size: int,
        test_batch_size: int | None = None,
        num_workers: int = -1,
        prefetch_factor: int = 2,
        persistent_workers: bool = True,
        pin_memory: bool = False,
        seed: int = 0,
        record: Record | None = None,
    ) -> None:
        super().__init__()
        self.train_set = train
        self.validation_set = validation
        self.test_set = test
        self.batch_size = batch_size
        self.test_batch_size = test_batch_size
        self.num_workers = num_workers
        self.prefetch_factor = prefetch_factor
        self.persistent_workers = persistent_workers
        self.pin_memory = pin_memory
        self.seed = seed
        self.record = record
        self._begins = (0, 0)

    def begin_at(self, epoch: int, batch: int) -> None:
        """Makes training continue with this batch of this epoch; the batches before it were used already."""
        self._begins = (epoch, batch)

    def unreadable(self) -> list[list[str]]:
        """Returns the ids of the videos that could not be read so far: of the training, validation and test list."""
        return [part.unreadable() for part in (self.train_set, self.validation_set, self.test_set)]

    def set_unreadable(self, found: list[list[str]]) -> None:
        """Marks as unreadable the videos that `unreadable()` returned in the process that this one resumes."""
        for part, ids in zip((self.train_set, self.validation_set, self.test_set), map(set, found), strict=True):
            part.is_unreadable.copy_(torch.tensor([video.id in ids for video in part.videos], dtype=torch.bool))

    def train_dataloader(self) -> DataLoader[Clip]:
        return self._loader(self.train_set, training=True)

    def val_dataloader(self) -> DataLoader[Clip]:
        return self._loader(self.validation_set, training=False)

    def test_dataloader(self) -> DataLoader[Clip]:
        return self._loader(self.test_set, training=False)

    def fixed_loader(self, dataset: ClipDataset) -> DataLoader[Clip]:
        """Returns a loader of this process's share of any data set, in order."""
        return self._loader(dataset, training=False)

    def _loader(self, dataset: ClipDataset, *, training: bool) -> DataLoader[Clip]:
        rank, world_size, devices = 0, 1, 1
        if self.trainer is not None:
            rank, world_size, devices = self.trainer.global_rank, self.trainer.world_size, self.trainer.num_devices
        mine = share(self.batch_size, world_size)
        sampler = ClipSampler(len(dataset), shuffle=training, seed=self.seed, rank=rank, world_size=world_size)
        if training:
            batches = ClipBatches(sampler, mine, done=self._begins)
            sampler.set_epoch(self._begins[0])  # the loader asks for keys before Lightning sets the epoch
        else:
            batches = ClipBatches(sampler, self.test_batch_size or mine)
        workers = self.num_workers if self.num_workers >= 0 else max(1, available_cores() // devices)
        return DataLoader(
            dataset,
            batch_sampler=batches,  # type: ignore[arg-type]  # a map-style data set may have any key
            num_workers=workers,
            collate_fn=partial(collate, none=dataset.no_clips()),
            worker_init_fn=start_worker,
            generator=torch.Generator().manual_seed(self.seed),  # else it would draw from the network's generator
            persistent_workers=self.persistent_workers and workers > 0,
            prefetch_factor=self.prefetch_factor if workers > 0 else None,
            pin_memory=self.pin_memory,
        )
