"""`accumulate=auto`: the same step in parts that fit into memory, here one that holds so many clips."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from twostream.config.compose import compose_config
from twostream.config.run import build_run
from twostream.files.errors import ExpectedError, UserError
from twostream.files.signals import Signals
from twostream.runs.interrupted import recovery_files
from twostream.training.batches import SplitBatches, fewest_parts
from twostream.training.recovery import Recovery, fit
from twostream.training.system import TwoStreamSystem

SMALL = ["data.train_clips=16", "data.test_clips=16", "validation_fraction=0", "batch_size=12", "num_workers=0"]
CHEAP = ["logger=csv", "flow.preset=ultrafast", "layer=softmax", "fusion=sum", "accumulate=auto"]


@pytest.fixture
def run(tmp_path: Path):
    return build_run(compose_config([*SMALL, *CHEAP, f"data.root={tmp_path}", "epochs=1"]), tmp_path)


def memory_for(clips: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lets training run out of memory with more clips; returns how many it was tried with."""
    tried: list[int] = []
    forward = TwoStreamSystem.forward

    def limited(self, clip, *options):
        tried.append(len(clip.label))
        if len(clip.label) > clips:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return forward(self, clip, *options)

    monkeypatch.setattr(TwoStreamSystem, "forward", limited)
    return tried


def test_a_step_of_12_in_three_parts_of_4_where_5_fit(run, monkeypatch) -> None:
    tried = memory_for(5, monkeypatch)
    weights = {name: value.clone() for name, value in run.system.state_dict().items()}
    drawn = torch.random.get_rng_state()
    run.trainer.datamodule = run.data
    SplitBatches().setup(run.trainer, run.system, "fit")
    assert tried == [12, 6, 4]
    assert (run.trainer.accumulate_grad_batches, run.data.batch_size) == (3, 4)
    assert torch.equal(torch.random.get_rng_state(), drawn)
    assert all(torch.equal(value, weights[name]) for name, value in run.system.state_dict().items())
    assert all(weight.grad is None for weight in run.system.parameters())


def test_a_run_that_goes_on_keeps_its_parts(run, tmp_path: Path, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        memory_for(5, patch)
        run.trainer.callbacks.insert(0, Recovery(tmp_path, minutes=0, cell="", signals=Signals()))
        fit(run.trainer, run.system, run.data, None)
    [newest, *_] = recovery_files(tmp_path / "checkpoints")
    again = build_run(compose_config([*SMALL, *CHEAP, f"data.root={tmp_path}", "epochs=1"]), tmp_path, start=newest)
    tried = memory_for(100, monkeypatch)
    fit(again.trainer, again.system, again.data, newest)
    assert tried == []
    assert (again.trainer.accumulate_grad_batches, again.data.batch_size) == (3, 4)


def test_shared_weights_are_not_tried(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"accumulate=auto: .*trainer=fsdp"):
        build_run(compose_config([*SMALL, *CHEAP, "trainer=fsdp", "trainer.accelerator=cpu"]), tmp_path)


def test_where_not_one_clip_fits_it_says_so_and_other_errors_stay_what_they_are(run, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        assert memory_for(0, patch) == []
        with pytest.raises(ExpectedError, match=r"not even one clip .*transform\.size"):
            fewest_parts(run.trainer, run.system, run.data)
    run.data.batch_size = 1
    monkeypatch.setattr(run.system, "loss", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fewest_parts(run.trainer, run.system, run.data)
