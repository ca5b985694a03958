"""What the heads of a network are trained to lower."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class CrossEntropy:
    """The cross-entropy of one label for each clip; `label_smoothing` is the share of it that all classes get."""

    label_smoothing: float = 0.0

    def mean(self, head: Float[Tensor, "n k"], label: Int[Tensor, " n"], *, training: bool) -> Float[Tensor, ""]:
        """Returns the loss of one head, the mean over at least one clip; labels are smoothed in training alone."""
        return F.cross_entropy(head, label, label_smoothing=self.label_smoothing if training else 0.0)

    def each(self, head: Float[Tensor, "n k"], label: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Returns the loss of one head for each clip, without label smoothing."""
        return F.cross_entropy(head, label, reduction="none")
