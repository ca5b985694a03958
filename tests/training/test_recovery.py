"""A run that was interrupted and goes on is, number for number, the run that was not."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric

from twostream.config.accept import trained_before
from twostream.config.compose import compose_config
from twostream.config.run import build_run
from twostream.data.history import History
from twostream.data.record import Entry, Record
from twostream.data.workers import start_worker
from twostream.files.errors import UserError
from twostream.files.signals import Signals, Stopped, requeue
from twostream.launch.recovery import recovery_of
from twostream.launch.resume import continued, run_name
from twostream.runs.interrupted import recovery_files
from twostream.training import recovery
from twostream.training.distributed import whole_state
from twostream.training.recovery import (
    Recovery,
    damage,
    fit,
    later_best,
    load_metrics,
    moved_to,
    newest_recovery,
    tidy,
)

SMALL = [
    *("data.train_clips=48", "data.test_clips=16", "epochs=2", "batch_size=8", "log_every=1", "logger=csv"),
    *("checkpoint_minutes=0", "validation_fraction=0.35"),
]
SHARDED = ["trainer=fsdp", "trainer.accelerator=cpu", "trainer.devices=1"]


@pytest.fixture(autouse=True)
def leaves_no_process_group() -> Iterator[None]:
    """Tests after these start processes that would look for it."""
    before = {**os.environ}
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    os.environ.clear()
    os.environ.update(before)


def train(cfg: DictConfig, folder: Path, start: Path | None = None) -> torch.nn.Module:
    """The trained network; recovery checkpoints stay."""
    folder.mkdir(exist_ok=True)
    callback = Recovery(folder, minutes=cfg.checkpoint_minutes, cell="", signals=Signals())
    run = build_run(cfg, folder, [callback], start)
    fit(run.trainer, run.system, run.data, start)
    return run.system


def place(path: Path) -> tuple[int, int]:
    """Epoch and batch."""
    _, epoch, batch = path.stem.split("-")
    return int(epoch), int(batch)


@pytest.mark.parametrize(
    "overrides",
    [
        ["num_workers=0", "schedule=plateau", "schedule.patience=1", "deterministic=true"],
        ["num_workers=0", "data.train_clips=40", "sampler=balanced", "loss={class_weights:balanced,focal:2}"],
        pytest.param(["num_workers=2", "ema=0.9"], marks=pytest.mark.slow),
        pytest.param(
            ["num_workers=0", "accumulate=2", "optimizer=sgd", "precision=bf16-mixed"], marks=pytest.mark.slow
        ),
        pytest.param(["num_workers=0", "pooling=netvlad", "epochs=3"], marks=pytest.mark.slow),
        pytest.param(["num_workers=0", *SHARDED, "gradient_clip=0.1"], marks=pytest.mark.slow),
    ],
    ids=" ".join,
)
def test_resumed_is_uninterrupted(overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "KEPT", 1000)
    cfg = compose_config([*SMALL, *overrides])
    whole = train(cfg, tmp_path / "whole")
    expected = (tmp_path / "whole" / "metrics.csv").read_text()
    files = {place(path): path for path in recovery_files(tmp_path / "whole" / "checkpoints")}
    last = (cfg.epochs, 0)
    assert last in files
    assert (1, 0) in files
    for at in [*((1, 0), (1, 2)), *([(0, 2), last] if "num_workers=0" in overrides else [])]:
        folder = tmp_path / f"from {at}"
        (folder / "checkpoints").mkdir(parents=True)
        shutil.copy(tmp_path / "whole" / "checkpoints" / "best.ckpt", folder / "checkpoints")
        start = Path(shutil.copy(files[at], folder / "checkpoints"))
        again = train(cfg, folder, start)
        assert (folder / "metrics.csv").read_text() == expected, at
        before, after = whole_state(whole), whole_state(again)
        for name, value in before.items():
            assert torch.equal(value, after[name]), (at, name)


def test_metrics_go_on_counting_where_the_module_is() -> None:
    """Here on no device at all; on a GPU where the weights are shared, and loaded after they were moved."""
    module = torch.nn.ModuleDict({"mean": MeanMetric()}).to("meta")
    load_metrics(module, {"mean": {"mean_value": torch.tensor(6.0), "weight": torch.tensor(2.0)}})
    assert {value.device.type for value in module["mean"].metric_state.values()} == {"meta"}  # type: ignore[union-attr]


@pytest.fixture
def two_files(tmp_path: Path) -> list[Path]:
    """Two whole recovery checkpoints of a folder, newest first."""
    (tmp_path / "checkpoints").mkdir()
    for name, batch in (("recovery-00001-0000002.ckpt", 2), ("recovery-00001-0000000.ckpt", 0)):
        content = {"recovery": {"cell": "abc", "epoch": 1, "batch": batch}, "weights": torch.arange(1000.0)}
        torch.save(content, tmp_path / "checkpoints" / name)
    return recovery_files(tmp_path / "checkpoints")


@pytest.mark.parametrize("harm", ["cut", "flip", "empty"])
def test_a_damaged_newest_checkpoint_is_passed_over(
    two_files: list[Path], harm: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    newest, before = two_files
    assert newest_recovery(tmp_path) == newest
    raw = bytearray(newest.read_bytes())
    middle = len(raw) // 2  # in the weights
    raw[middle] ^= 1
    newest.write_bytes({"cut": bytes(raw[: middle + 1]), "flip": bytes(raw), "empty": b""}[harm])
    assert damage(newest) is not None
    assert newest_recovery(tmp_path) == before
    assert f"{newest}: damaged (" in capsys.readouterr().out
    before.write_bytes(b"nothing")
    assert newest_recovery(tmp_path) is None


def test_damaged_ones_do_not_take_the_place_of_new_ones(two_files: list[Path], tmp_path: Path) -> None:
    for path in two_files:
        path.write_bytes(b"nothing")
    folder = tmp_path / "checkpoints"
    for name in ("recovery-00000-0000003.ckpt", "recovery-00000-0000006.ckpt", "recovery-00000-0000009.ckpt"):
        (folder / name).touch()
        tidy(folder, folder / name)
        assert recovery_files(folder)[0].name == name
    assert len(recovery_files(folder)) == 2


def test_another_configuration_is_shown_and_refused(two_files: list[Path], tmp_path: Path) -> None:
    before = compose_config(["optimizer.learning_rate=0.5"])
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(before, resolve=True))
    now = compose_config(["optimizer.learning_rate=0.25"])
    with pytest.raises(UserError, match=r"optimizer\.learning_rate: 0\.5 there, 0\.25 here.*allow_change=true"):
        recovery_of(now, tmp_path)
    assert recovery_of(compose_config(["allow_change=true"]), tmp_path) == two_files[0]


def test_resume_repeats_the_command_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, elsewhere = tmp_path / "a run", tmp_path / "elsewhere"
    (run / ".hydra").mkdir(parents=True)
    elsewhere.mkdir()
    (run / "overrides.json").write_text(json.dumps(["fusion=sum", "epochs=3"]))
    (run / ".hydra" / "hydra.yaml").write_text(f"hydra: {{runtime: {{cwd: {elsewhere}}}}}")
    monkeypatch.chdir(tmp_path)
    assert continued(["fusion=sum", "-m"]) == ["fusion=sum", "-m"]
    assert continued(["resume=a run", "epochs=5"]) == ["fusion=sum", "epochs=5", f"hydra.run.dir='{run}'"]
    assert Path.cwd() == elsewhere
    monkeypatch.chdir(run)
    assert continued([]) == ["fusion=sum", "epochs=3", f"hydra.run.dir='{run}'"]
    with pytest.raises(UserError, match="is no run folder"):
        continued([f"resume={elsewhere}"])
    with pytest.raises(UserError, match="its own command"):
        continued([f"resume={run}", "-m"])


def test_a_slurm_job_keeps_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "71")
    assert run_name("2026-01-01/00-00-00").startswith("slurm-71-")
    monkeypatch.setenv("SLURM_JOB_NAME", "bash")
    assert run_name("2026-01-01/00-00-00") == "2026-01-01/00-00-00"


def test_best_checkpoint_of_a_moved_folder() -> None:
    state = {
        "dirpath": "/old/checkpoints",
        "best_model_path": "/old/checkpoints/best.ckpt",
        "kth_best_model_path": "/old/checkpoints/best.ckpt",
        "last_model_path": "",
        "best_k_models": {"/old/checkpoints/best.ckpt": 0.5},
    }
    moved_to(Path("/new/checkpoints"), state)
    assert state == {
        "dirpath": "/new/checkpoints",
        "best_model_path": "/new/checkpoints/best.ckpt",
        "kth_best_model_path": "/new/checkpoints/best.ckpt",
        "last_model_path": "",
        "best_k_models": {"/new/checkpoints/best.ckpt": 0.5},
    }


def test_a_signal_waits_for_the_step_and_a_second_one_does_not() -> None:
    with Signals() as signals:
        signals.patient = True
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.received == signal.SIGTERM
        os.kill(os.getpid(), signal.SIGTERM)  # the same, by way of the parent
        with pytest.raises(Stopped) as stopped:
            os.kill(os.getpid(), signal.SIGINT)
        assert stopped.value.exit_code == 130


def test_what_was_ignored_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert signals.received is None
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("error", [OSError(28, "No space left"), RuntimeError("DataLoader worker (pid 3) exited")])
def test_a_save_that_fails_after_a_signal_is_no_success(tmp_path: Path, error: Exception) -> None:
    callback = Recovery(tmp_path, minutes=5, cell="", signals=Signals())
    callback.signals.received = signal.SIGUSR1
    trainer: Any = SimpleNamespace(world_size=1)
    if isinstance(error, OSError):
        callback.on_exception(trainer, torch.nn.Identity(), error)  # type: ignore[arg-type]
    else:
        with pytest.raises(Stopped):
            callback.on_exception(trainer, torch.nn.Identity(), error)  # type: ignore[arg-type]


def test_the_best_weights_of_steps_that_were_lost_keep_their_score(tmp_path: Path) -> None:
    torch.save({"global_step": 9, "callbacks": {"m": {"best_model_score": 0.75}}}, tmp_path / "best.ckpt")
    assert later_best(tmp_path, 6, "m") == {"best_model_score": 0.75}
    assert later_best(tmp_path, 9, "m") == {}
    assert later_best(tmp_path / "none", 6, "m") == {}


def test_another_batch_size_within_an_epoch_is_refused(tmp_path: Path) -> None:
    record = Record(("a",), {"train": (Entry("a/1", "a"),), "validation": (), "test": ()})
    data: Any = SimpleNamespace(batch_size=16, record=record)
    state = {"epoch": 0, "batch": 3, "batch_size": 8, "data": record.to_text()}
    with pytest.raises(UserError, match=r"batch_size=16: was 8; it cannot change in the middle of an epoch"):
        trained_before({"recovery": state}, tmp_path, data, allow_change=True)
    assert trained_before({"recovery": state | {"batch": 0}}, tmp_path, data, allow_change=False) == History()


def test_a_step_of_more_batches_cannot_begin_in_its_middle(tmp_path: Path) -> None:
    record = Record(("a",), {"train": (Entry("a/1", "a"),), "validation": (), "test": ()})
    data: Any = SimpleNamespace(batch_size=8, record=record)
    state = {"epoch": 0, "batch": 4, "batch_size": 8, "parts": 2, "data": record.to_text()}
    with pytest.raises(UserError, match=r"accumulate=3: was 2; 4 batches of the epoch are done"):
        trained_before({"recovery": state}, tmp_path, data, allow_change=True, accumulate=3)
    assert trained_before({"recovery": state}, tmp_path, data, allow_change=True, accumulate=4) == History()


def test_parts_of_an_automatic_batch_go_on_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    """A checkpoint notes the size of a part; the parts are made again only after this check."""
    record = Record(("a",), {"train": (Entry("a/1", "a"),), "validation": (), "test": ()})
    state = {"epoch": 0, "batch": 3, "batch_size": 4, "parts": 3, "data": record.to_text()}
    same: Any = SimpleNamespace(batch_size=12, record=record)
    assert trained_before({"recovery": state}, tmp_path, same, allow_change=False, accumulate="auto") == History()
    other: Any = SimpleNamespace(batch_size=8, record=record)
    with pytest.raises(UserError, match=r"batch_size=8: was 12; it cannot change"):
        trained_before({"recovery": state}, tmp_path, other, allow_change=True, accumulate="auto")


def test_a_worker_heeds_sigterm_of_its_own_process_alone() -> None:
    loader = DataLoader([0, 1, 2], num_workers=1, worker_init_fn=start_worker, persistent_workers=True)  # type: ignore[arg-type]
    numbers = iter(loader)
    next(numbers)
    [worker] = multiprocessing.active_children()
    subprocess.run(["kill", "-TERM", str(worker.pid)], check=True)
    assert len(list(numbers)) == 2
    assert worker.is_alive()
    worker.terminate()
    worker.join(120)
    assert worker.exitcode == 0


def test_the_time_limit_of_a_slurm_job_requeues_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "71")
    assert requeue(Stopped(signal.SIGTERM)) is None
    assert requeue(Stopped(signal.SIGUSR1)) == "SLURM job 71 requeued"
    assert (tmp_path / "asked").read_text() == "requeue 71\n"
