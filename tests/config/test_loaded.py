"""A run folder is read back; other folders are refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from twostream.config.compose import compose_config
from twostream.config.loaded import load_run, other_reading
from twostream.config.run import build_run
from twostream.config.saved import change_config, known_targets, load_config
from twostream.data.clip import Clip
from twostream.training.system import TwoStreamSystem

TINY = ["data.train_clips=16", "data.test_clips=16", "validation_fraction=0", "num_workers=0", "logger=csv"]


def left_by(folder: Path, *overrides: str) -> TwoStreamSystem:
    """What train.py leaves of a run, without the training: weights that nothing could have made by chance."""
    cfg = compose_config([*TINY, *overrides])
    run = build_run(cfg, folder)
    OmegaConf.save(cfg, folder / "config.yaml", resolve=True)
    run.trainer.strategy.connect(run.system)
    run.system.eval()
    (folder / "checkpoints").mkdir()
    run.trainer.save_checkpoint(folder / "checkpoints" / "best.ckpt", weights_only=True)
    return run.system


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run(tmp_path, cache, monkeypatch) -> tuple[Path, TwoStreamSystem]:
    monkeypatch.setenv("TWOSTREAM_CACHE", str(cache))
    folder = tmp_path / "cell"
    folder.mkdir()
    return folder, left_by(folder)


def clip() -> Clip:
    values = torch.Generator().manual_seed(0)
    rgb = torch.randint(0, 256, (2, 1, 1, 3, 64, 64), generator=values, dtype=torch.uint8)
    flow = torch.randint(-127, 128, (2, 1, 1, 10, 64, 64), generator=values, dtype=torch.int8)
    return Clip(rgb, flow, torch.zeros(2).long(), torch.arange(2))


def test_a_run_that_read_its_flow_store_otherwise_says_so(run) -> None:
    folder, _ = run
    loaded = load_run(folder)
    stored = loaded._replace(cfg=OmegaConf.merge(loaded.cfg, {"flow": {"store": "there"}}))
    assert other_reading(stored, 2) == "", "unfinished: it does not say"
    for note, told in (({}, "by version 1, now it is version 2"), ({"flow_reading": 2}, "")):
        (folder / "results.json").write_text(json.dumps({"metrics": {}, **note}))
        assert told in other_reading(stored, 2)
        assert bool(told) == bool(other_reading(stored, 2))
        assert other_reading(stored, None) == other_reading(loaded, 2) == "", "computed, now or then"


def test_the_network_says_what_it_said(run) -> None:
    folder, original = run
    loaded = load_run(folder)
    assert loaded.checkpoint == folder / "checkpoints" / "best.ckpt"
    assert not loaded.system.training
    assert loaded.system.classes == original.classes
    assert loaded.history == original.history
    assert len(loaded.history.videos) == 16
    with torch.no_grad():
        assert torch.equal(loaded.system(clip())[1], original(clip())[1])


def test_it_computes_with_the_precision_of_its_training(tmp_path, cache, monkeypatch) -> None:
    """Whatever computes with a trained network: predictions, pictures, exports, replays."""
    monkeypatch.setenv("TWOSTREAM_CACHE", str(cache))
    left_by(tmp_path, "matmul_precision=high")
    torch.set_float32_matmul_precision("highest")
    load_run(tmp_path)
    assert torch.get_float32_matmul_precision() == "high"
    torch.set_float32_matmul_precision("highest")


def test_weights_that_training_started_from_are_not_looked_for(tmp_path, cache, monkeypatch) -> None:
    monkeypatch.setenv("TWOSTREAM_CACHE", str(cache))
    original = left_by(tmp_path)
    cfg = load_config(tmp_path)
    cfg.backbone.weights = "/gone/weights.pth"
    cfg.init.rgb = "/gone/run"
    cfg.compile = True
    OmegaConf.save(cfg, tmp_path / "config.yaml")
    with torch.no_grad():
        assert torch.equal(load_run(tmp_path).system(clip())[1], original(clip())[1])


def test_folders_that_are_no_runs(run, tmp_path_factory) -> None:
    folder, _ = run
    with pytest.raises(ValueError, match=r"/none: no such folder"):
        load_run(folder / "none")
    with pytest.raises(
        ValueError, match=r"checkpoints: is no run folder: it has no config\.yaml, which training writes"
    ):
        load_run(folder / "checkpoints")
    with pytest.raises(ValueError, match=r"name one of its cells, such as cell$"):
        load_run(folder.parent)
    (folder / "checkpoints" / "best.ckpt").rename(folder / "gone")
    with pytest.raises(ValueError, match=r"has no checkpoints/best\.ckpt; the run has not finished an epoch$"):
        load_run(folder)
    (folder / "checkpoints" / "recovery-000001.ckpt").touch()
    with pytest.raises(ValueError, match=r"not finished an epoch; go on with it: twostream train resume=\S*cell$"):
        load_run(folder)
    (folder / "error.txt").write_text("Traceback\nValueError: loss is not finite\n")
    with pytest.raises(ValueError, match=r"the run failed: ValueError: loss is not finite"):
        load_run(folder)
    (folder / "config.yaml").write_text("{")
    with pytest.raises(ValueError, match=r"config\.yaml: cannot be read"):
        load_run(folder)


def test_a_checkpoint_that_does_not_fit(run) -> None:
    folder, _ = run
    cfg = load_config(folder)
    cfg.backbone.width = 2.0
    OmegaConf.save(cfg, folder / "config.yaml")
    with pytest.raises(ValueError, match=r"best\.ckpt: does not fit .*config\.yaml: .*size mismatch"):
        load_run(folder)
    (folder / "checkpoints" / "best.ckpt").write_bytes(b"no zip")
    with pytest.raises(ValueError, match=r"best\.ckpt: cannot be read as a checkpoint"):
        load_run(folder)


@pytest.mark.parametrize("target", ["os.system", "twostream.data.sources.moving_patterns.os.remove"])
def test_a_folder_of_somebody_else_cannot_run_their_code(run, target: str) -> None:
    folder, _ = run
    cfg = load_config(folder)
    cfg.transform.colour = {"_target_": target, "command": "true"}
    OmegaConf.save(cfg, folder / "config.yaml")
    with pytest.raises(ValueError, match=rf"config\.yaml: names code that no option .*'{target}'"):
        load_run(folder)
    assert "torch.nn.Identity" in known_targets()["attention"]


def test_what_an_evaluation_may_change(run) -> None:
    cfg = load_config(run[0])
    changed = change_config(cfg, ["data.root=/else", "num_workers=3", "flow.store=null"])
    assert (changed.data.root, changed.num_workers, cfg.num_workers) == ("/else", 3, 0)
    for setting, told in {
        "layer=conv3": "KEY is or begins with: broken, data,",
        "database=x": "KEY is or begins with",
        "data.root": "KEY=VALUE",
        "data.rot=x": "has no data.rot",
        "data._target_=os.system": "names code that no option of twostream does: 'os.system' as data",
    }.items():
        with pytest.raises(ValueError, match=rf"--set '{setting}': .*{told}"):
            change_config(cfg, [setting])
