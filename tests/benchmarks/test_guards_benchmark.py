"""What is compared is all guards with none."""

from __future__ import annotations

from pathlib import Path

import pytest
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.loggers import CSVLogger

from benchmarks.guards import Steps, bare_run, guarded_run
from twostream.files.lock import is_held
from twostream.files.signals import Signals
from twostream.runs.checkpoint_io import WholeCheckpoints
from twostream.training.callbacks import Alive
from twostream.training.finiteness import FiniteLoss
from twostream.training.loggers import WholeRows
from twostream.training.recovery import Recovery

SMALL = ["logger=csv", "data.train_clips=16", "data.test_clips=16", "validation_fraction=0", "num_workers=0"]


@pytest.mark.parametrize("guarded", [True, False])
def test_all_guards_or_none(guarded: bool, tmp_path: Path) -> None:
    run = guarded_run(SMALL, tmp_path, Signals(), Steps()) if guarded else bare_run(SMALL, tmp_path, Steps())
    guards = [callback for callback in run.trainer.callbacks if isinstance(callback, (Alive, Recovery, FiniteLoss))]  # type: ignore[attr-defined]
    assert [type(guard) for guard in guards] == ([Alive, Recovery, FiniteLoss] if guarded else [])
    assert type(run.trainer.strategy.checkpoint_io) is (WholeCheckpoints if guarded else TorchCheckpointIO)
    assert [type(logger) for logger in run.trainer.loggers] == [WholeRows if guarded else CSVLogger]
    assert is_held(tmp_path / "results.json") == guarded
    assert not guarded or guards[1].minutes == 0.2
