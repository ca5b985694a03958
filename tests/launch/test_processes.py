"""However many processes compute it, a number is the same."""

from __future__ import annotations

import csv
import importlib.machinery
import json
import os
import re
import subprocess
import sys
import time
import types
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from twostream.data.module import share
from twostream.files.errors import UserError
from twostream.files.lock import Claim
from twostream.launch import processes as starting
from twostream.launch.replay import replay
from twostream.metrics.scores import Scores

ROOT = Path(__file__).parents[2]


def test_a_batch_is_shared_equally_or_refused() -> None:
    assert [share(12, world_size) for world_size in (1, 2, 3, 4)] == [12, 6, 4, 3]
    with pytest.raises(ValueError, match=r"batch_size=16 .* 3 of them .* multiple of 3"):
        share(16, 3)


def started(*programs: str) -> list[subprocess.Popen]:
    return [subprocess.Popen([sys.executable, "-S", "-c", program]) for program in programs]


SLEEPS = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(300)"


@pytest.mark.parametrize(
    ("dies", "code", "said"),
    [("raise SystemExit(3)", 3, ""), ("import os; os.kill(os.getpid(), 9)", -9, "[rank 1] was killed by SIGKILL")],
)
def test_one_that_fails_ends_all(dies: str, code: int, said: str, tmp_path: Path, monkeypatch, capfd) -> None:
    monkeypatch.setattr(starting, "GRACE_SECONDS", 0.2)
    running, began = started(SLEEPS, dies), time.monotonic()
    assert starting.watch(running, tmp_path, Claim(tmp_path / "results.json"), []) == (1, code)
    assert time.monotonic() - began < 60
    assert all(process.poll() is not None for process in running)
    assert capfd.readouterr().err.startswith(said)


def test_all_that_end_well_or_as_they_were_asked_to(tmp_path: Path) -> None:
    claim = Claim(tmp_path / "results.json")
    assert starting.watch(started("", ""), tmp_path, claim, []) is None
    assert starting.watch(started("", "raise SystemExit(143)"), tmp_path, claim, [15]) is None
    assert starting.watch(started("", "raise SystemExit(143)"), tmp_path, claim, []) == (1, 143)


