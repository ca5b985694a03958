"""Computes the gradient of one optimizer step from its batches, and from the shares that processes have in them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as distributed
from jaxtyping import Float
from torch import Tensor
from torch.distributed.tensor import DTensor

from twostream.training.distributed import world_size


class StepMean:
    """Makes the gradient of a step that of the mean loss over all clips of the step, in all batches and processes.

    With `accumulate` a step has several batches, and each process has a share of every batch. Any of these may have
    fewer clips than others, or none: at the end of an epoch, or if videos are left out. Lightning divides each batch's
    loss by `accumulate`, and the gradients of the N processes are averaged, as if all were equally large and the last
    step of an epoch had as many batches as any other.

    So `weigh` multiplies a batch's loss by its weight: its number of clips, divided by that of the step's first batch.
    `finish` then divides the gradient by the sum of the weights instead of by `accumulate`.
    """

    def __init__(self) -> None:
        self._clips: list[Tensor | int] = []  # in all processes, of each batch of the step so far

    def weigh(self, loss: Float[Tensor, ""], clips: int) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Tensor | int]:
        """Returns the loss for the backward pass, the mean loss over the clips of all processes, and their number.

        `loss` is the mean over the `clips` of this process; a process without clips passes a loss of zero. The call
        does not wait for the device.
        """
        total, mean = of_all(loss.detach(), clips)
        self._clips.append(total)
        return loss * (clips * world_size() / at_least_one(self._clips[0])), mean, total

    def finish(self, weights: Iterable[Tensor], divided_by: int) -> None:
        """Rescales the gradients, between the backward pass of the step's last batch and the optimizer.

        `divided_by`: the number by which Lightning has divided each batch's loss.
        """
        batches, self._clips = self._clips, []
        if divided_by == 1:
            return  # the step has one batch, of weight 1
        factor = divided_by * at_least_one(batches[0]) / at_least_one(sum(batches))
        for weight in weights:
            if weight.grad is not None:
                local(weight.grad).mul_(factor)


def of_all(loss: Float[Tensor, ""], clips: int) -> tuple[Tensor | int, Float[Tensor, ""]]:
    """Returns the number of clips of all processes, and the mean of their losses."""
    if world_size() == 1:
        return clips, loss
    sums = torch.stack((loss * clips, loss.new_full((), clips)))  # a new tensor of a number would wait for the device
    distributed.all_reduce(sums)
    return sums[1], sums[0] / at_least_one(sums[1])


def at_least_one(clips: Tensor | int) -> Tensor | int:
    """Returns `clips`, or 1 if that is 0.

    >>> at_least_one(0), at_least_one(torch.tensor(3))
    (1, tensor(3))
    """
    return clips.clamp(min=1) if isinstance(clips, Tensor) else max(clips, 1)


def local(gradient: Tensor) -> Tensor:
    """Returns the part of a gradient that this process has."""
    return gradient.to_local() if isinstance(gradient, DTensor) else gradient
