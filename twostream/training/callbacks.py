"""Callbacks of training."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from jaxtyping import Float
from pytorch_lightning.callbacks import WeightAveraging
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from twostream.data.loader import on_device
from twostream.files.lock import Claim
from twostream.models.pooling.vlad import SoftVLAD
from twostream.training.distributed import of_all_processes
from twostream.training.lists import by_type


class Speed(pl.Callback):
    """Measures the training clips per second of all processes, and the videos per second of the last test.

    Time spent waiting for the loader counts, time spent on validation does not. A test counts as a whole: with the
    start of its loader, and with all views of each video.
    """

    def __init__(self) -> None:
        self.test_videos_per_second: float | None = None
        self.clips: Tensor | int = 0
        self.seconds = 0.0
        self._started = False
        self._since = 0.0

    @property
    def clips_per_second(self) -> float | None:
        """The rate without the first step, in which everything starts; None until the second step has ended."""
        return round(float(self.clips) / self.seconds, 2) if self.seconds else None

    def on_train_epoch_start(self, *_: Any) -> None:
        self._since = time.perf_counter()

    def on_validation_end(self, *_: Any) -> None:
        self._since = time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self._started:
            self.clips = self.clips + pl_module.last_clips  # on a GPU a tensor, read once at the end
            self.seconds += time.perf_counter() - self._since
        self._started = True
        self._since = time.perf_counter()

    def on_test_start(self, *_: Any) -> None:
        self._since = time.perf_counter()

    def on_test_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.test_videos_per_second = round(len(pl_module.test_logits) / (time.perf_counter() - self._since), 2)


class MovingAverage(WeightAveraging):
    """Keeps an exponential moving average of weights and running means, which is validated, tested and saved.

    After each step the average becomes `decay` · average + (1 - `decay`) · weights; after the first it is the weights.
    It lies on the device of the weights. The number of operations does not grow with that of the weights, and none
    waits for the device. Buffers of whole numbers, such as the bins of a sketch, are copied from the network.
    """

    def __init__(self, decay: float) -> None:
        super().__init__()
        self._move = get_ema_multi_avg_fn(decay)
        self._pairs: list[tuple[list[Tensor], ...]] = []  # of each type of numbers: average, network

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        pl_module.to(trainer.strategy.root_device)  # Lightning does so later; a copy made before stays on the CPU
        super().setup(trainer, pl_module, stage)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert self._average_model is not None  # `setup` has made it
        self._pairs = by_type(numbers(self._average_model.module), numbers(pl_module))

    @torch.no_grad()
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self._latest_update_step:
            return  # `accumulate`: the step goes on
        assert self._average_model is not None
        for average, now in self._pairs:
            if self._latest_update_step and now[0].is_floating_point():
                self._move(average, now, self._average_model.n_averaged)
            else:
                torch._foreach_copy_(average, now)
        self._average_model.n_averaged += 1
        self._latest_update_step = trainer.global_step


def numbers(module: nn.Module) -> Iterator[Tensor]:
    """Yields the parameters and buffers of a module."""
    yield from module.parameters()
    yield from module.buffers()


class Alive(pl.Callback):
    """Keeps the claim on a run folder fresh, which shows other processes and machines that its holder is alive."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim

    def on_train_batch_end(self, *_: Any) -> None:
        self.claim.beat()

    def on_validation_batch_end(self, *_: Any) -> None:
        self.claim.beat()

    def on_test_batch_end(self, *_: Any) -> None:
        self.claim.beat()


class Begins(pl.Callback):
    """Calls `begin` once, when training begins: by then the checkpoint to go on from has been loaded as a whole."""

    def __init__(self, begin: Callable[[], None]) -> None:
        self._begin: Callable[[], None] | None = begin

    def on_train_start(self, *_: Any) -> None:
        self.begin()

    def on_fit_end(self, *_: Any) -> None:
        self.begin()  # no epoch was left to train

    def begin(self) -> None:
        """Calls `begin`, unless that was done before."""
        begin, self._begin = self._begin, None
        if begin is not None:
            begin()


class InitialiseVLAD(pl.Callback):
    """Before training, sets the centres of every VLAD layer that has none yet, by k-means of training descriptors.

    The descriptors are what the layer itself gets when the network sees clips of the first epoch: `num_descriptors` for
    each layer, in equal numbers from the clips of at most `num_batches` batches. They are the same however many
    processes share the clips. Layers that were loaded from a checkpoint stay as they are.
    """

    def __init__(self, *, num_descriptors: int = 20_000, num_batches: int = 20, seed: int = 0) -> None:
        self.num_descriptors = num_descriptors
        self.num_batches = num_batches
        self.seed = seed

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        layers = [m for m in pl_module.modules() if isinstance(m, SoftVLAD) and not m.initialised]
        if not layers:
            return
        loader: DataLoader = trainer.datamodule.train_dataloader()  # type: ignore[attr-defined]
        parts = of_all_processes(self._collect(loader, layers, trainer, pl_module))
        for number, layer in enumerate(layers):
            clips = sorted((clip for part in parts for clip in part[number]), key=lambda clip: clip[0])
            descriptors = torch.cat([rows for _, rows in clips]).to(layer.centres.device)
            try:
                layer.initialise(descriptors, seed=self.seed)
            except ValueError as error:
                raise MisconfigurationException(f"pooling by VLAD, k-means at the start: {error}") from error
            # processes may round differently: all start from the centres of the first
            layer.load_state_dict(trainer.strategy.broadcast(layer.state_dict()))

    @torch.no_grad()
    def _collect(
        self, loader: DataLoader, layers: list[SoftVLAD], trainer: pl.Trainer, system: pl.LightningModule
    ) -> list[list[tuple[tuple[int, int], Float[Tensor, "m c"]]]]:
        """Returns for each layer the clips of this process: ((position of the video, repeat), descriptors)."""
        batches = min(self.num_batches, len(loader))
        num_clips = min(batches * trainer.datamodule.batch_size, len(loader.dataset))  # type: ignore[attr-defined,arg-type]
        wanted = -(-self.num_descriptors // num_clips)  # descriptors of each clip
        found: dict[nn.Module, list[tuple[tuple[int, int], Tensor]]] = {layer: [] for layer in layers}
        draws: list[tuple[int, int]] = []

        def take(layer: nn.Module, inputs: tuple[Tensor]) -> None:
            rows = inputs[0].movedim(1, -1).flatten(0, -2)  # (n, c, t, h, w) -> one row for each location
            for draw, clip in zip(draws, rows.chunk(len(draws)), strict=True):
                chosen = np.random.default_rng((self.seed, draw[0])).permutation(len(clip))[:wanted]
                found[layer].append((draw, clip[torch.from_numpy(chosen).to(clip.device)].float().cpu()))

        hooks = [layer.register_forward_pre_hook(take) for layer in layers]
        training = system.training
        system.eval()
        try:
            with torch.compiler.set_stance("force_eager"):  # a compiled network would not call the hooks
                for _, batch in zip(range(batches), loader, strict=False):
                    clips = on_device(batch, system.device)
                    if draws := list(zip(clips.index.tolist(), clips.repeat.tolist(), strict=True)):
                        system(clips)
        finally:
            system.train(training)
            for hook in hooks:
                hook.remove()
        return [found[layer] for layer in layers]
