"""Where the time goes: stages add up, and the verdict follows from the numbers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from twostream.cli.bench import bench
from twostream.data.clip import Clip
from twostream.training.bench import (
    LOADING,
    TRAINING,
    Bench,
    Stopwatch,
    affordable,
    batch_of,
    time_loader,
    time_training,
    train_on,
    verdict,
)


class Now:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Now:
    now = Now()
    monkeypatch.setattr("twostream.training.bench.time", SimpleNamespace(perf_counter=lambda: now.seconds))
    return now


def test_an_inner_call_counts_for_itself_alone(now: Now) -> None:
    clock = Stopwatch()
    with clock("outer"):
        now.sleep(2)
        with clock("inner"):
            now.sleep(5)
        now.sleep(1)
    assert clock.seconds == {"inner": 5, "outer": 3}


@pytest.mark.parametrize(
    ("slowest", "advice"),
    [("flow", "a flow store (`twostream flow`, flow.store=PATH) gives at most x4.3"), ("decode", "data.cache=ram")],
)
def test_the_verdict_names_the_slowest_stage_and_what_it_can_bring(slowest: str, advice: str) -> None:
    """10 of 13 parts are the slowest stage: without it, loading is 13 / 3 times as fast."""
    loading = {**dict.fromkeys(LOADING, 0.0), "open": 0.01, "transform": 0.02, slowest: 0.1}
    result = Bench({}, "CPU", 2, loading, dict.fromkeys(TRAINING, 0.001), {0: 7.0, 2: 14.0})
    assert f"{slowest.capitalize()} is 77% of loading" in verdict(result)
    assert advice in verdict(result)


def test_the_command_measures_the_embedded_set(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("TWOSTREAM_CACHE", str(tmp_path))
    small = ["data.train_clips=32", "data.test_clips=16", "batch_size=4", "flow.preset=ultrafast", "optimizer=finetune"]
    bench([*small, "--seconds", "2", "--json", str(tmp_path / "b.json"), "--chart", str(tmp_path / "b.png")])
    printed = capsys.readouterr().out
    assert "bound: the network" in printed
    assert re.search(r"training in batches of [234]\)", printed)
    written = json.loads((tmp_path / "b.json").read_text())
    assert set(written["loading"]) == set(LOADING)
    assert all(value > 0 for value in (*written["loading"].values(), *written["training"].values()))
    assert all(rate > 0 for rate in written["workers"].values())
    assert written["trained_clips_per_second"] == pytest.approx(1 / written["step"])
    assert written["step"] > 0
    needed = written["trained_clips_per_second"] * sum(written["loading"].values())
    assert written["cores_needed"] == pytest.approx(needed + 0.5, abs=0.51)
    assert f"take {written['cores_needed']} core" in printed
    assert (tmp_path / "b.png").read_bytes()[:4] == b"\x89PNG"


class Slow(torch.nn.Module):
    """A system, and a data set, of 50 ms a clip."""

    in_pieces = False

    device = torch.device("cpu")

    def __init__(self, now: Now) -> None:
        super().__init__()
        self.network = torch.nn.Linear(1, 1)
        self.now = now

    def make_optimizer(self, network: torch.nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD(network.parameters(), lr=0.1)

    def forward(self, batch: Clip) -> tuple[torch.Tensor, None]:
        self.now.sleep(0.05 * len(batch.label))
        return self.network(batch.label[:, None].float()), None

    def training_loss(self, batch: Clip) -> tuple[torch.Tensor, torch.Tensor, None]:
        heads, _ = self(batch)
        return heads.sum(), heads, None

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, key: tuple[int, int]) -> Clip:
        self.now.sleep(0.05)
        return Clip(*(torch.zeros(1) for _ in range(3)), torch.tensor(key[1]))

    def no_clips(self) -> Clip:
        return Clip(*(torch.zeros(0) for _ in Clip._fields))


def test_slow_steps_are_measured_with_fewer_clips(now: Now) -> None:
    """A batch of 64 would take 3 s, and eight of them are needed; one of 5 takes .25 s."""
    system, clip = Slow(now), Clip(*(torch.tensor(0) for _ in range(4)))
    size = affordable(lambda: train_on(system, batch_of([clip], 2)), 64, seconds=2.0)  # type: ignore[arg-type]
    assert size == 5
    assert affordable(lambda: now.sleep(0.001), 64, seconds=2.0) == 64
    spent = time_training(system, batch_of([clip], 2), torch.device("cpu"), 0.05, precision="32-true")  # type: ignore[arg-type]
    assert spent["forward"] == pytest.approx(0.05), "one step, not five, and of one clip"


def test_a_loader_is_measured_for_as_long_as_it_is_told(now: Now) -> None:
    """Batches of 64 clips would take 3 s each."""
    assert time_loader(Slow(now), 2, 0, 0.3) == pytest.approx(20)  # type: ignore[arg-type]
    assert 0.3 <= now.seconds < 1


@pytest.mark.long
def test_a_network_that_diverges_is_measured_without_the_step_of_a_run(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("TWOSTREAM_CACHE", str(tmp_path))
    small = ["data.train_clips=32", "data.test_clips=16", "batch_size=4", "flow.preset=ultrafast"]
    bench(
        [*small, "optimizer=sgd", "optimizer.learning_rate=1e6", "--seconds", "2", "--json", str(tmp_path / "b.json")]
    )
    assert json.loads((tmp_path / "b.json").read_text())["step"] is None
    assert "as a run does it" not in capsys.readouterr().out
