"""How soon and how fast do batches come? `python -m benchmarks.feeding`: whole batches made by one worker each,
as PyTorch does it, against batches that all workers make together. Clips take .5 to 1.5 times `--seconds` of sleep, so
that a few cores can stand for many."""

from __future__ import annotations

import argparse
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from twostream.data.clip import Clip
from twostream.data.dataset import collate
from twostream.data.frames import MEMORY
from twostream.data.loader import ClipLoader
from twostream.data.samplers import ClipBatches, ClipSampler
from twostream.data.workers import start_worker

EVERY = 0.02  # seconds between two looks at the memory


class Sleeping(Dataset[Clip]):
    """Clips of so many bytes that take time and no processor."""

    def __init__(self, count: int, seconds: float, size: int) -> None:
        self.count = count
        self.seconds = seconds
        self.size = size

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, key: tuple[int, int]) -> Clip:
        time.sleep(self.seconds * np.random.default_rng(key).uniform(0.5, 1.5))
        rgb, flow = torch.full((self.size,), key[1] % 256, dtype=torch.uint8), torch.zeros(1, dtype=torch.int8)
        return Clip(rgb, flow, torch.tensor(0), torch.tensor(key[1]))

    def no_clips(self) -> Clip:
        return Clip(*(torch.zeros(0) for _ in Clip._fields))


@contextmanager
def watched(memory: Path = MEMORY) -> Iterator[Callable[[], float]]:
    """Yields a function that returns the most bytes that were in use there at once in the block, in GiB."""
    before, ended = shutil.disk_usage(memory).used, threading.Event()
    most = [before]

    def watch() -> None:
        while not ended.wait(EVERY):
            most.append(max(most.pop(), shutil.disk_usage(memory).used))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield lambda: (most[0] - before) / 2**30
    finally:
        ended.set()
        thread.join()


def whole(dataset: Sleeping, batches: ClipBatches, workers: int) -> DataLoader:
    """Returns PyTorch's own loader, as it was used before."""
    return DataLoader(
        dataset,
        batch_sampler=batches,  # type: ignore[arg-type]
        num_workers=workers,
        collate_fn=partial(collate, none=dataset.no_clips()),
        worker_init_fn=start_worker,
        persistent_workers=True,
    )


def together(dataset: Sleeping, batches: ClipBatches, workers: int) -> DataLoader:
    """Returns ours."""
    return ClipLoader(dataset, batches, workers=workers, persistent=True, epochs=2)  # type: ignore[arg-type]


def measure(
    make: Callable[..., DataLoader], options: argparse.Namespace, workers: int
) -> tuple[float, float, float, float]:
    """Returns seconds to the first batch, clips/s, GiB, and seconds to the next epoch's first batch after a pause."""
    batches = ClipBatches(ClipSampler(options.clips, shuffle=True), options.batch)
    loader = make(Sleeping(options.clips, options.seconds, options.bytes), batches, workers)
    with watched() as memory:
        started = time.perf_counter()
        epoch = iter(loader)
        count = len(next(epoch).label)
        first = time.perf_counter() - started
        count += sum(len(batch.label) for batch in epoch)
        rate = count / (time.perf_counter() - started)
    time.sleep(options.pause)  # a validation
    batches.sampler.set_epoch(1)
    started = time.perf_counter()
    next(iter(loader))
    return first, rate, memory(), time.perf_counter() - started


def main() -> None:
    """Prints a table of both loaders for each number of workers."""
    parser = argparse.ArgumentParser("python -m benchmarks.feeding", description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[4, 8, 16])
    parser.add_argument("--clips", type=int, default=768)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--seconds", type=float, default=0.1, help="of a clip, on average")
    parser.add_argument("--bytes", type=int, default=2**20, help="of a clip")
    parser.add_argument("--pause", type=float, default=2.0, help="seconds between the epochs, as a validation takes")
    options = parser.parse_args()
    print("| workers | batches | first, s | clips/s | of what they could | /dev/shm, GiB | next epoch's first, s |")
    print("|---|---|---|---|---|---|---|")
    for workers in options.workers:
        for name, make in (("whole", whole), ("together", together)):
            first, rate, memory, following = measure(make, options, workers)
            share = rate * options.seconds / workers
            print(f"| {workers} | {name} | {first:.2f} | {rate:.0f} | {share:.0%} | {memory:.2f} | {following:.2f} |")


if __name__ == "__main__":
    main()
