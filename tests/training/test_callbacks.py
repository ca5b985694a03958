"""Callbacks of training."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

from twostream.config.compose import compose_config
from twostream.config.run import build_run
from twostream.data.clip import Clip
from twostream.models.pooling import NetVLAD
from twostream.training.callbacks import InitialiseVLAD, MovingAverage, Speed


class Pooled(pl.LightningModule):
    """Hands the maps of a batch to a VLAD layer as they are."""

    def __init__(self, clusters: int) -> None:
        super().__init__()
        self.vlad = NetVLAD(3, clusters)

    def forward(self, clip: Clip) -> Tensor:
        return self.vlad(clip.first)


def trainer_of(batches: list[Clip]) -> SimpleNamespace:
    """As much of a trainer as the callback needs, with one process."""
    strategy = SimpleNamespace(broadcast=lambda state: state, batch_to_device=lambda batch: batch)
    loader = DataLoader(batches, batch_size=None)  # type: ignore[arg-type]
    return SimpleNamespace(datamodule=SimpleNamespace(train_dataloader=lambda: loader, batch_size=5), strategy=strategy)


def corners(n: int, first: int = 0) -> Clip:
    """Maps (n, 3, 1, 3) whose locations are the three unit vectors, times the number of the map."""
    maps = torch.eye(3)[None, :, None, :] * torch.arange(1.0, n + 1)[:, None, None, None]
    return Clip(maps, torch.zeros(n), torch.zeros(n), torch.arange(first, first + n), torch.zeros(n).long())


def test_centres_are_those_of_the_descriptors_that_the_layer_gets() -> None:
    system = Pooled(clusters=3).train()
    InitialiseVLAD().on_fit_start(trainer_of([corners(2), corners(5, first=2)]), system)
    assert sorted(system.vlad.centres.tolist()) == torch.eye(3).flip(0).tolist()
    assert system.training
    assert not system.vlad._forward_pre_hooks


def test_clips_of_a_video_that_comes_twice_are_in_one_order_whichever_process_has_which() -> None:
    torch.manual_seed(0)
    first = corners(5)._replace(first=torch.randn(5, 3, 2, 3))
    again = first._replace(first=torch.randn(5, 3, 2, 3), repeat=torch.ones(5).long())
    found = []
    for batches in ([first, again], [again, first]):
        system = Pooled(clusters=4)
        InitialiseVLAD().on_fit_start(trainer_of(batches), system)
        found.append(system.vlad.centres)
    assert torch.equal(*found)


def test_layers_out_of_a_checkpoint_stay_as_they_are() -> None:
    system = Pooled(clusters=3)
    InitialiseVLAD().on_fit_start(trainer_of([corners(2)]), system)
    resumed = Pooled(clusters=3)
    resumed.load_state_dict(system.state_dict())
    InitialiseVLAD().on_fit_start(trainer_of([corners(2)._replace(first=-corners(2).first)]), resumed)
    assert torch.equal(resumed.vlad.centres, system.vlad.centres)


def test_too_few_distinct_descriptors() -> None:
    with pytest.raises(MisconfigurationException, match="clusters=4: only 3 distinct descriptors among 6"):
        InitialiseVLAD().on_fit_start(trainer_of([corners(2)]), Pooled(clusters=4))


@pytest.mark.long
@pytest.mark.parametrize("options", [["fusion=multilevel", "layer=[conv4,conv5]"], ["ema=0.9"]])
def test_training_starts_from_k_means(options, tmp_path, monkeypatch) -> None:
    """Whatever the network around the layers: random centres have length 1, means of unit vectors are shorter."""
    monkeypatch.setenv("TWOSTREAM_CACHE", str(tmp_path))
    small = ["data.train_clips=32", "data.test_clips=16", "validation_fraction=0", "batch_size=16", "num_workers=0"]
    cfg = compose_config(["pooling=netvlad", "logger=csv", "epochs=1", "flow.preset=ultrafast", *small, *options])
    data, system, trainer, *_ = build_run(cfg, tmp_path)
    trainer.fit_loop.max_epochs = 0
    trainer.fit(system, data)
    layers = [module for module in system.modules() if isinstance(module, NetVLAD)]
    assert len(layers) == (2 if "fusion=multilevel" in options else 1)
    for layer in layers:
        assert layer.initialised
        assert (layer.centres.norm(dim=1) < 0.9999).any()


def test_speed_counts_steps_but_neither_the_first_nor_validation(monkeypatch) -> None:
    """Steps of 8, 8 and 5 clips of all processes end at 3, 5 and, after validation until 20, at 24: 13 in 2 + 4 s."""
    now = iter([0, 3, 5, 5, 20, 24, 24])
    monkeypatch.setattr("twostream.training.callbacks.time.perf_counter", lambda: float(next(now)))
    speed = Speed()
    speed.on_train_epoch_start()
    assert speed.clips_per_second is None
    for number, clips in enumerate([8, 8, 5]):
        if number == 2:
            speed.on_validation_end()
        speed.on_train_batch_end(None, SimpleNamespace(last_clips=clips), None, None, number)  # type: ignore[arg-type]
    assert speed.clips_per_second == 2.17


def test_speed_of_a_test_counts_all_of_its_videos_once(monkeypatch) -> None:
    """4 videos of all processes in 3 s."""
    now = iter([10, 13])
    monkeypatch.setattr("twostream.training.callbacks.time.perf_counter", lambda: float(next(now)))
    speed = Speed()
    assert speed.test_videos_per_second is None
    speed.on_test_start()
    speed.on_test_end(None, SimpleNamespace(test_logits=dict.fromkeys(range(4))))  # type: ignore[arg-type]
    assert speed.test_videos_per_second == 1.33


class Layers(pl.LightningModule):
    """Linear layers, a running mean and whole numbers for each."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)) for _ in range(layers)))


