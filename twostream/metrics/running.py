"""Accuracies and losses counted batch by batch, in all processes, on the device: no update waits for it."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchmetrics import Metric

from .accuracy import TOP, Right, accuracies, places


class RunningAccuracy(Metric):
    """Computes `accuracies` from the counts of each class's videos, summed over batches and processes."""

    full_state_update = False

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        for name in ("videos", *TOP, "predicted"):
            self.add_state(name, torch.zeros(num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(
        self, logits: Float[Tensor, "n k"], labels: Int[Tensor, " n"], counts: Bool[Tensor, ""] | None = None
    ) -> None:
        """Counts a batch, unless `counts` is false."""
        logits = logits.detach().float()
        videos = torch.ones_like(labels) if counts is None else counts.expand(len(labels)).long()
        earlier = torch.arange(logits.shape[1], device=labels.device) < labels[:, None]
        rank = places(logits, logits.gather(1, labels[:, None]), earlier)
        right = {name: videos * (rank < number) for name, number in TOP.items()}
        for name, found in {"videos": videos, **right}.items():
            setattr(self, name, getattr(self, name).index_add(0, labels, found))
        self.predicted = self.predicted.index_add(0, logits.argmax(1), videos)

    def compute(self) -> dict[str, float]:
        videos, *right, predicted = (getattr(self, name).cpu().numpy() for name in ("videos", *TOP, "predicted"))
        return accuracies(Right(videos, dict(zip(TOP, right, strict=True)), predicted))


class FiniteMean(Metric):
    """The mean of losses, each with the weight of its clips, without those that are not finite numbers."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        for name in ("mean_value", "weight"):  # sums, named as in torchmetrics' MeanMetric
            self.add_state(name, torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, value: Float[Tensor, ""], weight: int) -> None:
        counts = value.isfinite()
        self.mean_value = self.mean_value + (value * weight).where(counts, 0.0)
        self.weight = self.weight + weight * counts

    def compute(self) -> Float[Tensor, ""]:
        return self.mean_value / self.weight
