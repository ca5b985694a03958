"""Probe, then fine-tune: starts classifiers from regularised logistic regression on their inputs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from twostream.data.dataset import ClipDataset
from twostream.data.loader import on_device
from twostream.files.progress import watch
from twostream.metrics.accuracy import accuracies, count_right
from twostream.models.network.heads import classifiers
from twostream.probe.features import head_features, per_video
from twostream.probe.logistic import Weigh, fit_linear
from twostream.training.distributed import of_all_processes
from twostream.training.system import LOGGED


class StartFromProbe(pl.Callback):
    """Before training, sets every classifier to the logistic regression on what it gets of the training videos.

    A random classifier would first send large, wrong gradients into pretrained layers (Kumar et al. 2022, "Fine-tuning
    can distort pretrained features and underperform out-of-distribution"). The penalty is chosen on held-out groups of
    `videos`, the training videos in fixed views. `weigh` says what each class counts, as for `fit_linear`. Then
    `accuracy` has what the network reaches on `measured` before its first step (top1, mean_class, macro_f1, loss), and
    `losses` the loss of each video by its position; without `measured` they stay empty, as where no step follows and
    the test of the run says it. A resumed run takes all of this from its checkpoint.
    """

    def __init__(self, videos: ClipDataset, measured: ClipDataset | None, *, weigh: Weigh | None = None) -> None:
        self.videos = videos
        self.measured = measured
        self.weigh = weigh
        self.accuracy: dict[str, float] = {}
        self.losses: dict[int, float] = {}
        self.strengths: dict[str, float] = {}

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.ckpt_path:
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        with trainer.precision_plugin.forward_context():  # as in training and tests
            self.fit(pl_module, shown(trainer, "probe, training videos", data.fixed_loader(self.videos)))
        state = {name: layer.state_dict() for name, layer in classifiers(pl_module.network).items()}
        for name, layer in classifiers(pl_module.network).items():  # processes may round differently
            layer.load_state_dict(trainer.strategy.broadcast(state[name]))
        if self.measured is None:
            return
        with trainer.precision_plugin.forward_context():
            part = "test" if self.measured is data.test_set else "val"
            self.measure(pl_module, shown(trainer, f"probe, {part} videos", data.fixed_loader(self.measured)))
        if trainer.is_global_zero:
            found = "  ".join(f"{part}/{name} {value:.3f}" for name, value in self.accuracy.items())
            print(f"probe: {found}; training starts from it", flush=True)

    def fit(self, system: Any, loader: Iterable[Any]) -> None:
        """Fits and sets every classifier of the network."""
        parts = of_all_processes(head_features(system.network, loader, device=system.device))
        features = per_video(parts)
        videos = [self.videos.videos[place] for place in features.index.tolist()]
        labels, groups = np.array([video.label for video in videos]), [video.group for video in videos]
        for name, layer in classifiers(system.network).items():
            inputs = features.inputs[name]
            found = fit_linear(inputs, labels, groups, num_classes=len(system.classes), weigh=self.weigh)
            weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
            with torch.no_grad():
                weight.copy_(torch.from_numpy(found.weight).reshape(weight.shape))
                bias.copy_(torch.from_numpy(found.bias))
            self.strengths[name] = found.strength

    @torch.no_grad()
    def measure(self, system: Any, loader: Iterable[Any]) -> None:
        """Measures accuracy and losses of the network as it is."""
        training = system.training
        system.eval()
        found: dict[int, tuple[np.ndarray, int, float]] = {}  # by position: scores, label, loss
        for batch in loader:
            clip = on_device(batch, system.device)
            if len(clip.label):
                heads, combined = system(clip)
                rows = combined.float().cpu().numpy(), clip.label.tolist(), system.losses(heads, clip.label).tolist()
                found |= dict(zip(clip.index.tolist(), zip(*rows, strict=True), strict=True))
        system.train(training)
        everyone = {index: row for part in of_all_processes(found) for index, row in part.items()}
        logits, labels, losses = zip(*everyone.values(), strict=True)
        counted = accuracies(count_right(np.stack(logits), np.array(labels)))
        loss = float(np.mean(losses))
        self.accuracy = {LOGGED[name]: counted[name] for name in ("top1", "mean_class_top1", "macro_f1")}
        self.accuracy["loss"] = loss
        self.losses = dict(zip(everyone, losses, strict=True))

    def state_dict(self) -> dict[str, Any]:
        return {"accuracy": self.accuracy, "losses": self.losses, "strengths": self.strengths}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.accuracy, self.losses = state_dict["accuracy"], state_dict["losses"]
        self.strengths = state_dict["strengths"]


def shown(trainer: pl.Trainer, title: str, loader: DataLoader) -> Iterable[Any]:
    """Returns the batches of a loader; the first process shows how many have passed."""
    return watch(title)(iter(loader), len(loader)) if trainer.is_global_zero else loader
