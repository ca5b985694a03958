"""Losses that are not finite: the run stops and can be looked into, or goes on without them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf
from torch import Tensor

from twostream.config.compose import compose_config
from twostream.config.run import build_run
from twostream.files.errors import ExpectedError
from twostream.files.signals import Signals
from twostream.launch.replay import first_nonfinite, replay
from twostream.runs.results import write_text
from twostream.training import finiteness as nonfinite
from twostream.training.finiteness import FiniteLoss, takes_findings
from twostream.training.recovery import Recovery

SMALL = [
    *("data.train_clips=32", "data.test_clips=16", "epochs=1", "batch_size=8", "log_every=1", "logger=csv"),
    *("num_workers=0", "validation_fraction=0", "backbone=tiny", "flow.preset=ultrafast"),
]
LATE = ["optimizer.fused=true"]  # the optimizer is told by the device, the host learns of it at the next step


def run_with(folder: Path, *overrides: str, poisoned: int | None = None, where: str = "loss", last: int = 0):
    """A run with a loss that is NaN, or a gradient that is infinite, in the first part of step number `poisoned`.

    Steps count from 0; up to step `last` it is so in all of them.
    """
    folder.mkdir()
    cfg = compose_config([*SMALL, *overrides])
    write_text(folder / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
    guard = FiniteLoss(folder, nonfinite=cfg.nonfinite)
    run = build_run(cfg, folder, [guard])
    loss = run.system.loss

    def bad() -> bool:
        first = run.trainer.fit_loop.epoch_loop.batch_idx % run.trainer.accumulate_grad_batches == 0
        return poisoned is not None and first and poisoned <= run.trainer.global_step <= max(poisoned, last)

    def poisoning(heads: Tensor, label: Tensor) -> Tensor:
        return loss(heads * float("nan") if run.system.training and bad() else heads, label)

    if where == "loss":
        run.system.loss = poisoning  # type: ignore[method-assign]
    else:
        weight = next(run.system.network.parameters())
        weight.register_hook(lambda gradient: gradient * float("inf") if bad() else gradient)
    return run, guard


def losses(folder: Path) -> list[float]:
    with (folder / "metrics.csv").open() as file:
        return [float(row["train/loss_step"]) for row in csv.DictReader(file) if row["train/loss_step"]]


@pytest.mark.parametrize("overrides", [[], LATE], ids=["at once", "late"])
def test_the_run_stops_and_the_step_can_be_done_again(overrides: list[str], tmp_path: Path) -> None:
    clean, _ = run_with(tmp_path / "clean", *overrides)
    clean.trainer.fit(clean.system, clean.data)
    run, _ = run_with(tmp_path / "run", *overrides, poisoned=2)
    (tmp_path / "run" / ".metrics.csv.1.part").touch()  # of another process
    with pytest.raises(ExpectedError, match=r"epoch 1, batch 3: the loss .* its videos: .*\.mp4, .*nonfinite=skip"):
        run.trainer.fit(run.system, run.data)
    assert (tmp_path / "run" / ".metrics.csv.1.part").exists()
    [kept] = (tmp_path / "run").glob("nonfinite-*.pt")
    again = replay(kept)
    assert again.loss == pytest.approx(losses(tmp_path / "clean")[2], abs=1e-6)  # dropout and all
    assert len(again.losses) == 8
    assert again.first is None
    assert not again.weights
    assert not again.gradients


@pytest.mark.long
def test_a_step_with_a_video_that_came_before_is_done_again_with_the_same_clips(tmp_path: Path) -> None:
    """24 videos of 16 classes: in the second epoch, one step of 24, eight videos come twice, with other frames."""
    words = ["data.train_clips=24", "batch_size=24", "epochs=2", "sampler=balanced", "loss.class_weights=balanced"]
    clean, _ = run_with(tmp_path / "clean", *words)
    clean.trainer.fit(clean.system, clean.data)
    run, _ = run_with(tmp_path / "run", *words, poisoned=1)
    with pytest.raises(ExpectedError):
        run.trainer.fit(run.system, run.data)
    [kept] = (tmp_path / "run").glob("nonfinite-*.pt")
    [part] = torch.load(kept, weights_only=True)["parts"]
    assert part["repeat"].sum() == 8
    again = replay(kept)
    assert again.loss == pytest.approx(losses(tmp_path / "clean")[1], abs=1e-6)
    assert len(again.losses) == 16


@pytest.mark.long
@pytest.mark.parametrize("overrides", [[], LATE, [*LATE, "optimizer=sgd"]], ids=["at once", "late", "late, SGD"])
def test_what_is_kept_is_the_state_before_the_step(overrides: list[str], tmp_path: Path) -> None:
    """Batch normalisation has seen the step, and its running means may be those of infinite values.

    Where it is found late, the next step has been computed, too.
    """
    small = ["accumulate=2", "batch_size=4"]
    run, _ = run_with(tmp_path / "run", *small, *overrides, poisoned=1, where="gradient")
    before: dict[str, Tensor] = {}

    class Look(pl.Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == 2:
                before.update({name: value.clone() for name, value in pl_module.state_dict().items()})

    run.trainer.callbacks.append(Look())
    with pytest.raises(ExpectedError, match=r"epoch 1, batch 4: the gradient is not a finite number") as error:
        run.trainer.fit(run.system, run.data)
    assert run.trainer.fit_loop.epoch_loop.batch_idx == (5 if overrides else 3), "when it was found"
    [kept] = (tmp_path / "run").glob("nonfinite-*.pt")
    content = torch.load(kept, weights_only=True)
    assert all(torch.equal(value, content["state_dict"][name]) for name, value in before.items())
    assert any(not torch.equal(value, before[name]) for name, value in run.system.state_dict().items())
    indices = [index for part in content["parts"] for index in part["index"].tolist()]
    assert len(indices) == 8
    assert all(run.data.train_set.videos[index].id in str(error.value) for index in indices)


def test_replay_names_bad_weights_and_gradients(tmp_path: Path) -> None:
    run, _ = run_with(tmp_path / "run", poisoned=0)
    with pytest.raises(ExpectedError):
        run.trainer.fit(run.system, run.data)
    [kept] = (tmp_path / "run").glob("nonfinite-*.pt")
    content = torch.load(kept, weights_only=True)
    name, *_ = (name for name, value in content["state_dict"].items() if value.ndim == 4)
    content["state_dict"][name][0, 0, 0, 0] = float("inf")
    torch.save(content, kept)
    again = replay(kept)
    assert again.weights == [name.removeprefix("network.")], "not what the forward pass then does to others"
    assert again.first is not None
    assert again.weights[0] in again.gradients


@pytest.mark.parametrize(("parts", "where"), [(2, "loss"), (1, "gradient")])
def test_a_skipped_step_changes_nothing(parts: int, where: str, tmp_path: Path) -> None:
    overrides = [f"accumulate={parts}", f"batch_size={8 // parts}", "nonfinite=skip"]
    run, guard = run_with(tmp_path / "run", *overrides, poisoned=1, where=where)
    seen: list[dict[str, Tensor]] = []

    class Look(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *rest: Any) -> None:
            if (rest[-1] + 1) % parts == 0:
                seen.append({name: value.clone() for name, value in pl_module.network.state_dict().items()})

    run.trainer.callbacks.append(Look())
    run.trainer.fit(run.system, run.data)
    assert guard.skipped == 1
    assert all(torch.equal(seen[0][name], seen[1][name]) for name in seen[0])
    assert not all(torch.equal(seen[1][name], seen[2][name]) for name in seen[0])
    assert torch.isfinite(run.trainer.callback_metrics["train/loss"])


def test_no_checkpoint_is_written_of_a_bad_step_that_is_not_known_yet(tmp_path: Path) -> None:
    """Recovery checkpoints are due before every step: the one behind the bad step is not written."""
    run, guard = run_with(tmp_path / "run", *LATE, poisoned=2)
    run.trainer.callbacks.insert(0, Recovery(tmp_path / "run", minutes=0, cell="", signals=Signals()))
    with pytest.raises(ExpectedError, match="epoch 1, batch 3: the loss"):
        run.trainer.fit(run.system, run.data)
    names = [path.name for path in (tmp_path / "run" / "checkpoints").glob("recovery-*")]
    assert sorted(names) == ["recovery-00000-0000001.ckpt", "recovery-00000-0000002.ckpt"]
    assert all(value.isfinite().all() for value in run.system.network.parameters())
    assert guard.skipped == 0


def test_the_last_step_of_an_epoch_is_judged_before_validation(tmp_path: Path) -> None:
    run, _ = run_with(tmp_path / "run", *LATE, "validation_fraction=0.34", poisoned=1)
    seen: list[int] = []
    run.system.on_validation_epoch_start = lambda: seen.append(1)  # type: ignore[method-assign]
    assert len(run.data.train_set) == 16
    with pytest.raises(ExpectedError, match="epoch 1, batch 2: the loss"):
        run.trainer.fit(run.system, run.data)
    assert not seen


def test_steps_that_are_all_left_out_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nonfinite, "MOST_IN_A_ROW", 2)
    run, guard = run_with(tmp_path / "run", "nonfinite=skip", poisoned=1, last=9)
    with pytest.raises(ExpectedError, match="2 steps in a row were left out, the loss of the last one"):
        run.trainer.fit(run.system, run.data)
    assert guard.skipped == 2


def test_gradients_of_scaled_losses_are_left_to_who_scales(tmp_path: Path) -> None:
    run, _ = run_with(tmp_path / "run", poisoned=0, where="gradient")
    run.trainer.precision_plugin.scaler = object()  # here it does nothing, so that the weights become infinite
    with pytest.raises(ExpectedError, match="batch 2: the loss"):
        run.trainer.fit(run.system, run.data)


def test_an_unknown_choice_is_named() -> None:
    with pytest.raises(ValueError, match="nonfinite='go': choose from stop, skip"):
        FiniteLoss(Path(), nonfinite="go")


def test_the_first_layer_that_is_not_finite_is_found() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2), torch.nn.ReLU())
    with torch.no_grad():
        network[1].bias[0] = float("inf")
    with first_nonfinite(network) as found:
        network(torch.zeros(1, 2))
    assert found[0] == "1"


def test_an_optimizer_that_was_resumed_unfused_is_told_nothing() -> None:
    weight = torch.nn.Parameter(torch.ones(1))
    before, now = torch.optim.AdamW([weight]), torch.optim.AdamW([weight], fused=True)
    assert takes_findings(now)
    now.load_state_dict(before.state_dict())
    assert not takes_findings(now)
    assert not takes_findings(before)
