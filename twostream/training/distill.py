"""Training that lowers, beside the loss of the labels, the distance of a network's features to those of a teacher.

Crasto et al., "MARS: Motion-Augmented RGB Stream for Action Recognition", CVPR 2019. Stroud et al., "D3D: Distilled 3D
Networks for Video Action Recognition", WACV 2020, takes the outputs in place of features (the layer fc8 here).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from twostream.data.clip import Clip
from twostream.metrics.running import FiniteMean
from twostream.training.system import TwoStreamSystem


class Teacher:
    """A trained network that stays as it is: frozen, without dropout, with the statistics that it was trained with.

    It is no module, so that it is no part of a system that holds it: not of its weights, checkpoints and averages.

    `sees`: which streams of a clip it takes, 0 for the first and 1 for the second. `layer`: the stage after which its
    features are compared. `facts`: what results say of it.
    """

    def __init__(self, network: nn.Module, *, sees: Sequence[int], layer: str, facts: dict[str, Any]) -> None:
        self.network = network.eval().requires_grad_(False)
        self.sees = tuple(sees)
        self.layer = layer
        self.facts = facts
        self._device: torch.device | None = None

    @torch.no_grad()
    def features(self, clip: Clip) -> Float[Tensor, "n d"]:
        """Returns the features of clips of one view, on their device."""
        if self._device != clip.first.device:
            self._device = clip.first.device
            self.network.to(self._device)
        streams = (clip[place].flatten(0, 1) for place in self.sees)
        return self.network(*streams, features=self.layer)[1]

    def __deepcopy__(self, memo: dict[int, Any]) -> Teacher:
        return self  # an average of a system's weights begins as its copy


class DistilledSystem(TwoStreamSystem):
    """Trains a network of one stream by its loss + `weight` · the distance to a teacher's features.

    The distance is the mean squared difference, over the clips and the d features: PyTorch's `MSELoss`, as in the code
    of MARS, where `weight` is 50. Both networks see the same clip. In validation and test there is no teacher.

    Logged, beside what TwoStreamSystem logs: `train/distance`; `train/loss` is the sum of both.
    """

    def __init__(self, network: Any, *, teacher: Teacher, weight: float, **options: Any) -> None:
        super().__init__(network, **options)
        self.teacher = teacher
        self.weight = weight
        self.distance = FiniteMean()
        self._last_distance = torch.zeros(())

    def training_loss(self, clip: Clip) -> tuple[Float[Tensor, ""], Float[Tensor, "1 n k"], Float[Tensor, "n k"]]:
        heads, features = self.network(clip.first.flatten(0, 1), features=self.teacher.layer)
        loss, combined = self.loss(heads, clip.label), self.network.combine(heads)
        if not len(clip.label):
            return loss, heads, combined
        distance = nn.functional.mse_loss(features.float(), self.teacher.features(clip).float())
        self._last_distance = distance.detach()
        return loss + self.weight * distance, heads, combined

    def on_train_batch_end(self, outputs: Any, batch: Clip, batch_index: int) -> None:
        super().on_train_batch_end(outputs, batch, batch_index)
        if len(batch.label):
            self.distance.update(self._last_distance, weight=len(batch.label))

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        self.log("train/distance", self.distance.compute())
        self.distance.reset()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["teacher"] = self.teacher.facts  # not its weights


def teacher_facts(system: Any) -> dict[str, Any] | None:
    """Returns what results say of the teacher of a system; None if it has none."""
    return system.teacher.facts if isinstance(system, DistilledSystem) else None
