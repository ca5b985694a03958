"""The LightningModule: losses, metrics, optimizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torchmetrics import MeanMetric

from twostream.data.clip import Clip, Label
from twostream.data.history import History
from twostream.data.loader import on_device
from twostream.metrics.running import FiniteMean, RunningAccuracy
from twostream.metrics.scores import one_of_each
from twostream.runs.checkpoint import load_plain
from twostream.training.accumulation import StepMean
from twostream.training.distributed import FullySharded, load_whole, of_all_processes, shard
from twostream.training.epoch_scores import EpochScores
from twostream.training.objective import BinaryCrossEntropy, CrossEntropy, Objective
from twostream.training.optimizers import MakeOptimizer, MakeSchedule

STAGES = ("train", "val", "test")
# {name of a metric: its name in the log}
LOGGED = {"top1": "top1", "top5": "top5", "mean_class_top1": "mean_class", "macro_f1": "macro_f1"}


class TwoStreamSystem(pl.LightningModule):
    """Trains a network with one loss for each of its heads; measures every video once.

    Logged: `{train,val,test}/loss`, `/top1` (correct videos / all videos), `/top5` (where there are more than 5
    classes), and for val and test `/mean_class` (the mean over classes of each class's accuracy, that is the unweighted
    average recall) and `/macro_f1`. The loss of train is the one that is trained on; those of val and test are plain
    cross-entropy. Of several labels a video (`BinaryCrossEntropy`), for val and test alone: `/map`, `/macro_f1` and
    `/micro_f1` (see `measure_labels`) at the `thresholds` that the last validation has chosen; so those of val flatter.
    """

    def __init__(
        self,
        network: Any,
        *,
        classes: tuple[str, ...],
        optimizer: MakeOptimizer,
        schedule: MakeSchedule,
        objective: Objective | None = None,
        frozen: Sequence[nn.Module] = (),
        history: History | None = None,
    ) -> None:
        super().__init__()
        self.planned_epochs: int | None = None  # length of the schedule, if training ends sooner; None: the trainer's
        self.history = history or History()  # written into every checkpoint
        self.network = network
        self.classes = classes
        self.make_optimizer = optimizer
        self.make_schedule = schedule
        self.objective = objective or CrossEntropy()
        self.frozen = list(frozen)  # a plain list: the modules are registered with the network already
        self.loss_means = nn.ModuleDict({"train_": FiniteMean(), "val_": MeanMetric(), "test_": MeanMetric()})
        self.multi = isinstance(self.objective, BinaryCrossEntropy)  # whether a video has several labels
        self.thresholds: np.ndarray | None = None  # (k,), of several labels; None: one half
        measure, stages = (EpochScores, STAGES[1:]) if self.multi else (RunningAccuracy, STAGES)
        self.accuracies = nn.ModuleDict({f"{stage}_": measure(len(classes)) for stage in stages})
        self.last_losses = (torch.zeros(()), torch.zeros(()))  # of the last training batch: over own clips, all clips
        self.last_clips: Tensor | int = 0  # clips of the last training batch, in all processes
        self.last_scores = torch.zeros(())
        self._step = StepMean()
        self.test_logits: dict[int, np.ndarray] = {}  # of the last test: {position of the video: (k,)}
        self.validation_losses: dict[int, float] = {}  # of the last validation: {position of the video: loss}

    def forward(
        self, clip: Clip, views_at_once: int | None = None
    ) -> tuple[Float[Tensor, "m n k"], Float[Tensor, "n k"]]:
        """Returns the scores of each of the m heads, averaged over views, and the combined scores that are evaluated.

        The network gets `views_at_once` of the n·v views at a time; None: all at once.
        """
        n, v = clip.first.shape[:2]
        views = (part.flatten(0, 1).split(views_at_once or n * v) for part in (clip.first, clip.second))
        heads = torch.cat([self.network(*streams) for streams in zip(*views, strict=True)], dim=1)
        heads = heads.unflatten(1, (n, v)).mean(2)
        return heads, self.network.combine(heads)

    def loss(self, heads: Float[Tensor, "m n k"], label: Label) -> Float[Tensor, ""]:
        """Returns the sum of the heads' losses, weight 1 each (Feichtenhofer et al. 2016, section 3.4)."""
        if not len(label):
            return heads.float().sum()  # a zero that gives every parameter a gradient of zero
        return sum(
            (self.objective.mean(head, label, training=self.training) for head in heads.float()),
            start=torch.zeros((), device=heads.device),
        )

    def losses(self, heads: Float[Tensor, "m n k"], label: Label) -> Float[Tensor, " n"]:
        """Returns the loss of each video: the sum of the heads' losses, without label smoothing."""
        return sum(
            (self.objective.each(head, label) for head in heads.float()),
            start=torch.zeros(len(label), device=heads.device),
        )

    def training_loss(self, clip: Clip) -> tuple[Float[Tensor, ""], Float[Tensor, "m n k"], Float[Tensor, "n k"]]:
        """Returns what a batch of training lowers, the scores of its heads, and those that are measured."""
        heads, combined = self(clip)
        return self.loss(heads, clip.label), heads, combined

    def transfer_batch_to_device(self, batch: Clip | list[Clip], device: torch.device, dataloader_idx: int) -> Clip:
        return on_device(batch, device)

    def configure_model(self) -> None:
        if isinstance(strategy := self.trainer.strategy, FullySharded):
            shard(self.network, strategy.device_mesh["data_parallel"], strategy.policy)

    def on_fit_start(self) -> None:
        if self.global_rank:
            torch.manual_seed(torch.initial_seed() + self.global_rank)  # each process has its own dropout

    def on_train_start(self) -> None:
        for module in self.frozen:
            module.eval()  # so that the statistics of their batch normalisation stay, too

    def training_step(self, clip: Clip, batch_index: int) -> Tensor:
        loss, _, combined = self.training_loss(clip)
        weighed_loss, mean, self.last_clips = self._step.weigh(loss, len(clip.label))
        self.last_losses, self.last_scores = (loss.detach(), mean), combined.detach()
        self.log("train/loss_step", mean)  # `prog_bar` would wait for it in each step; Bar shows it
        return weighed_loss

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self._step.finish(self.parameters(), self.trainer.accumulate_grad_batches)

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: Any = None
    ) -> None:
        """Clips as Lightning does, which refuses fused optimizers also where no gradients are scaled."""
        if gradient_clip_val:
            weights = [weight for group in optimizer.param_groups for weight in group["params"]]
            nn.utils.clip_grad_norm_(weights, gradient_clip_val)

    def on_train_batch_end(self, outputs: Any, batch: Clip, batch_index: int) -> None:
        """Measures the batch that `training_step` has scored, unless its loss is not finite; does not wait for it."""
        if len(batch.label):
            loss, _ = self.last_losses
            self.loss_means["train_"].update(loss, weight=len(batch.label))  # type: ignore[operator]
            if not self.multi:
                self.accuracies["train_"].update(self.last_scores, batch.label, loss.isfinite())  # type: ignore[operator]

    def on_validation_epoch_start(self) -> None:
        self.validation_losses = {}

    def validation_step(self, clip: Clip, batch_index: int) -> None:
        heads, _ = self._evaluate("val", clip)
        self.validation_losses |= dict(zip(clip.index.tolist(), self.losses(heads, clip.label).tolist(), strict=True))

    def on_test_epoch_start(self) -> None:
        self.test_logits = {}

    def test_step(self, clip: Clip, batch_index: int) -> None:
        self.test_logits |= logits_by_video(clip.index, self._evaluate("test", clip)[1])

    def _evaluate(self, stage: str, clip: Clip) -> tuple[Tensor, Tensor]:
        heads, combined = self(clip)  # also without clips: other processes may wait for this one's parameters
        if len(clip.label):
            self.loss_means[f"{stage}_"].update(self.loss(heads, clip.label), weight=len(clip.label))  # type: ignore[operator]
            self.accuracies[f"{stage}_"].update(combined, clip.label)  # type: ignore[operator]
        return heads, combined

    def on_train_epoch_end(self) -> None:
        self._log("train")

    def on_validation_epoch_end(self) -> None:
        if self.multi:
            self.thresholds = self.accuracies["val_"].thresholds()  # type: ignore[operator]
        self._log("val")
        self.validation_losses = one_of_each(of_all_processes(self.validation_losses))

    def on_test_epoch_end(self) -> None:
        self._log("test")
        self.test_logits = one_of_each(of_all_processes(self.test_logits))

    def _log(self, stage: str) -> None:
        loss: Any = self.loss_means[f"{stage}_"]
        found = self._measured(stage).items()
        exact = {f"{stage}/{name}": torch.tensor(value, dtype=torch.float64) for name, value in found}
        self.log_dict({f"{stage}/loss": loss.compute(), **exact}, prog_bar=True)
        loss.reset()

    def _measured(self, stage: str) -> dict[str, float]:
        """Returns what is logged of a stage beside its loss, and forgets its scores."""
        if self.multi and stage == "train":
            return {}
        accuracy: Any = self.accuracies[f"{stage}_"]
        if self.multi:
            found = accuracy.compute(self.thresholds)
        else:
            found = {LOGGED[name]: value for name, value in accuracy.compute().items() if name in LOGGED}
        if stage == "train":
            del found["mean_class"], found["macro_f1"]
        accuracy.reset()
        return found

    def configure_optimizers(self) -> Any:
        optimizer = self.make_optimizer(self.network)
        epochs = self.trainer.max_epochs or 1
        steps = self.trainer.estimated_stepping_batches / epochs
        return [optimizer], self.make_schedule(optimizer, steps_per_epoch=steps, epochs=self.planned_epochs or epochs)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["classes"] = list(self.classes)  # HMDB51 has no class index of its own
        checkpoint["trained_on"] = self.history.to_checkpoint()
        if self.thresholds is not None:
            checkpoint["thresholds"] = self.thresholds.tolist()

    def load_weights(self, checkpoint: str | Path) -> None:
        """Loads the weights that were validated: those of the moving average, if there is one.

        Do not use `Trainer.test(ckpt_path=…)` for this: after training with `MovingAverage` it restores the weights
        that are trained on, not the averaged ones.
        """
        content = load_plain(Path(checkpoint))
        load_whole(self, content["state_dict"])
        self.take_thresholds(content)

    def take_thresholds(self, checkpoint: Mapping[str, Any]) -> None:
        """Takes the thresholds of several labels a video, if validation has chosen some.

        Raises ValueError unless they are a probability for each class.
        """
        found = checkpoint.get("thresholds") if self.multi else None
        if found is not None:
            fine = isinstance(found, list) and all(isinstance(one, float) and 0 <= one <= 1 for one in found)
            if not fine or len(found) != len(self.classes):
                raise ValueError(f"its thresholds are not {len(self.classes)} probabilities")
        self.thresholds = None if found is None else np.array(found)


def logits_by_video(index: Int[Tensor, " n"], logits: Float[Tensor, "n k"]) -> dict[int, np.ndarray]:
    """Returns {position of the video in its list: its logits (k,)}, as float32 arrays on the CPU."""
    return dict(zip(index.tolist(), logits.detach().float().cpu().numpy(), strict=True))
