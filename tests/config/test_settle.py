"""What `auto` stands for: by the weights and the number of videos."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from twostream.config import data as config_data
from twostream.config.compose import compose_config
from twostream.config.data import build_data, fits
from twostream.config.network import build_network
from twostream.config.run import check_training
from twostream.config.settle import FEW, settle, settled_note
from twostream.data.sources import Video
from twostream.data.sources.moving_patterns import MovingPatterns
from twostream.models.backbone import tiny


def folder_of(root: Path, videos: int) -> Path:
    for number in range(videos):
        path = root / "ab"[number % 2] / f"{number}.avi"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([number % 256, number // 256]))
    return root


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.save(tiny(3, 4).state_dict(), tmp_path / "tiny.pth")
    return tmp_path / "tiny.pth"


def settled(root: Path, *words: str):
    cfg = compose_config(["data=folder", f"data.root={root}", "data.test_fraction=0.5", "backbone=tiny", *words])
    return cfg, settle(cfg)


def test_few_videos_with_weights(tmp_path: Path, weights: Path) -> None:
    typed, cfg = settled(folder_of(tmp_path / "videos", 32), f"backbone.weights={weights}")
    assert (cfg.start, cfg.refit, cfg.batch_statistics, cfg.data.cache) == ("probe", True, "kept", "ram")
    assert cfg.epochs == 15  # 16 videos, 2 steps an epoch
    assert settled_note(typed, cfg) == (
        "auto: start=probe epochs=15 refit=true batch_statistics=kept optimizer.head_factor=1.0 data.cache=ram "
        f"trainer.accelerator={'gpu' if torch.cuda.is_available() else 'cpu'}"
    )
    assert settle(cfg) == cfg


@pytest.mark.parametrize(("there", "chosen"), [(True, "gpu"), (False, "cpu")])
def test_a_gpu_is_taken_where_there_is_one(there: bool, chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert settle(compose_config([])).trainer.accelerator == chosen
    assert settle(compose_config(["trainer=cpu"])).trainer.accelerator == "cpu"
    assert settle(compose_config(["trainer=ddp"])).trainer.accelerator == "auto"  # Lightning's choice


def test_what_is_faster_on_a_gpu_is_one_word() -> None:
    cfg = compose_config(["speed=gpu", "compile=false"])
    assert (cfg.precision, cfg.channels_last, cfg.compile) == ("bf16-mixed", True, False)
    assert cfg.optimizer.fused == "auto"


def test_many_videos(tmp_path: Path, weights: Path) -> None:
    _, cfg = settled(folder_of(tmp_path / "videos", 2 * FEW), f"backbone.weights={weights}", "batch_size=32")
    assert (cfg.start, cfg.refit, cfg.epochs, cfg.batch_statistics) == ("probe", False, 20, "batch")


def test_without_weights_nothing_is_probed(tmp_path: Path) -> None:
    _, cfg = settled(folder_of(tmp_path / "videos", 8), "weights=null")
    assert (cfg.start, cfg.refit, cfg.epochs, cfg.batch_statistics) == ("random", False, 20, "batch")


@pytest.mark.parametrize("word", ["init.rgb={weights}", "trainer=fsdp", "epochs=0"])
def test_where_a_probe_is_not_the_start(tmp_path: Path, weights: Path, word: str) -> None:
    word = word.format(weights=weights)
    assert settled(folder_of(tmp_path / "videos", 8), f"backbone.weights={weights}", word)[1].start == "random"


def test_no_refit_with_a_schedule_that_needs_validation(tmp_path: Path, weights: Path) -> None:
    words = [f"backbone.weights={weights}", "schedule=plateau"]
    assert settled(folder_of(tmp_path / "videos", 8), *words)[1].refit is False
    with pytest.raises(ValueError, match=r"refit=true: .*schedule.monitor=val/top1"):
        settled(tmp_path / "videos", *words, "refit=true")


def test_what_is_given_stays(tmp_path: Path, weights: Path) -> None:
    given = ["epochs=3", "start=random", "refit=false", "data.cache=null", "batch_statistics=batch", "trainer=cpu"]
    new = settled(folder_of(tmp_path / "videos", 8), f"backbone.weights={weights}", *given)[1]
    assert new.optimizer.head_factor == 100
    given.append("optimizer.head_factor=2")
    typed, cfg = settled(folder_of(tmp_path / "videos", 8), f"backbone.weights={weights}", *given)
    assert cfg == typed
    assert settled_note(typed, cfg) == ""


def test_the_embedded_set_has_little_to_settle(tmp_path: Path) -> None:
    typed = compose_config([])
    cfg = settle(typed, MovingPatterns(tmp_path, split=1, train_clips=16, test_clips=16))
    changed = {name for name, value in cfg.items() if value != typed[name]}
    assert changed == {"start", "batch_statistics", "data", "trainer"}
    assert (cfg.start, cfg.batch_statistics, cfg.data.cache) == ("random", "batch", "ram")


def test_the_paper_has_its_own_recipe() -> None:
    cfg = compose_config(["experiment=t3_vgg16_spatial"])
    values = (cfg.start, cfg.refit, cfg.batch_statistics, cfg.schedule.warmup_epochs, cfg.optimizer.head_factor)
    assert values == ("random", False, "batch", 0, 1)


def test_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    path.write_bytes(bytes(1000))
    source = SimpleNamespace(videos=(Video("a", path, 0, "a"),))
    assert fits(source, {""}, memory=tmp_path)
    assert not fits(source, {""}, memory=tmp_path / "absent")


def test_memory_for_all_files_that_are_shown(tmp_path: Path, monkeypatch) -> None:
    for name, size in (("a.avi", 1000), ("depth.avi", 3000)):
        (tmp_path / name).write_bytes(bytes(size))
    source = SimpleNamespace(videos=(Video("a", tmp_path / "a.avi", 0, "a", {"depth": tmp_path / "depth.avi"}),))
    for columns, size in (({""}, 1000), ({"depth"}, 3000), ({"", "depth"}, 4000), ({"", "absent"}, 1000)):
        needed = 2 * config_data.DECODED * size  # half of the free memory
        for free, enough in ((needed + 2, True), (needed - 2, False)):
            monkeypatch.setattr(config_data.shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
            assert fits(source, columns, memory=tmp_path) == enough


def test_memory_for_videos_that_are_rendered_is_known_exactly(tmp_path: Path, monkeypatch) -> None:
    """A frame of 64x64 pixels has 12,288 bytes, and a field 32,768."""
    source = MovingPatterns(tmp_path, split=1, train_clips=16, test_clips=16)
    for fields, of_a_frame in ((False, 12_288), (True, 12_288 + 32_768)):
        needed = 2 * 32 * 12 * of_a_frame  # half of the free memory
        for free, enough in ((needed + 2, True), (needed - 2, False)):
            monkeypatch.setattr(config_data.shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
            assert fits(source, {""}, fields=fields, memory=tmp_path) == enough


@pytest.mark.parametrize(("free", "kept"), [(10**9, True), (2 * 48 * 12 * 12_288 + 2, False)])
def test_fields_are_kept_where_they_fit_too(free: int, kept: bool, tmp_path: Path, monkeypatch) -> None:
    source = MovingPatterns(tmp_path, split=1, train_clips=32, test_clips=16)
    monkeypatch.setattr(config_data.shutil, "disk_usage", lambda _: SimpleNamespace(free=free, total=2 * free))
    cfg = settle(compose_config([]), source)
    assert cfg.data.cache == "ram"
    data = build_data(cfg, source)
    parts = (data.train_set, data.validation_set, data.test_set)
    assert [part.kept is not None for part in parts] == [kept] * 3
    assert len({id(part.kept) for part in parts}) == 1, "all share one folder"


def test_flow_std_scales_what_the_flow_tower_reads() -> None:
    """Halving it doubles the input: the same as doubling the filters that read it, and not their bias."""
    words = ["streams=flow", "backbone=squeezenet1_0", "transform.size=64", "flow.length=2"]
    torch.manual_seed(0)
    usual = build_network(compose_config(words), 4)
    torch.manual_seed(0)
    half = build_network(compose_config([*words, f"flow_std={usual.flow.backbone.flow_std / 2}"]), 4)
    flow = torch.randint(-127, 128, (2, 1, 4, 64, 64), dtype=torch.int8)
    assert torch.equal(half.flow.enter(flow).maps, 2 * usual.flow.enter(flow).maps)
    [line] = check_training(compose_config(["streams=rgb", "flow_std=20"]))
    assert line == "flow_std=20: there is no flow tower; this changes nothing"
