"""Combines the heads of a network into the one score per class that is evaluated."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from twostream.models.bilinear import at_least_float32, without_autocast


class LateFusion(nn.Module):
    """Fuses the class probabilities of two towers, each of which keeps its own loss.

    If the fusion has parameters, the fused score is a third head with its own loss, from which no gradient goes back
    into the towers. With `multi`, a video has several labels: each class is a decision between two, yes and no, and the
    fusion, made for two channels, sees the probabilities of these; it is the same for all classes.
    """

    def __init__(self, fusion: Any, num_classes: int, *, multi: bool = False) -> None:
        super().__init__()
        self.fusion = fusion_of_scores(fusion, 2 if multi else num_classes, "softmax")
        self.learned = any(True for _ in self.fusion.parameters())
        self.multi = multi

    def fuse(self, heads: Float[Tensor, "2 n k"]) -> Float[Tensor, "n k"]:
        """Returns the log of the fused probabilities, whose sum is 1; works on logs, so that tiny ones do not tie.

        Of several labels, returns log(p / (1 - p)) of each class's fused probability p, such as the mean of sigmoids.
        """
        with without_autocast(heads.device):
            scores = at_least_float32(heads)
            if self.multi:
                yes_no = torch.stack((scores, -scores), -1).flatten(1, 2)
                yes, no = self._of_logs(F.logsigmoid(yes_no)).unbind(1)
                return (yes - no).unflatten(0, heads.shape[1:])
            return self._of_logs(scores.log_softmax(-1)).log_softmax(1)

    def _of_logs(self, logs: Float[Tensor, "2 n c"]) -> Float[Tensor, "n c"]:
        rgb, flow = logs[:, :, :, None, None]
        return self.fusion.of_logs(rgb, flow).flatten(1)

    def forward(self, heads: Float[Tensor, "2 n k"]) -> Float[Tensor, "m n k"]:
        if not self.learned:
            return heads
        return torch.cat((at_least_float32(heads), self.fuse(heads.detach()).unsqueeze(0)))

    def combine(self, heads: Float[Tensor, "m n k"]) -> Float[Tensor, "n k"]:
        return heads[2] if self.learned else self.fuse(heads)


class MeanScore(nn.Module):
    """Averages the heads' scores before softmax, for one tower or two."""

    def forward(self, heads: Float[Tensor, "m n k"]) -> Float[Tensor, "m n k"]:
        return heads

    def combine(self, heads: Float[Tensor, "m n k"]) -> Float[Tensor, "n k"]:
        return heads.mean(0)


def fusion_of_scores(fusion: Any, num_classes: int, layer: str) -> Any:
    """Returns the fusion to use for class scores. Raises ValueError if it does not return one score per class."""
    check_positions(fusion, layer)
    fusion = fusion.for_scores()
    if fusion.out_channels != num_classes:
        raise ValueError(
            f"layer={layer!r}: {type(fusion).__name__} returns {fusion.out_channels} channels where the scores of "
            f"{num_classes} classes are needed; choose fusion=sum, max or conv, or an earlier layer"
        )
    return fusion


def check_positions(fusion: Any, layer: str) -> None:
    """Raises ValueError for a fusion that compares positions if `layer` is one of vectors or scores."""
    if fusion.compares_positions and not layer.startswith("conv"):
        raise ValueError(
            f"layer={layer!r}: {type(fusion).__name__} compares positions, of which there is one here; choose a "
            "convolutional stage, or fusion=sum, gated, conv or weighted"
        )
