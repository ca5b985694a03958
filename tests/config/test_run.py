"""What a run is built with, besides its network and data."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook

from twostream.config.compose import compose_config
from twostream.config.data import check_parts, check_workers, clip_parts
from twostream.config.network import build_network
from twostream.config.run import MEASURED, build_system, build_trainer, check_monitor, check_training
from twostream.data.decoding import NoVectorsError
from twostream.data.sources.moving_patterns import MovingPatterns
from twostream.launch.claim import identity
from twostream.training.system import LOGGED


@pytest.fixture
def flags(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the process was told about products of float32; cuDNN's flag is put back."""
    told: list[str] = []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", told.append)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", torch.backends.cudnn.benchmark)
    return told


def test_matrix_products_are_as_asked_for_and_else_exact(flags: list[str], tmp_path: Path) -> None:
    for overrides in (["matmul_precision=high"], []):
        build_trainer(compose_config(["logger=csv", *overrides]), tmp_path, validate=False)
    assert flags == ["high", "highest"]


@pytest.mark.parametrize(
    ("overrides", "expected"), [(["trainer=ddp"], True), (["trainer=ddp", "deterministic=true"], False)]
)
def test_cudnn_looks_for_the_fastest_way_with_several_processes_too(
    overrides: list[str], expected: bool, flags: list[str], tmp_path: Path
) -> None:
    torch.backends.cudnn.benchmark = not expected
    overrides = ["logger=csv", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=1", *overrides]
    try:
        build_trainer(compose_config(overrides), tmp_path, validate=False)
        assert torch.backends.cudnn.benchmark is expected
    finally:
        torch.use_deterministic_algorithms(False)


def test_processes_exchange_gradients_where_they_lie(flags: list[str], tmp_path: Path) -> None:
    """Without a second copy of all gradients; tests/launch/test_processes.py shows that the numbers are the same."""
    overrides = ["logger=csv", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=1"]
    strategy: Any = build_trainer(compose_config(overrides), tmp_path, validate=False).strategy
    assert strategy._ddp_kwargs["gradient_as_bucket_view"]
    assert strategy._ddp_comm_hook is None
    half: Any = build_trainer(
        compose_config([*overrides, "trainer.gradients=bfloat16"]), tmp_path, validate=False
    ).strategy
    assert half._ddp_comm_hook is bf16_compress_hook


def test_flow_is_not_computed_on_a_gpu_by_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(ValueError, match=r"flow=raft: workers cannot use the GPU .* give flow\.store=PATH"):
        check_workers(compose_config(["flow=raft"]))
    for fine in ("flow.store=/there", "flow.device=cpu", "num_workers=0", "streams=rgb"):
        check_workers(compose_config(["flow=raft", fine]))
    with pytest.raises(ValueError, match="flow=tvl1: workers cannot"):
        check_workers(compose_config(["flow=tvl1", "flow.engine=torch"]))
    for fine in ("flow=dis", "flow=tvl1"):
        check_workers(compose_config([fine]))


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], "flow=motion_vectors: the embedded videos are key frames alone; choose flow=dis"),
        (["data=folder", "decoder=decord"], "decoder=decord: hands out no motion vectors"),
        (["data=folder", "data.frames=packed"], "packed frames .* choose data.frames=video, or flow.store=PATH"),
    ],
)
def test_frames_without_motion_vectors_are_refused_before_videos_are_searched(
    overrides: list[str], expected: str
) -> None:
    typed = ["flow=motion_vectors", "data.root=/there", *overrides]
    with pytest.raises(ValueError, match=expected):
        check_parts(compose_config(typed))
    check_parts(compose_config([*typed, "streams=rgb"]))


def test_videos_without_motion_vectors_are_refused_before_training(tmp_path: Path) -> None:
    """The embedded videos, read as a folder of videos of somebody."""
    source = MovingPatterns(tmp_path, split=1, train_clips=16, test_clips=16)
    cfg = compose_config(["flow=motion_vectors", "data=folder", f"data.root={tmp_path}"])
    with pytest.raises(NoVectorsError, match=r"train-00000.mp4: .*codec mpeg4, every frame is a key frame"):
        clip_parts(cfg, source)
    clip_parts(compose_config(["flow=motion_vectors", "data=folder", f"data.root={tmp_path}", "broken=skip"]), source)


def test_options_that_came_later_change_no_identity_unless_they_are_used() -> None:
    """So that a repeated command finds the results of before; tests/test_old_runs.py knows such results."""
    plain = identity(compose_config([]))
    assert plain != identity(compose_config(["matmul_precision=high"]))
    assert plain != identity(compose_config(["optimizer.fused=false"]))


@pytest.mark.long
@pytest.mark.parametrize(("value", "number"), [("batch", 20), ("kept", 0), ("all_but_first", 1)])
@pytest.mark.parametrize("inflate", [False, True])
def test_which_layers_follow_the_statistics_of_the_batch(
    value: str, number: int, inflate: bool, tmp_path: Path
) -> None:
    words = ["streams=rgb", "backbone=resnet18", f"backbone.inflate={inflate}", "sampling=clip", "flow.length=1"]
    words += ["sampling.num_frames=4", "transform.size=32", f"batch_statistics={value}"]
    torch.save(build_network(compose_config(words), 3).rgb.backbone.state_dict(), tmp_path / "weights.pt")  # type: ignore[union-attr]
    system = build_system(compose_config([*words, f"backbone.weights={tmp_path / 'weights.pt'}"]), ("a", "b", "c"))
    system.train()
    system.on_train_start()
    before = {name: buffer.clone() for name, buffer in system.network.named_buffers() if name.endswith("running_mean")}
    system.network(torch.randint(0, 256, (2, 4, 3, 32, 32)), torch.zeros(2, 4, 0, 32, 32))
    buffers = dict(system.network.named_buffers())
    moved = [name for name, mean in before.items() if not torch.equal(mean, buffers[name])]
    assert (len(before), len(moved)) == (20, number)
    assert number != 1 or moved == ["rgb.backbone.stages.conv1.1.running_mean"]


@pytest.mark.parametrize("monitor", ["val/map", "val/micro_f1"])
def test_a_schedule_does_not_wait_for_a_number_of_several_labels_where_there_is_one(monitor: str) -> None:
    with pytest.raises(ValueError, match=f"schedule.monitor={monitor}: is of several labels a video; choose val/top1"):
        check_training(compose_config(["schedule=plateau", f"schedule.monitor={monitor}"]))


def test_a_schedule_waits_for_no_number_that_nothing_measures() -> None:
    """Refused before a video is decoded, not after the first epoch; the names are those in the log."""

    def check(*words: str, classes: int | None = None) -> None:
        cfg = compose_config(["schedule=plateau", *words])
        check_training(cfg)
        check_monitor(cfg, classes)

    said = "schedule.monitor=val/top2: is not measured; choose from val/loss, val/top1, val/top5, val/mean_class, "
    with pytest.raises(ValueError, match=f"^{re.escape(said)}val/macro_f1, train/loss, train/top1, train/top5$"):
        check("schedule.monitor=val/top2")
    check("schedule.monitor=val/top5", classes=6)
    with pytest.raises(ValueError, match=r"^schedule.monitor=val/top5: is not measured; choose from val/loss, "):
        check("schedule.monitor=val/top5", classes=5)
    logged = {f"val/{name}" for name in LOGGED.values()} | {"val/loss"}
    assert logged == {name for name in MEASURED if name.startswith("val/")}
