"""`accumulate=auto`: splits a step's batch into as few parts as the memory allows."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed

from twostream.data.clip import Clip
from twostream.data.dataset import ClipDataset, collate
from twostream.data.module import VideoDataModule, share
from twostream.files.errors import ExpectedError
from twostream.files.resources import is_out_of_memory
from twostream.training.recovery import read_recovery


class SplitBatches(pl.Callback):
    """Before training, splits a batch of `batch_size` clips into the fewest equal parts that fit into memory.

    A step still has the gradient of `batch_size` clips, since the gradients of the parts are accumulated: the learning
    rate keeps its meaning. Only batch normalisation sees parts. A resumed run keeps the parts that it began with.
    """

    def setup(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        data: VideoDataModule = trainer.datamodule  # type: ignore[attr-defined]
        if stage != "fit":
            return
        if trainer.ckpt_path:
            parts = int(read_recovery(trainer.ckpt_path)["parts"])  # type: ignore[arg-type]
        else:
            parts = fewest_parts(trainer, pl_module, data)
        trainer.accumulate_grad_batches = parts
        data.batch_size //= parts
        if trainer.is_global_zero:
            print(f"accumulate=auto: {parts} x {data.batch_size} clips a step", flush=True)


def fewest_parts(trainer: pl.Trainer, system: Any, data: VideoDataModule) -> int:
    """Returns into how many equal parts a batch has to be split. Raises ExpectedError if one clip is too much."""
    clip = any_clip(data.train_set)
    mine = share(data.batch_size, trainer.world_size)
    for parts in divisors(mine):
        if not anywhere(trainer, not fits(trainer, system, [clip] * (mine // parts))):
            return parts
    raise ExpectedError("accumulate=auto: not even one clip fits into memory: lower transform.size or sampling")


def divisors(number: int) -> Iterator[int]:
    """Yields the divisors of a number, the smallest first.

    >>> list(divisors(12))
    [1, 2, 3, 4, 6, 12]
    """
    return (divisor for divisor in range(1, number + 1) if number % divisor == 0)


def any_clip(videos: ClipDataset) -> Clip:
    """Returns the first clip that can be read: all training clips have the same size."""
    clips = (videos[0, index] for index in range(len(videos)))
    return next(clip for clip in clips if clip is not None)


def fits(trainer: pl.Trainer, system: Any, clips: list[Clip]) -> bool:
    """Returns whether a step of these clips has enough memory; leaves weights and random numbers as they were."""
    before = {name: value.cpu().clone() for name, value in system.state_dict().items()}
    try:
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            try_step(trainer, system, clips)
        return True
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    finally:
        system.zero_grad(set_to_none=True)
        system.load_state_dict(before)
    gc.collect()  # the error is gone by now, and with it the tensors that its frames held
    torch.cuda.empty_cache()
    return False


def try_step(trainer: pl.Trainer, system: Any, clips: list[Clip]) -> None:
    """Takes one step, with everything in memory that training holds there at once."""
    device = trainer.strategy.root_device
    system.to(device).train()
    system.on_train_start()
    spare = [torch.empty_like(weight) for weight in system.parameters()]  # as large as an average, or DDP's gradients
    optimizer = system.make_optimizer(system.network)
    batch = system.transfer_batch_to_device(collate(clips), device, 0)
    with trainer.precision_plugin.train_step_context():
        loss, *_ = system.training_loss(batch)
    loss.backward()
    optimizer.step()
    del spare


def anywhere(trainer: pl.Trainer, failed: bool) -> bool:
    """Returns whether it failed in any of the processes: all have to split alike."""
    if trainer.world_size == 1:
        return failed
    number = torch.tensor(int(failed), device=trainer.strategy.root_device)
    torch.distributed.all_reduce(number, op=torch.distributed.ReduceOp.MAX)
    return bool(number)
