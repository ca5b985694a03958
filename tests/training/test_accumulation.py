"""A step is the gradient of its clips, however many batches and processes these come in."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from twostream.config.compose import compose_config
from twostream.config.run import build_run
from twostream.training import accumulation
from twostream.training.accumulation import StepMean

SMALL = [
    *("data.train_clips=20", "data.test_clips=16", "validation_fraction=0", "num_workers=0", "epochs=1"),
    *("logger=csv", "streams=rgb", "sampling.num_chunks=1", "dropout.rgb=0", "optimizer=sgd"),
    *("backbone=squeezenet1_0", "backbone.weights=null"),  # no batch normalisation, which sees batches
    "optimizer.learning_rate=1e-12",  # so that all steps are those of the same weights
]

WEIGHED = "loss.class_weights=balanced"  # 20 videos of 16 classes: some have two


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rendered")


def gradients(folder: Path, rendered: Path, *overrides: str) -> list[Tensor]:
    """Of each step of an epoch, as the optimizer gets them."""
    run = build_run(compose_config([*SMALL, f"data.root={rendered}", *overrides]), folder)
    make, found = run.system.make_optimizer, []

    def noting(network: torch.nn.Module) -> torch.optim.Optimizer:
        def note(*_: object) -> None:
            found.append(torch.cat([weight.grad.flatten() for weight in network.parameters()]))

        optimizer = make(network)
        optimizer.register_step_post_hook(note)
        return optimizer

    run.system.make_optimizer = noting
    run.trainer.fit(run.system, run.data)
    return found


@pytest.mark.long
@pytest.mark.parametrize(
    ("parts", "whole"),
    [
        (["batch_size=4", "accumulate=3"], ["batch_size=12"]),  # 4 + 4 + 4 clips, 4 + 4
        (
            ["batch_size=6", "accumulate=2", "gradient_clip=0.01"],
            ["batch_size=12", "gradient_clip=0.01"],
        ),  # 6 + 6, 6 + 2
        (["batch_size=6", "accumulate=7"], ["batch_size=42"]),  # 6 + 6 + 6 + 2: no step is complete
        (["batch_size=6", "accumulate=2", WEIGHED], ["batch_size=12", WEIGHED]),
    ],
    ids=lambda overrides: " ".join(overrides),
)
def test_steps_of_accumulated_batches_are_those_of_large_batches(
    parts: list[str], whole: list[str], tmp_path: Path, rendered: Path
) -> None:
    ours, theirs = gradients(tmp_path / "parts", rendered, *parts), gradients(tmp_path / "whole", rendered, *whole)
    assert len(ours) == len(theirs)
    for number, (one, other) in enumerate(zip(ours, theirs, strict=True), start=1):
        difference = float((one - other).norm() / other.norm())
        print(f"step {number} of {len(theirs)}: gradients differ by {difference:.1e} of their norm")
        assert difference < 1e-3  # convolutions of other numbers of clips round otherwise; it was .33 to .42 once


def test_clips_of_two_processes_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two batches, of 3 + 1 and of 2 + 0 clips, where three were expected; the gradient of loss = weight · value.

    (1 + 2 + 3 + 6 + 4 + 8) / 6 = 4, which DDP makes as the mean of what both processes have.
    """
    monkeypatch.setattr(accumulation, "world_size", lambda: 2)
    batches = [([1.0, 2.0, 3.0], [6.0]), ([4.0, 8.0], [])]
    weights, means = [torch.nn.Parameter(torch.tensor(1.0)) for _ in range(2)], []
    for process, weight in enumerate(weights):
        step = StepMean()
        for shares in batches:
            everyone = [value for share in shares for value in share]
            sums = torch.tensor([sum(everyone), len(everyone)])
            monkeypatch.setattr(accumulation.distributed, "all_reduce", lambda found, sums=sums: found.copy_(sums))
            mine = torch.tensor(shares[process])
            loss = weight * (mine.mean() if len(mine) else mine.sum())
            weighed, mean, clips = step.weigh(loss, len(mine))
            (weighed / 3).backward()  # as Lightning does with accumulate=3
            means.append((mean.item(), int(clips)))
        step.finish([weight], 3)
    assert means == [(3.0, 4), (6.0, 2)] * 2
    assert sum(weight.grad.item() for weight in weights) / 2 == pytest.approx(4.0)


@pytest.mark.parametrize("sizes", [[3], [3, 2], [0, 1, 4], [2, 0], [0], [0, 0]])
def test_batches_without_clips_weigh_nothing(sizes: list[int]) -> None:
    """The gradient of the mean of 1, 2, 3 … whatever batches they are in; none at all where there is no clip."""
    values, weight, step = torch.arange(1.0, sum(sizes) + 1), torch.nn.Parameter(torch.tensor(1.0)), StepMean()
    for mine in values.split(sizes):
        weighed, _, _ = step.weigh(weight * (mine.mean() if len(mine) else mine.sum()), len(mine))
        (weighed / len(sizes)).backward()
    step.finish([weight], len(sizes))
    assert weight.grad.item() == pytest.approx(float(values.mean()) if sum(sizes) else 0.0)
