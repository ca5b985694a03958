"""What the videos of an epoch have scored, for metrics that no counts add up to."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from twostream.metrics.multi_label import choose_thresholds, measure_labels
from twostream.training.distributed import of_all_processes


class EpochScores(nn.Module):
    """Keeps scores and labels batch by batch on the device, and measures those of all processes at the end."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.reset()

    def reset(self) -> None:
        """Forgets the epoch."""
        self._batches: list[tuple[Tensor, Tensor]] = []
        self._joined: tuple[np.ndarray, np.ndarray] | None = None

    def update(self, logits: Float[Tensor, "n k"], labels: Float[Tensor, "n k"]) -> None:
        """Keeps a batch; waits for nothing."""
        self._batches.append((logits.detach().float(), labels))

    def compute(self, thresholds: Float[np.ndarray, " k"] | None) -> dict[str, float]:
        """Returns `measure_labels` without the loss; all processes have to call it."""
        found = measure_labels(*self.joined(), thresholds)
        del found["loss"]
        return found

    def thresholds(self) -> Float[np.ndarray, " k"]:
        """Returns `choose_thresholds`; all processes have to call it."""
        return choose_thresholds(*self.joined())

    def joined(self) -> tuple[Float[np.ndarray, "n k"], Bool[np.ndarray, "n k"]]:
        """Returns scores and labels of all videos of all processes."""
        if self._joined is None:
            batches = self._batches or [(torch.zeros(0, self.num_classes),) * 2]
            mine = [torch.cat(parts).cpu().numpy() for parts in zip(*batches, strict=True)]
            logits, labels = (np.concatenate(parts) for parts in zip(*of_all_processes(mine), strict=True))
            self._joined = logits, labels > 0
        return self._joined
