"""Finds losses and gradients that are not finite: saves what is needed to replay the step, or leaves the step out."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from twostream.files.errors import ExpectedError
from twostream.runs.checkpoint_io import save_whole
from twostream.training.distributed import of_all_processes, whole_state
from twostream.training.recovery import random_state

NONFINITE = ("stop", "skip")
MOST_IN_A_ROW = 20  # left-out steps after which training ends: single batches are not the cause
log = logging.getLogger(__name__)


class Part(NamedTuple):
    """One batch of an optimizer step; a step has several with `accumulate`."""

    index: Tensor
    random: dict[str, Any]  # the state of random numbers before the batch
    loss: Tensor  # over the clips of this process
    mean: Tensor  # over the clips of all processes


class FiniteLoss(pl.Callback):
    """Handles a loss or gradient that is not finite: stops and saves what `twostream replay` needs, or skips the step.

    The check runs once a step, between backward pass and optimizer, where all processes have the same gradient. With
    `nonfinite="skip"` no gradient of that step is used, buffers (running means of batch normalisation) are restored, a
    loss that is not finite does not count in the epoch's loss, and `skipped` counts the step. The weights are as if its
    batches had not been there; a moving average of weights (`ema`) takes in the unchanged weights once more.

    Raises ValueError for an unknown `nonfinite`, and ExpectedError when it stops: also after 20 skipped steps in a row.
    """

    def __init__(self, folder: Path, *, nonfinite: str = "stop") -> None:
        if nonfinite not in NONFINITE:
            raise ValueError(f"nonfinite={nonfinite!r}: choose from {', '.join(NONFINITE)}")
        self.folder = folder
        self.skip = nonfinite == "skip"
        self.skipped = 0
        self._in_a_row = 0
        self._buffers: dict[str, Tensor] = {}  # as they were before the step
        self._parts: list[Part] = []  # the batches of the current step
        self._begun: tuple[Tensor, dict[str, Any]]  # positions and random state of the current batch

    def state_dict(self) -> dict[str, Any]:
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.skipped = state_dict["skipped"]

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._parts = []
            self._buffers = {name: buffer.clone() for name, buffer in pl_module.network.named_buffers()}
        self._begun = batch.index, {} if self.skip else random_state()

    def on_before_backward(self, trainer: pl.Trainer, pl_module: Any, loss: Tensor) -> None:
        self._parts.append(Part(*self._begun, *pl_module.last_losses))

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: Any, optimizer: Optimizer) -> None:
        numbers = [part.mean for part in self._parts]
        if getattr(trainer.precision_plugin, "scaler", None) is None:  # a scaler searches by infinite gradients
            numbers.append(gradient_norm(pl_module.parameters()).to(numbers[0]))
        if torch.stack(numbers).isfinite().all():  # waits for the device
            self._in_a_row = 0
            return
        what, parts = "gradient", self._parts
        if not all(part.mean.isfinite() for part in parts):
            what, parts = "loss", [part for part in parts if not part.loss.isfinite()]
        if not self.skip:
            raise ExpectedError(self._keep(trainer, pl_module, what, parts))
        self._leave_out(pl_module.network, optimizer)
        if parts:
            log.warning("left out: a step whose %s is not a finite number: %s", what, videos(trainer, parts))
        if self._in_a_row == MOST_IN_A_ROW:
            raise ExpectedError(
                f"nonfinite=skip: {MOST_IN_A_ROW} steps in a row were left out, the {what} of the last one is not a "
                "finite number; lower the learning rate, or look into the first one with nonfinite=stop"
            )

    def _leave_out(self, network: nn.Module, optimizer: Optimizer) -> None:
        optimizer.zero_grad(set_to_none=True)  # without a gradient an optimizer leaves a weight alone
        for name, buffer in network.named_buffers():
            buffer.copy_(self._buffers[name])
        self.skipped += 1
        self._in_a_row += 1

    def _keep(self, trainer: pl.Trainer, pl_module: Any, what: str, parts: Sequence[Part]) -> str:
        """Writes the file for `twostream replay` in the first process. Returns the error message, the same in all."""
        epoch, batch = trainer.current_epoch, trainer.fit_loop.epoch_loop.batch_idx
        path = self.folder / f"nonfinite-{epoch:05d}-{batch:07d}.pt"
        parts = [part._replace(index=part.index.cpu(), loss=part.loss.cpu(), mean=part.mean.cpu()) for part in parts]
        parts = [part for process in of_all_processes(parts) for part in process if len(part.index)]
        state = whole_state(pl_module)
        if trainer.is_global_zero:
            buffers = {f"network.{name}": value.cpu() for name, value in self._buffers.items()}
            content = {
                "epoch": epoch,
                "parts": [{"index": part.index, "random": part.random} for part in parts],
                "state_dict": {name: buffers.get(name, value) for name, value in state.items()},
            }
            save_whole(content, path)
        trainer.strategy.barrier()  # wait for the file: the first process that raises ends all
        return (
            f"epoch {epoch + 1}, batch {batch + 1}: the {what} is not a finite number; its videos: "
            f"{videos(trainer, parts)}; `twostream replay {path}` does this step again; "
            "nonfinite=skip leaves out such steps"
        )


def videos(trainer: pl.Trainer, parts: Sequence[Part]) -> str:
    """Returns the ids of the videos in some batches, separated by commas."""
    known = trainer.datamodule.train_set.videos  # type: ignore[attr-defined]
    return ", ".join(known[index].id for part in parts for index in part.index.tolist())


def gradient_norm(weights: Iterable[Tensor]) -> Tensor:
    """Returns the norm of all gradients, over all processes if these share the weights.

    It is NaN or infinite if any gradient is, or if one is too large to be squared.
    """
    norm = get_total_norm([weight.grad for weight in weights if weight.grad is not None])
    return norm.full_tensor() if isinstance(norm, DTensor) else norm
