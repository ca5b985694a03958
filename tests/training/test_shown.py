"""The rows of epochs, the bar of a terminal and the warning of a slow training, to the letter; nothing is trained."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from twostream.files import progress
from twostream.training import shown
from twostream.training.shown import Bar, EpochLine, Forecast


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(shown.time, "perf_counter", lambda: now[0])
    return now


def trainer(**facts: Any) -> Any:
    usual: dict[str, Any] = {"is_global_zero": True, "max_epochs": 12, "current_epoch": 0, "callback_metrics": {}}
    usual |= {
        "num_training_batches": 100,
        "num_val_batches": [7],
        "strategy": SimpleNamespace(root_device=torch.device("cpu")),
    }
    return SimpleNamespace(**{**usual, **facts})


def test_epochs_are_rows_of_a_table_and_count_from_1(capsys, clock) -> None:
    row, system = EpochLine(), pl.LightningModule()
    values = torch.tensor([2.3456, 0.25, 1.9, 0.5, 0.4])
    found = dict(zip(shown.COLUMNS, values, strict=False))
    row.on_train_start(trainer(), system)
    for epoch in (0, 1):
        clock[0] += 12
        row.on_train_epoch_start(trainer(current_epoch=epoch, callback_metrics=found), system)
    clock[0] += 100
    row.on_train_end(trainer(current_epoch=12, callback_metrics=found), system)
    assert capsys.readouterr().out.splitlines() == [
        "             train loss       top-1    val loss       top-1  mean class",
        "epoch  1/12       2.346       0.250       1.900       0.500       0.400     24 s",
        "epoch 12/12       2.346       0.250       1.900       0.500       0.400    2 min",
    ]
    row.on_train_end(trainer(is_global_zero=False), system)
    assert capsys.readouterr().out == ""


class System:
    """What the bar reads of a system, with four clips a batch, of which three are right."""

    multi = False
    last_clips = 4
    last_losses = torch.tensor(2.0), None
    last_scores = torch.eye(4)


BATCH_OF_4 = SimpleNamespace(label=torch.tensor([0, 1, 2, 0]))


@pytest.fixture
def lines(monkeypatch, clock) -> list[str]:
    """What the bar shows."""
    found: list[str] = []

    class Kept(progress.Line):
        def __init__(self, title: str, total: int | None, *, stays: bool) -> None:
            super().__init__(title, total)

        begin = progress.Drawn.begin

        def _show(self, count: str, note: str, left: float | None) -> None:
            found.append(f"{self.title} {count} {note}".rstrip() + ("" if left is None else f" {left:.0f} s"))

    monkeypatch.setattr(shown, "Drawn", Kept)
    monkeypatch.setattr(Kept, "begin", lambda self, title, total: progress.Line.__init__(self, title, total))
    return found


def test_the_bar_shows_the_epoch_so_far_and_reads_it_now_and_then(lines: list[str], clock, monkeypatch) -> None:
    read: list[int] = []
    usual = Bar._read
    monkeypatch.setattr(Bar, "_read", lambda *parts: read.append(1) or usual(*parts))
    bar, system = Bar(every=10), System()
    now = trainer(current_epoch=2)
    bar.on_train_start()
    bar.on_train_epoch_start(now)
    for batch in range(25):
        clock[0] += 2
        bar.on_train_batch_end(now, system, None, BATCH_OF_4, batch)
    assert lines[0] == "epoch 3/12 1/100 loss 2.000  top-1 0.750 1998 s"
    assert lines[10] == "epoch 3/12 11/100 loss 2.000  top-1 0.750  2.0 clips/s 1978 s"
    assert len(read) == 3
    system.last_losses = torch.tensor(torch.nan), None  # nonfinite=skip
    for batch in range(25, 31):
        bar.on_train_batch_end(now, system, None, BATCH_OF_4, batch)
    assert "loss 2.000  top-1 0.750" in lines[-1]


def test_a_run_that_goes_on_in_the_middle_of_an_epoch_has_its_bar(lines: list[str], clock) -> None:
    bar, now = Bar(), trainer(current_epoch=4)
    bar.on_train_batch_end(now, System(), None, BATCH_OF_4, 60)
    assert lines == ["epoch 5/12 61/100 loss 2.000  top-1 0.750 0 s"]


def test_a_process_that_is_not_the_first_shows_nothing(lines: list[str], clock) -> None:
    bar, now = Bar(), trainer()
    bar.disable()
    bar.on_train_epoch_start(now)
    bar.on_train_batch_end(now, System(), None, BATCH_OF_4, 0)
    bar.on_validation_start(now)
    assert lines == []


@pytest.mark.parametrize(("seconds", "device", "said"), [(4.0, "cpu", True), (2.0, "cpu", False), (4.0, "cuda", False)])
def test_hours_on_a_cpu_are_told_once(seconds: float, device: str, said: bool, capsys, clock) -> None:
    forecast = Forecast()
    now = trainer(strategy=SimpleNamespace(root_device=torch.device(device)))
    clock[0] = 1000.0  # everything has started
    for batch in range(20):
        forecast.on_train_batch_end(now, None, None, None, batch)  # type: ignore[arg-type]
        clock[0] += seconds
    assert capsys.readouterr().out == said * (
        "WARNING: at the speed of its first steps this training takes about 80 min on this CPU; a GPU, a smaller "
        "backbone (backbone=squeezenet1_0, tiny), a smaller transform.size and fewer epochs take less, `twostream "
        "probe` takes minutes\n"
    )
