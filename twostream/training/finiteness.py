"""Finds losses and gradients that are not finite: saves what is needed to replay the step, or leaves the step out."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from twostream.files.errors import ExpectedError
from twostream.runs.checkpoint_io import save_whole
from twostream.training.distributed import of_all_processes, whole_state
from twostream.training.lists import copy_all
from twostream.training.recovery import random_state

NONFINITE = ("stop", "skip")
MOST_IN_A_ROW = 20  # left-out steps after which training ends: single batches are not the cause
log = logging.getLogger(__name__)


class Part(NamedTuple):
    """One batch of an optimizer step; a step has several with `accumulate`."""

    index: Tensor
    repeat: Tensor
    random: dict[str, Any]  # the state of random numbers before the batch
    loss: Tensor  # over the clips of this process
    mean: Tensor  # over the clips of all processes


class Step(NamedTuple):
    """What is kept of an optimizer step until it is known whether its numbers are finite."""

    epoch: int
    batch: int  # its last one
    parts: list[Part]
    buffers: list[Tensor]  # as they were before it
    finite: Later


class FiniteLoss(pl.Callback):
    """Handles a loss or gradient that is not finite: stops and saves what `twostream replay` needs, or skips the step.

    The check is made once a step, between backward pass and optimizer, where all processes have the same gradient. With
    `nonfinite="skip"` no gradient of that step is used, buffers (running means of batch normalisation) are restored, a
    loss that is not finite does not count in the epoch's loss, and `skipped` counts the step. The weights are as if its
    batches had not been there; a moving average of weights (`ema`) takes in the unchanged weights once more.

    Fused optimizers are told by the device itself, and leave weights and their own state alone from the first bad step
    on. So the host need not wait before it goes on: with `nonfinite="stop"` it reads what was found one step later, at
    the end of an epoch at once, and always before a checkpoint is written. By then the device has no more than the
    forward and backward pass of one step behind it, whose results nobody uses.

    Raises ValueError for an unknown `nonfinite`, and ExpectedError when it stops: also after 20 skipped steps in a row.
    """

    def __init__(self, folder: Path, *, nonfinite: str = "stop") -> None:
        if nonfinite not in NONFINITE:
            raise ValueError(f"nonfinite={nonfinite!r}: choose from {', '.join(NONFINITE)}")
        self.folder = folder
        self.skip = nonfinite == "skip"
        self.skipped = 0
        self._in_a_row = 0
        self._buffers: dict[str, Tensor] = {}  # of the network
        self._before: list[list[Tensor]] = []  # as they were before the current step, and before the last one
        self._parts: list[Part] = []  # the batches of the current step
        self._begun: tuple[Tensor, Tensor, dict[str, Any]]  # positions, repeats, random state of the current batch
        self._bad: Tensor | None = None  # on the device: whether any step so far was bad
        self._last: Step | None = None  # the step whose finding has not been read yet

    def state_dict(self) -> dict[str, Any]:
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.skipped = state_dict["skipped"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._buffers = dict(pl_module.network.named_buffers())
        self._before = [[buffer.clone() for buffer in self._buffers.values()] for _ in range(2)]

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._parts = []
            self._before.reverse()
            copy_all(self._before[0], list(self._buffers.values()))
        self._begun = batch.index, batch.repeat, {} if self.skip else random_state()

    def on_before_backward(self, trainer: pl.Trainer, pl_module: Any, loss: Tensor) -> None:
        self._parts.append(Part(*self._begun, *pl_module.last_losses))

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: Any, optimizer: Optimizer) -> None:
        numbers = [part.mean for part in self._parts]
        scaled = getattr(trainer.precision_plugin, "scaler", None) is not None  # searches by infinite gradients
        if not scaled:
            numbers.append(gradient_norm(pl_module.parameters()).to(numbers[0]))
        finite = torch.stack(numbers).isfinite().all()
        late = not (self.skip or scaled) and takes_findings(optimizer)
        if late:
            self._bad = ~finite if self._bad is None else self._bad | ~finite
            optimizer.found_inf = self._bad.float()  # type: ignore[attr-defined]
            self._judge_last(trainer, pl_module)
        epoch, batch = trainer.current_epoch, trainer.fit_loop.epoch_loop.batch_idx
        step = Step(epoch, batch, self._parts, self._before[0], Later(finite))
        if late:
            self._last = step
        elif step.finite.read():
            self._in_a_row = 0
        elif self.skip:
            self._leave_out(trainer, step, optimizer)
        else:
            raise ExpectedError(self._keep(trainer, pl_module, step))

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        if trainer.is_last_batch:
            self._judge_last(trainer, pl_module)  # before a validation by what may be running means of a bad step

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        self._judge_last(trainer, pl_module)

    def _judge_last(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self._last is not None and not self._last.finite.read():
            raise ExpectedError(self._keep(trainer, pl_module, self._last))  # again, if it is asked for again
        self._last = None

    def _leave_out(self, trainer: pl.Trainer, step: Step, optimizer: Optimizer) -> None:
        optimizer.zero_grad(set_to_none=True)  # without a gradient an optimizer leaves a weight alone
        copy_all(list(self._buffers.values()), step.buffers)
        self.skipped += 1
        self._in_a_row += 1
        what, parts = culprits(step)
        if parts:
            log.warning("left out: a step whose %s is not a finite number: %s", what, videos(trainer, parts))
        if self._in_a_row == MOST_IN_A_ROW:
            raise ExpectedError(
                f"nonfinite=skip: {MOST_IN_A_ROW} steps in a row were left out, the {what} of the last one is not a "
                "finite number; lower the learning rate, or look into the first one with nonfinite=stop"
            )

    def _keep(self, trainer: pl.Trainer, pl_module: Any, step: Step) -> str:
        """Writes the file for `twostream replay` in the first process. Returns the error message, the same in all."""
        path = self.folder / f"nonfinite-{step.epoch:05d}-{step.batch:07d}.pt"
        what, parts = culprits(step)
        names = ("index", "repeat", "loss", "mean")
        parts = [part._replace(**{name: getattr(part, name).cpu() for name in names}) for part in parts]
        parts = [part for process in of_all_processes(parts) for part in process if len(part.index)]
        state = whole_state(pl_module)
        if trainer.is_global_zero:
            named = zip(self._buffers, step.buffers, strict=True)
            buffers = {f"network.{name}": value.cpu() for name, value in named}
            content = {
                "epoch": step.epoch,
                "parts": [{name: getattr(part, name) for name in ("index", "repeat", "random")} for part in parts],
                "state_dict": {name: buffers.get(name, value) for name, value in state.items()},
            }
            save_whole(content, path)
        trainer.strategy.barrier()  # wait for the file: the first process that raises ends all
        return (
            f"epoch {step.epoch + 1}, batch {step.batch + 1}: the {what} is not a finite number; its videos: "
            f"{videos(trainer, parts)}; `twostream replay {path}` does this step again; "
            "nonfinite=skip leaves out such steps"
        )


class Later:
    """A truth value on the device, to be read later without waiting for what the device was given since."""

    def __init__(self, value: Tensor) -> None:
        self._value = value.to("cpu", non_blocking=True)
        self._there = torch.cuda.Event() if value.is_cuda else None
        if self._there is not None:
            self._there.record()

    def read(self) -> bool:
        """Waits until the device has got to it."""
        if self._there is not None:
            self._there.synchronize()
        return bool(self._value)


def takes_findings(optimizer: Optimizer) -> bool:
    """Whether an optimizer does nothing in a step whose `found_inf`, a number on the device, is 1.

    This is PyTorch's agreement between fused optimizers and `torch.amp.GradScaler`. A resumed optimizer goes on as it
    began, fused or not. Weights that processes share cannot be mixed with such a number.
    """
    fused = all(group.get("fused") for group in optimizer.param_groups)
    shared = any(isinstance(weight, DTensor) for group in optimizer.param_groups for weight in group["params"])
    return getattr(optimizer, "_step_supports_amp_scaling", False) and fused and not shared


def culprits(step: Step) -> tuple[str, list[Part]]:
    """Returns what of a step is not finite, and the batches where it may come from."""
    if all(part.mean.isfinite() for part in step.parts):
        return "gradient", step.parts
    return "loss", [part for part in step.parts if not part.loss.isfinite()]


def videos(trainer: pl.Trainer, parts: Sequence[Part]) -> str:
    """Returns the ids of the videos in some batches, separated by commas."""
    if (data := trainer.datamodule) is None:  # type: ignore[attr-defined]
        return "those of the loader"
    known = data.train_set.videos
    return ", ".join(known[index].id for part in parts for index in part.index.tolist())


def gradient_norm(weights: Iterable[Tensor]) -> Tensor:
    """Returns the norm of all gradients, over all processes if these share the weights.

    It is NaN or infinite if any gradient is, or if one is too large to be squared.
    """
    norm = get_total_norm([weight.grad for weight in weights if weight.grad is not None])
    return norm.full_tensor() if isinstance(norm, DTensor) else norm
