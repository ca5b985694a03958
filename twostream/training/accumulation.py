"""Batches, and the shares of processes in them -> the gradient of one optimizer step."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as distributed
from jaxtyping import Float
from torch import Tensor
from torch.distributed.tensor import DTensor

from twostream.training.distributed import world_size


class StepMean:
    """Makes the gradient of a step that of the mean loss over all its clips, wherever these are.

    A step has several batches with `accumulate`, and each process a share of every batch. Any of them may have fewer
    clips than others, or none: the last of an epoch, or where videos are left out. Lightning divides each batch's
    loss by `accumulate`, and the gradients of the N processes are averaged, as if all were equally large and the last
    step of an epoch had as many batches as any other.

    So a batch's loss counts by its clips (as many as the step's first batch has: 1), and `finish` divides by
    how many clips the step has had.
    """

    def __init__(self) -> None:
        self._clips: list[Tensor | int] = []  # of all processes, in each batch of the step so far

    def weigh(self, loss: Float[Tensor, ""], clips: int) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Tensor | int]:
        """The loss to go backward from, the batch's mean over the clips of all processes, and how many these are.

        `loss` is the mean over the `clips` of this process; one without clips hands in a loss of zero. The device is
        not waited for.
        """
        total, mean = of_all(loss.detach(), clips)
        self._clips.append(total)
        return loss * (clips * world_size() / at_least_one(self._clips[0])), mean, total

    def finish(self, weights: Iterable[Tensor], divided_by: int) -> None:
        """Between the backward pass of a step's last batch and the optimizer; `divided_by`: what Lightning did."""
        batches, self._clips = self._clips, []
        if divided_by == 1:
            return  # one batch, which counted 1
        factor = divided_by * at_least_one(batches[0]) / at_least_one(sum(batches))
        for weight in weights:
            if weight.grad is not None:
                local(weight.grad).mul_(factor)


def of_all(loss: Float[Tensor, ""], clips: int) -> tuple[Tensor | int, Float[Tensor, ""]]:
    """The number of clips of all processes, and the mean of their losses."""
    if world_size() == 1:
        return clips, loss
    sums = torch.stack((loss * clips, loss.new_tensor(clips)))
    distributed.all_reduce(sums)
    return sums[1], sums[0] / at_least_one(sums[1])


def at_least_one(clips: Tensor | int) -> Tensor | int:
    """
    >>> at_least_one(0), at_least_one(torch.tensor(3))
    (1, tensor(3))
    """
    return clips.clamp(min=1) if isinstance(clips, Tensor) else max(clips, 1)


def local(gradient: Tensor) -> Tensor:
    """What this process has of it."""
    return gradient.to_local() if isinstance(gradient, DTensor) else gradient
