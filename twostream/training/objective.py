"""What the heads of a network are trained to lower."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class CrossEntropy:
    """The cross-entropy of one label for each clip; `label_smoothing` is the share of it that all classes get.

    In training alone the loss l of a clip is multiplied

    - with `focal`, by (1 - p)^focal, where p is the probability of its class (Lin et al. 2017, "Focal loss for dense
      object detection", equation 4, for several classes by softmax);
    - with `class_weights`, by the weight w of its class.

    The loss of a batch is the sum of w·l divided by the number of clips, not by the sum of their weights as in PyTorch.
    So it does not depend on how the clips of a step are divided among processes, accumulated batches, and a smaller
    last batch.
    """

    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None
    focal: float | None = None

    def mean(self, head: Float[Tensor, "n k"], label: Int[Tensor, " n"], *, training: bool) -> Float[Tensor, ""]:
        """Returns the loss of one head, the mean over at least one clip; plain cross-entropy unless `training`."""
        if not training:
            return F.cross_entropy(head, label)
        if self.class_weights is None and self.focal is None:
            return F.cross_entropy(head, label, label_smoothing=self.label_smoothing)
        losses = F.cross_entropy(head, label, reduction="none", label_smoothing=self.label_smoothing)
        if self.focal is not None:
            missing = -head.log_softmax(1).gather(1, label[:, None])[:, 0].expm1()  # 1 - p
            losses = losses * missing.clamp(min=torch.finfo(missing.dtype).tiny) ** self.focal  # 0 has no finite slope
        if self.class_weights is not None:
            losses = losses * as_tensor(self.class_weights, losses.device)[label]
        return losses.mean()

    def each(self, head: Float[Tensor, "n k"], label: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Returns the plain cross-entropy of one head for each clip."""
        return F.cross_entropy(head, label, reduction="none")


@cache
def as_tensor(weights: tuple[float, ...], device: torch.device) -> Float[Tensor, " k"]:
    """Returns weights as a tensor, copied once: a copy in each step would wait for the device."""
    return torch.tensor(weights, device=device)


@dataclass(frozen=True)
class BinaryCrossEntropy:
    """The binary cross-entropy of each class, the mean over classes, where a clip has several labels or none.

    With `label_smoothing` s a label y, 0 or 1, becomes (1 - s) y + s / 2, as `CrossEntropy` does with two classes.
    """

    label_smoothing: float = 0.0

    def mean(self, head: Float[Tensor, "n k"], label: Float[Tensor, "n k"], *, training: bool) -> Float[Tensor, ""]:
        """Returns the loss of one head, the mean over at least one clip; labels are smoothed in training alone."""
        smoothing = self.label_smoothing if training else 0.0
        return F.binary_cross_entropy_with_logits(head, (1 - smoothing) * label + smoothing / 2)

    def each(self, head: Float[Tensor, "n k"], label: Float[Tensor, "n k"]) -> Float[Tensor, " n"]:
        """Returns the loss of one head for each clip, without label smoothing."""
        return F.binary_cross_entropy_with_logits(head, label, reduction="none").mean(1)


Objective = CrossEntropy | BinaryCrossEntropy
