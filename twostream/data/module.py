"""The loaders of a run: for training, validation and test."""

from __future__ import annotations

import pytorch_lightning as pl
import torch

from twostream.data.dataset import ClipDataset
from twostream.data.loader import ClipLoader
from twostream.data.record import Record
from twostream.data.samplers import ClipBatches, ClipSampler
from twostream.data.tasks import available_cores


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
    `balanced`: training draws all classes equally often. `record` lists the videos of the run, for recovery
    checkpoints.

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
        balanced: bool = False,
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
        self.balanced = balanced
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

    def train_dataloader(self) -> ClipLoader:
        return self._loader(self.train_set, training=True)

    def val_dataloader(self) -> ClipLoader:
        return self._loader(self.validation_set, training=False)

    def test_dataloader(self) -> ClipLoader:
        return self._loader(self.test_set, training=False)

    def fixed_loader(self, dataset: ClipDataset) -> ClipLoader:
        """Returns a loader of this process's share of any data set, in order."""
        return self._loader(dataset, training=False)

    def _loader(self, dataset: ClipDataset, *, training: bool) -> ClipLoader:
        rank, world_size, devices = 0, 1, 1
        if self.trainer is not None:
            rank, world_size, devices = self.trainer.global_rank, self.trainer.world_size, self.trainer.num_devices
        mine = share(self.batch_size, world_size)
        labels = [video.label for video in dataset.videos] if training and self.balanced else None
        sampler = ClipSampler(
            len(dataset), shuffle=training, seed=self.seed, rank=rank, world_size=world_size, labels=labels
        )
        if training:
            batches = ClipBatches(sampler, mine, done=self._begins)
            sampler.set_epoch(self._begins[0])  # the loader asks for keys before Lightning sets the epoch
        else:
            batches = ClipBatches(sampler, self.test_batch_size or mine)
        workers = self.num_workers if self.num_workers >= 0 else max(1, available_cores() // devices)
        return ClipLoader(
            dataset,
            batches,
            workers=workers,
            prefetch=self.prefetch_factor,
            persistent=self.persistent_workers,
            pin_memory=self.pin_memory,
            generator=torch.Generator().manual_seed(self.seed),  # else it would draw from the network's generator
            epochs=self.trainer.max_epochs if training and self.trainer is not None else None,
        )