def averaging(module: pl.LightningModule, decay: float, device: str = "cpu") -> tuple[MovingAverage, SimpleNamespace]:
    """A callback that training has begun with, and as much of a trainer as it needs."""
    trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device(device)), global_step=0)
    average = MovingAverage(decay)
    average.setup(trainer, module, "fit")  # type: ignore[arg-type]
    average.on_train_start(trainer, module)  # type: ignore[arg-type]
    return average, trainer


def step(average: MovingAverage, trainer: SimpleNamespace, module: pl.LightningModule) -> list[str]:
    """Ends one step. Returns the operations that PyTorch was asked for."""
    trainer.global_step += 1
    with Operations() as seen:
        average.on_train_batch_end(trainer, module, None, None, 0)  # type: ignore[arg-type]
    return seen.names


class Operations(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def test_a_moving_average_by_hand() -> None:
    """Steps to 1, 2, 2: the average is 1, .75 · 1 + .25 · 2 = 1.25, .75 · 1.25 + .25 · 2 = 1.4375."""
    module = Layers(2)
    average, trainer = averaging(module, decay=0.75)
    kept: Any = average._average_model
    weight, counts = kept.module.layers[1][0].weight, kept.module.layers[0][1].num_batches_tracked
    for now, expected in ((1.0, 1.0), (2.0, 1.25), (2.0, 1.4375)):
        with torch.no_grad():
            module.layers[1][0].weight.fill_(now)
        module.layers[0][1].num_batches_tracked.fill_(3)
        step(average, trainer, module)
        assert torch.equal(weight, torch.full((2, 2), expected))
        assert counts == 3, "an average of equal whole numbers may be rounded to another one"
    trainer.global_step -= 1  # `accumulate`: a batch that ends no step
    average._latest_update_step = trainer.global_step
    average.on_train_batch_end(trainer, module, None, None, 0)  # type: ignore[arg-type]
    assert torch.equal(weight, torch.full((2, 2), 1.4375))


def test_the_average_of_weights_that_stay_is_these_weights() -> None:
    module = Layers(1)
    average, trainer = averaging(module, decay=0.999)
    for _ in range(5):
        step(average, trainer, module)
    kept: Any = average._average_model
    assert all(torch.equal(kept.module.state_dict()[name], value) for name, value in module.state_dict().items())


def test_the_moving_average_lies_where_the_weights_are_trained() -> None:
    """Lightning moves the weights after `setup`, where the callback copies them."""
    average, _ = averaging(Layers(1), decay=0.9, device="meta")
    kept: Any = average._average_model
    assert {tensor.device.type for tensor in kept.module.state_dict().values()} == {"meta"}


def test_an_average_takes_as_many_operations_for_many_weights_as_for_few() -> None:
    few, many = Layers(1), Layers(30)
    operations = []
    for module in (few, many):
        average, trainer = averaging(module, decay=0.9)
        step(average, trainer, module)
        operations.append(step(average, trainer, module))
    assert operations[0] == operations[1]
    assert len(operations[0]) == 3, "weights, whole numbers, the number of steps"
