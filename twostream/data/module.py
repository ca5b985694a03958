"""Data sets -> loaders."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Sampler

from twostream.data.clip import Clip
from twostream.data.dataset import ClipDataset, collate
from twostream.data.flow import pin_threads
from twostream.data.tasks import available_cores
from twostream.signals import ignore_signals


def start_worker(_worker: int) -> None:
    """One thread for each worker; when to stop is for the main process to say."""
    pin_threads()
    ignore_signals()


class ClipSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, index) keys: this process's share of the videos, each video on exactly one process.

    With `even=True` (training) all processes get the same number of keys: the few left over are dropped after
    shuffling, others next epoch. Without it (testing) no video is dropped and none is repeated.
    """

    def __init__(
        self, length: int, *, shuffle: bool, even: bool, seed: int = 0, rank: int = 0, world_size: int = 1
    ) -> None:
        self.length = length
        self.shuffle = shuffle
        self.even = even
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self.done: tuple[int, int] = (
            0,
            0,
        )  # of which epoch how many keys have been used, before the process was started again

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch."""
        self.epoch = epoch

    def _mine(self) -> np.ndarray:
        order = np.arange(self.length)
        if self.shuffle:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(self.length)
        if self.even:
            order = order[: self.length // self.world_size * self.world_size]
        return order[self.rank :: self.world_size]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self.epoch if self.shuffle else 0
        done = self.done[1] if epoch == self.done[0] else 0
        return iter([(epoch, int(index)) for index in self._mine()[done:]])

    def __len__(self) -> int:
        return len(self._mine())


class VideoDataModule(pl.LightningDataModule):
    """The loaders of one experiment. `num_workers=-1` means one per available core.

    Validation videos come out of the training list; `test` is read by `Trainer.test` alone.
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
    ) -> None:
        super().__init__()
        self.train_set = train
        self.validation_set = validation
        self.test_set = test
        self.batch_size = batch_size
        self.test_batch_size = test_batch_size or batch_size
        self.num_workers = available_cores() if num_workers < 0 else num_workers
        self.prefetch_factor = prefetch_factor
        self.persistent_workers = persistent_workers
        self.pin_memory = pin_memory
        self.seed = seed
        self._begins = (0, 0)

    def begin_at(self, epoch: int, batch: int) -> None:
        """Training goes on with this batch of this epoch; what was before has been seen."""
        self._begins = (epoch, batch)

    def unreadable(self) -> list[torch.Tensor]:
        """Which videos of the training, validation and test list could not be read so far."""
        return [part.is_unreadable.clone() for part in (self.train_set, self.validation_set, self.test_set)]

    def set_unreadable(self, found: list[torch.Tensor]) -> None:
        """What a process before this one found."""
        for part, is_unreadable in zip((self.train_set, self.validation_set, self.test_set), found, strict=True):
            part.is_unreadable.copy_(is_unreadable)

    def train_dataloader(self) -> DataLoader[Clip | None]:
        return self._loader(self.train_set, training=True)

    def val_dataloader(self) -> DataLoader[Clip | None]:
        return self._loader(self.validation_set, training=False)

    def test_dataloader(self) -> DataLoader[Clip | None]:
        return self._loader(self.test_set, training=False)

    def _loader(self, dataset: ClipDataset, *, training: bool) -> DataLoader[Clip | None]:
        sampler = ClipSampler(
            len(dataset),
            shuffle=training,
            even=training,
            seed=self.seed,
            rank=self.trainer.global_rank if self.trainer else 0,
            world_size=self.trainer.world_size if self.trainer else 1,
        )
        batch_size = self.batch_size if training else self.test_batch_size
        if training:
            epoch, batch = self._begins
            sampler.set_epoch(epoch)  # workers ask for keys before Lightning tells the epoch
            sampler.done = (epoch, batch * batch_size)
        return DataLoader(
            dataset,
            batch_size=batch_size,
            sampler=sampler,  # type: ignore[arg-type]  # a map-style data set may have any key
            num_workers=self.num_workers,
            collate_fn=collate,
            worker_init_fn=start_worker,
            generator=torch.Generator().manual_seed(self.seed),  # else it would use up those of the network
            persistent_workers=self.persistent_workers and self.num_workers > 0,
            prefetch_factor=self.prefetch_factor if self.num_workers > 0 else None,
            pin_memory=self.pin_memory,
        )
