"""Which process reads which videos, in which order and batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

from twostream.data.balance import balanced_draws

Key = tuple[int, ...]  # of a `ClipDataset`: (epoch, index), or (epoch, index, repeat)


class ClipSampler(Sampler[Key]):
    """Yields keys: this process's share of the videos, each video on exactly one process.

    Process r of N has the positions r, r + N, r + 2N … of the epoch's order. So the first k keys of all processes are
    together the first k·N of the order, whatever N is; no video is dropped or repeated.

    With the `labels` of the videos, classes come equally often instead (`balanced_draws`): as many draws as there are
    videos, some of which come repeatedly and some not at all. Processes share the draws in the same way.
    """

    def __init__(
        self,
        length: int,
        *,
        shuffle: bool,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        labels: Sequence[int] | None = None,
    ) -> None:
        self.length = length
        self.labels = labels
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

    def __iter__(self) -> Iterator[Key]:
        if self.labels is not None:
            draws = balanced_draws(np.asarray(self.labels), epoch=self.epoch, seed=self.seed)
            return iter([(self.epoch, *draw) for draw in draws[self.rank :: self.world_size]])
        epoch, order = 0, np.arange(self.length)
        if self.shuffle:
            epoch, order = self.epoch, np.random.default_rng((self.seed, self.epoch)).permutation(self.length)
        return iter([(epoch, int(index)) for index in order[self.rank :: self.world_size]])

    def __len__(self) -> int:
        return len(range(self.rank, self.length, self.world_size))


class ClipBatches(Sampler[list[Key]]):
    """Yields the keys of a sampler, `batch_size` at a time; every process has the same number of batches.

    Batch i of all processes together is the same set of videos, however many processes there are. In the last batch a
    process may have fewer videos than others, or none. `done` is (epoch, number of batches): that epoch starts after
    these batches, which were used before the run was resumed.
    """

    def __init__(self, sampler: ClipSampler, batch_size: int, *, done: tuple[int, int] = (0, 0)) -> None:
        self.sampler = sampler
        self.batch_size = batch_size
        self.done = done

    def __iter__(self) -> Iterator[list[Key]]:
        first = self.done[1] if self.sampler.epoch == self.done[0] else 0
        keys = list(self.sampler)
        for batch in range(first, len(self)):
            yield keys[batch * self.batch_size : (batch + 1) * self.batch_size]

    def __len__(self) -> int:
        return -(-self.sampler.longest // self.batch_size)
