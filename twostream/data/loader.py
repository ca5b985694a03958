"""A loader whose workers make each batch together."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

from twostream.data.clip import Clip
from twostream.data.dataset import ClipDataset, collate
from twostream.data.samplers import ClipBatches, Key
from twostream.data.workers import start_worker


class Pieces(Sampler[list[Key]]):
    """Yields the keys of each batch in pieces of `size` keys, one at least."""

    def __init__(self, batches: ClipBatches, size: int) -> None:
        self.batches = batches
        self.size = size
        self.sampler = batches.sampler  # where Lightning looks for it, to set the epoch

    def of(self, keys: Sequence[Key]) -> list[list[Key]]:
        """Returns the pieces of a batch."""
        return [list(keys[start : start + self.size]) for start in range(0, max(1, len(keys)), self.size)]

    def __iter__(self) -> Iterator[list[Key]]:
        return (piece for keys in self.batches for piece in self.of(keys))

    def __len__(self) -> int:
        return sum(len(self.of(keys)) for keys in self.batches)


class ClipLoader(DataLoader[Any]):
    """Yields the batches of `batches`, bit for bit the same however many workers there are.

    Each batch is divided among all workers, and its pieces are joined in their order: a batch is there after the time
    that its part takes one worker. Each worker has `prefetch` pieces in memory; all together hold about `prefetch`
    batches, or as many clips as they are if these are more.

    With `epochs`, the first pieces of the next epoch are made while the last batch is still trained on, and through the
    validation that follows. With `pin_memory`, batches stay lists of their pieces, in memory from which a GPU copies
    faster: `on_device` joins them there. So do pictures that are not decoded yet (`twostream.data.undecoded`).
    """

    def __init__(
        self,
        dataset: ClipDataset,
        batches: ClipBatches,
        *,
        workers: int = 0,
        prefetch: int = 2,
        persistent: bool = False,
        pin_memory: bool = False,
        generator: torch.Generator | None = None,
        epochs: int | None = None,
    ) -> None:
        self.batches = batches
        self.none = dataset.no_clips()  # the batch in place of one without clips
        self.in_pieces = pin_memory or dataset.in_pieces
        self.epochs = epochs
        self._next: tuple[int, Iterator[Clip | None]] | None = None  # the next epoch, and its pieces
        super().__init__(
            dataset,
            batch_sampler=Pieces(batches, max(1, batches.batch_size // max(1, workers))),  # type: ignore[arg-type]
            num_workers=workers,
            collate_fn=collate,
            worker_init_fn=start_worker,
            generator=generator,
            persistent_workers=persistent and workers > 0,
            prefetch_factor=prefetch if workers > 0 else None,
            pin_memory=pin_memory,
        )

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:  # Clip; with pin_memory list[Clip]
        epoch, pieces = self._next or (None, None)
        self._next = None
        if pieces is None or epoch != self.batches.sampler.epoch:
            pieces = super().__iter__()  # the workers begin now
        counts = [len(self.batch_sampler.of(keys)) for keys in self.batches]  # type: ignore[union-attr]
        return self._batches(pieces, counts)

    def _batches(self, pieces: Iterator[Clip | None], counts: Sequence[int]) -> Iterator[Clip | list[Clip]]:
        for number, count in enumerate(counts):
            parts = [next(pieces) for _ in range(count)]
            if number == len(counts) - 1:
                self._go_on(pieces)
            readable = [part for part in parts if part is not None] or [self.none]
            yield readable if self.in_pieces else join(readable)

    def _go_on(self, pieces: Iterator[Clip | None]) -> None:
        """Lets the workers begin with the next epoch, if there is one, or end."""
        next(pieces, None)  # there is none; workers that are not to stay end now
        epoch = self.batches.sampler.epoch + 1
        if self.persistent_workers and self.epochs is not None and epoch < self.epochs:
            self.batches.sampler.set_epoch(epoch)
            self._next = epoch, super().__iter__()


def on_device(batch: Clip | list[Clip], device: torch.device | str) -> Clip:
    """Returns a batch, or one that is in pieces, on a device; copied to a GPU beside what it computes."""
    device = torch.device(device)
    if device.type != "cuda":
        return moved(batch, device)
    step, copies = torch.cuda.current_stream(device), stream_of_copies(device)
    with torch.cuda.stream(copies):
        clip = moved(batch, device)
    step.wait_stream(copies)
    for tensor in clip:
        tensor.record_stream(step)  # its memory is not given away before the step has read it
    return clip


@functools.cache
def stream_of_copies(device: torch.device) -> Any:
    """Returns the stream on which this process copies to a GPU."""
    return torch.cuda.Stream(device)


def moved(batch: Clip | list[Clip], device: torch.device) -> Clip:
    """Returns a batch, or one that is in pieces, on a device."""
    pieces = batch if isinstance(batch, list) else [batch]
    return join([Clip(*(tensor.to(device, non_blocking=True) for tensor in piece)) for piece in pieces])


def join(pieces: Sequence[Clip]) -> Clip:
    """Returns one batch of at least one."""
    return pieces[0] if len(pieces) == 1 else Clip(*(torch.cat(tensors) for tensors in zip(*pieces, strict=True)))