def test_where_processes_find_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "SLURM_NTASKS", "MASTER_ADDR", "MASTER_PORT", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    found = starting.environments(2, 1)
    assert [(e["RANK"], e["LOCAL_RANK"], e["WORLD_SIZE"]) for e in found] == [("0", "0", "2"), ("1", "1", "2")]
    assert found[0]["MASTER_PORT"] == found[1]["MASTER_PORT"]
    with pytest.raises(UserError, match="num_nodes=2: MASTER_ADDR, MASTER_PORT, NODE_RANK not set"):
        starting.environments(2, 2)
    for name, value in {"MASTER_ADDR": "a", "MASTER_PORT": "1", "NODE_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert [(e["RANK"], e["WORLD_SIZE"]) for e in starting.environments(2, 2)] == [("2", "4"), ("3", "4")]


# ---- whole trainings ----

SMALL = [
    *("data.train_clips=45", "data.test_clips=17", "validation_fraction=0.3", "epochs=2", "batch_size=14"),
    *("num_workers=0", "flow.preset=ultrafast", "logger=csv", "log_every=1", "optimizer=sgd"),
    *("optimizer.learning_rate=0.01", "backbone=squeezenet1_0", "backbone.weights=null", "dropout={rgb:0,flow:0}"),
]  # 29 videos for training: 14 + 14 + 1, so that one of two processes has nothing in the last batch; 17 for the test
TWO = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
SLURM = {"JOB_ID": "4242", "JOB_NAME": "train", "NTASKS": "2", "NTASKS_PER_NODE": "2", "NNODES": "1", "NODEID": "0"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def train(folder: Path, cache: Path, *overrides: str, how: str = "plain") -> Path:
    """The folder of a finished run, started by train.py itself, by torchrun, or as SLURM would."""
    environment = {**os.environ, "TWOSTREAM_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    command = [str(ROOT / "train.py"), *SMALL, *overrides, f"hydra.run.dir={folder}"]
    if how == "torchrun":
        commands = [
            ([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", *command], {})
        ]
    elif how == "slurm":
        job = {f"SLURM_{name}": value for name, value in SLURM.items()} | {"SLURM_NODELIST": "127.0.0.1"}
        tasks = [{**job, "SLURM_PROCID": rank, "SLURM_LOCALID": rank} for rank in ("0", "1")]
        commands = [([sys.executable, *command], task) for task in tasks]
    else:
        commands = [([sys.executable, *command], {})]
    running = [subprocess.Popen(words, env={**environment, **extra}, cwd=ROOT) for words, extra in commands]
    try:
        assert [process.wait(250) for process in running] == [0] * len(running)
    finally:
        for process in running:
            process.kill()
    return folder


def column(folder: Path, name: str) -> list[float]:
    with (folder / "metrics.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    return train(tmp_path_factory.mktemp("alone") / "run", cache)


METRICS = ("val/top1", "val/top5", "val/mean_class", "val/macro_f1", "train/top1")


def promised(of: str) -> float:
    """What docs/processes.md says: how far apart losses are by their "size", and logits by the "range" of them all."""
    [number] = re.findall(rf"within (\S+) of their {of}", (ROOT / "docs" / "processes.md").read_text())
    return float(number)


def compare(one: Path, two: Path, losses: Sequence[str] = ("train/loss_step", "train/loss", "val/loss")) -> None:
    """Losses and logits as `promised`; metrics and videos equal; prints a table."""
    for name in losses:
        ours, theirs = column(one, name), column(two, name)
        assert len(ours) == len(theirs) > 0
        for number, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            print(f"{name:<16}{number:>3}  N=1 {a:.7f}  N=2 {b:.7f}  {b - a:+.1e}")
        assert ours == pytest.approx(theirs, rel=promised("size"))
    for name in METRICS:
        assert column(one, name) == column(two, name)
    ours, theirs = (json.loads((folder / "results.json").read_text()) for folder in (one, two))
    for name, value in ours["metrics"].items():
        print(f"{name:<16}     N=1 {value:.7f}  N=2 {theirs['metrics'][name]:.7f}")
        assert theirs["metrics"][name] == pytest.approx(value, rel=promised("size") if "loss" in name else 0)
    assert ours["unreadable"] == theirs["unreadable"]
    ours, theirs = (Scores.load(folder / "test_scores.npz") for folder in (one, two))
    assert ours.videos == theirs.videos
    assert np.array_equal(ours.labels, theirs.labels)
    difference, span = np.abs(ours.logits - theirs.logits).max(), np.ptp(ours.logits)
    print(f"{len(ours.videos)} videos: logits differ by {difference:.1e}, {difference / span:.1e} of their range")
    assert difference <= promised("range") * span


@pytest.mark.slow
@pytest.mark.parametrize("how", ["plain", "torchrun", "slurm"])
def test_two_processes_are_one(how: str, alone: Path, tmp_path: Path, cache: Path) -> None:
    compare(alone, train(tmp_path / "run", cache, *TWO, how=how))


@pytest.mark.slow
def test_balanced_draws_and_weighted_losses_of_two_processes(tmp_path: Path, cache: Path) -> None:
    """Of 29 videos of 16 classes; the last batch is one video, which one process has."""
    options = ["sampler=balanced", "loss={class_weights:balanced,focal:1}"]
    one = train(tmp_path / "one", cache, *options)
    compare(one, train(tmp_path / "two", cache, *options, *TWO))


@pytest.mark.slow
@pytest.mark.parametrize("trainer", ["ddp", "fsdp"])
def test_accumulated_batches_of_two_processes(trainer: str, tmp_path: Path, cache: Path) -> None:
    """28 videos, and 1, at once; or 14 + 14, and 1, of which the second process has none."""
    one = train(tmp_path / "one", cache, "epochs=1", "batch_size=28")
    two = train(tmp_path / "two", cache, "epochs=1", "accumulate=2", *TWO, f"trainer={trainer}")
    compare(one, two, ["train/loss", "val/loss"])


@pytest.mark.slow
def test_sharded_parameters_change_nothing(alone: Path, tmp_path: Path, cache: Path) -> None:
    compare(alone, train(tmp_path / "run", cache, "trainer=fsdp", *TWO[1:]))
    one, two = (torch.load(f / "checkpoints" / "best.ckpt", weights_only=True) for f in (alone, tmp_path / "run"))
    assert one["state_dict"].keys() == two["state_dict"].keys()


@pytest.mark.slow
def test_gradients_of_sharded_parameters_in_half_precision(tmp_path: Path, cache: Path) -> None:
    """Close to what 32 bits give, and not the same."""
    whole, half = (
        column(train(tmp_path / name, cache, "epochs=1", "trainer=fsdp", *TWO[1:], *more), "val/loss")
        for name, more in (("whole", []), ("half", ["trainer.gradients=bfloat16"]))
    )
    assert half == pytest.approx(whole, rel=0.02)
    assert half != whole


@pytest.mark.slow
def test_clipped_gradients_of_sharded_parameters(tmp_path: Path, cache: Path) -> None:
    options = ["gradient_clip=0.1", "epochs=1"]
    one = train(tmp_path / "one", cache, *options)
    compare(one, train(tmp_path / "two", cache, *options, "trainer=fsdp", *TWO[1:]))


@pytest.mark.slow
@pytest.mark.parametrize("trainer", ["ddp", "fsdp"])
@pytest.mark.parametrize("nonfinite", ["stop", "skip"])
def test_a_loss_that_is_nan_in_one_process(nonfinite: str, trainer: str, tmp_path: Path, cache: Path) -> None:
    folder, environment = tmp_path / "run", {**os.environ, "TWOSTREAM_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    words = [*SMALL, *TWO, f"trainer={trainer}", "epochs=1", f"nonfinite={nonfinite}", f"hydra.run.dir={folder}"]
    command = [*start, str(ROOT / "tests" / "launch" / "poisoned_train.py"), *words]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)
    if nonfinite == "skip":
        assert done.returncode == 0, done.stderr
        assert json.loads((folder / "results.json").read_text())["skipped_steps"] == 1
        one, two = (json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1))
        assert one == two or trainer == "fsdp", "the same weights, or each its share"
        assert one[0] == two[0] == 1
        return
    assert done.returncode == 1
    [first, *_] = [line for line in done.stderr.splitlines() if line.startswith(("[rank", "error", "Traceback"))]
    assert "error: epoch 1, batch 2: the loss is not a finite number; its videos: " in first
    assert "lost the other" not in done.stderr
    [kept] = folder.glob("nonfinite-*.pt")
    again = replay(kept)
    assert len(again.losses) == 7
    assert not again.weights


@pytest.mark.slow
def test_start_by_k_means_and_broken_videos_are_those_of_one_process(tmp_path: Path, cache: Path) -> None:
    options = ["pooling=netvlad", "pooling.clusters=8", "broken=skip", f"data.root={tmp_path}/data", "epochs=1"]
    train(tmp_path / "render", cache, *options, "epochs=0")
    for name in ("train-00008", "test-00003"):
        [broken] = (tmp_path / "data").rglob(f"{name}.mp4")
        broken.write_bytes(b"")
    one = train(tmp_path / "one", cache, *options)
    unreadable = json.loads((one / "results.json").read_text())["unreadable"]
    assert {name: len(videos) for name, videos in unreadable.items()} == {"train": 1, "test": 1}
    compare(one, train(tmp_path / "two", cache, *options, *TWO))


@pytest.mark.slow
def test_a_cell_of_a_sweep_is_processes_of_its_own(tmp_path: Path, cache: Path) -> None:
    environment = {**os.environ, "TWOSTREAM_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    swept = ("-m", "fusion=sum,concat", "layer=fc8", *SMALL, *TWO, "epochs=1")

    def sweep() -> subprocess.CompletedProcess:
        command = [sys.executable, str(ROOT / "train.py"), *swept]
        options = {"capture_output": True, "text": True, "timeout": 250, "check": False}
        return subprocess.run(command, env=environment, cwd=tmp_path, **options)

    done = sweep()
    assert done.returncode == 1, done.stderr
    [folder] = (tmp_path / "runs" / "sweeps").iterdir()
    assert (folder / "fusion_sum" / "results.json").exists()
    assert "choose fusion=sum" in (folder / "fusion_concat" / "error.txt").read_text()
    assert sweep().stdout.count("finished before") == 1


@pytest.mark.parametrize(
    ("argv", "file", "spec", "expected"),
    [
        (["twostream train", "epochs=1"], "/venv/bin/twostream", None, ["/venv/bin/twostream", "train"]),
        (["/clone/train.py", "epochs=1"], "/clone/train.py", None, ["/clone/train.py"]),
        (["/site/mine/train.py"], "/site/mine/train.py", "mine.train", ["-m", "mine.train"]),
    ],
)
def test_processes_start_what_was_started(argv, file, spec, expected, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script by its path: with -m, a file in the current folder would take the place of an installed package."""
    main = types.ModuleType("__main__")
    main.__file__, main.__spec__ = file, spec and importlib.machinery.ModuleSpec(spec, None)
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.setattr(sys, "argv", argv)
    assert starting.program() == expected
