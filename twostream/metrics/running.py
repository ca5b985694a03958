"""Accuracies counted batch by batch, in all processes."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import Metric

from .accuracy import TOP, Right, accuracies, count_right


class RunningAccuracy(Metric):
    """Computes `accuracies` from the counts of each class's videos, summed over batches and processes.

    The counts are kept on the module's device; the counting is done on the CPU.
    """

    full_state_update = False

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        for name in ("videos", *TOP):
            self.add_state(name, torch.zeros(num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Float[Tensor, "n k"], labels: Int[Tensor, " n"]) -> None:
        counted = count_right(logits.detach().float().cpu().numpy(), labels.cpu().numpy())
        for name, counts in {"videos": counted.videos, **counted.right}.items():
            before = getattr(self, name)
            setattr(self, name, before + torch.from_numpy(counts).to(before.device))

    def compute(self) -> dict[str, float]:
        counts = {name: getattr(self, name).cpu().numpy() for name in ("videos", *TOP)}
        return accuracies(Right(counts.pop("videos"), counts))
