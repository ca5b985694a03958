"""`twostream export`: files that say what the run's network says, or none at all."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from run_folders import CLASSES, make_run

import twostream.export.run as module
from twostream.cli import main
from twostream.config.clips import build_clips
from twostream.config.loaded import load_run
from twostream.config.shareable import shareable_config
from twostream.data.sources.moving_patterns import MovingPatterns
from twostream.export.preprocessing import random_inputs
from twostream.export.run import export_run, from_system, rounding
from twostream.models.fusion import ConvFusion

SMALL = ["transform.size=32", "flow.length=2", "flow.preset=ultrafast"]
ALWAYS = {"README.md", "config.json", "metrics.csv", "preprocessing.json", "results.json"}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "run", *SMALL)


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> list[Path]:
    source = MovingPatterns(root=str(tmp_path_factory.mktemp("cache")), train_clips=16, test_clips=16, split=1)
    return [video.path for video in source.test[:2]]


def test_safetensors_is_a_run_folder(run: Path, tmp_path: Path, videos: list[Path]) -> None:
    said: list[str] = []
    to = export_run(run, "safetensors", to=tmp_path / "out", videos=videos, say=said.append)
    assert {path.name for path in to.iterdir()} == {*ALWAYS, "model.safetensors"}
    assert [line.split(": ")[1] for line in said[:-1]] == ["noise, n = 1", "noise, n = 3", *(v.name for v in videos)]
    assert all(line.endswith("largest difference of a score 0.0e+00") for line in said[:-1])
    original, loaded = load_run(run), load_run(to)
    assert loaded.system.classes == CLASSES
    assert loaded.history == original.history, "what it was trained on stays known: the leak test goes on"
    assert len(loaded.history.videos) == 1
    ours, theirs = original.system.state_dict(), loaded.system.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.long
def test_command_line(run: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    command = ["twostream", "export", str(run), "--format", "torch-export", "--to", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", command)
    main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("model.pt2: noise, n = 1: largest difference of a score ")
    inputs = {"rgb": torch.full((4, 1, 3, 32, 32), 7, dtype=torch.uint8), "flow": torch.ones(4, 1, 4, 32, 32).char()}
    program = torch.export.load(tmp_path / "out" / "model.pt2").module()
    score = program(*inputs.values())
    assert score.shape == (4, 3)
    assert torch.allclose(score, from_system(load_run(run).system)(inputs), atol=1e-5)


@pytest.mark.long
def test_onnx_on_a_clip(run: Path, tmp_path: Path, videos: list[Path]) -> None:
    pytest.importorskip("onnxruntime", reason="ONNX: pip install 'twostream[onnx]'")
    said: list[str] = []
    to = export_run(run, "onnx", to=tmp_path / "out", videos=videos[:1], say=said.append)
    assert {path.name for path in to.iterdir()} == {*ALWAYS, "model.onnx"}
    assert float(said[2].split()[-1]) <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("form", ["torch-export", "onnx"])
def test_on_real_clips(tmp_path: Path, real_data: Path, form: str) -> None:
    if form == "onnx":
        pytest.importorskip("onnxruntime", reason="ONNX: pip install 'twostream[onnx]'")
    clips = [sorted((real_data / name).rglob("*.avi"))[0] for name in ("UCF-101", "hmdb51")]
    overrides = ["transform=paper", "transform.size=48", "sampling.num_chunks=2", "temporal=conv3d", "flow.length=3"]
    said: list[str] = []
    export_run(make_run(tmp_path / "run", *overrides), form, videos=clips, say=said.append)
    assert [line.split(": ")[1] for line in said[2:4]] == [clip.name for clip in clips]
    assert all(float(line.split()[-1]) <= 1e-4 for line in said[:4])


def test_another_score_is_an_error_and_leaves_nothing(run: Path, tmp_path: Path, monkeypatch) -> None:
    def load_wrong(path: Path):
        right = from_system(load_run(run).system)
        return lambda inputs: right(inputs) + 2e-4

    monkeypatch.setattr(module, "load_pt2", load_wrong)
    with pytest.raises(ValueError, match=r"torch-export: the scores of noise, n = 1 differ by 2\.0e-04 from"):
        export_run(run, "torch-export", to=tmp_path / "out", say=str)
    assert not (tmp_path / "out").exists()


def test_scores_so_large_that_float32_is_off_by_more(tmp_path: Path) -> None:
    """The classifier times 1e6: the file is as good as the original, and no better."""
    run = make_run(tmp_path / "run", *SMALL)
    checkpoint = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    for name, tensor in checkpoint["state_dict"].items():
        if name.startswith("network.rgb.backbone.stages.fc8.4"):
            tensor *= 1e6
    torch.save(checkpoint, run / "checkpoints" / "best.ckpt")
    system = load_run(run).system
    inputs = random_inputs(build_clips(load_run(run).cfg, ()), 2)
    score = from_system(system)(inputs)
    assert score.abs().max() > 1e4
    exact = from_system(system.double())(inputs)
    off = (score - exact).abs().max().item()
    assert off > 1e-4
    system = system.float()
    assert rounding(system, inputs, difference=1.0) == pytest.approx(off)
    assert rounding(system, inputs, difference=5e-5) == 0.0, "not asked"


def test_what_cannot_be_exported_leaves_what_was_there(run: Path, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "model.pt2").write_text("of before")
    monkeypatch.setattr(ConvFusion, "forward", lambda self, rgb, flow: rgb if rgb.sum() > 0 else flow)
    with pytest.raises(
        ValueError, match=r"--format torch-export: cannot export fusion ConvFusion \(at fusions\.conv5\): "
    ):
        export_run(run, "torch-export", to=tmp_path, say=str)
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt2"]
    assert (tmp_path / "model.pt2").read_text() == "of before"


def test_what_was_typed_wrong(run: Path, tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(ValueError, match=r"--format 'tflite': choose from onnx, torch-export, safetensors"):
        export_run(run, "tflite")
    with pytest.raises(ValueError, match=r"none: no such folder"):
        export_run(tmp_path / "none", "safetensors")
    with pytest.raises(ValueError, match=r"is the run folder"):
        export_run(run, "safetensors", to=run)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"--format onnx needs onnxruntime, .*: pip install -e .*\[onnx\]"):
        export_run(run, "onnx")
    assert not (run / "export").exists()


def test_files_of_another_network(run: Path, tmp_path: Path) -> None:
    """A folder holds one network: a file that was there would be pushed and described as one of the new."""
    to = tmp_path / "out"
    to.mkdir()
    (to / "model.pt2").touch()  # as --format torch-export would have left it
    export_run(run, "safetensors", to=to, say=str)
    card = (to / "README.md").read_text()
    assert "torch.export.load" in card
    assert "load_run(" in card
    other = make_run(tmp_path / "other", *SMALL, noise=0.06)
    with pytest.raises(ValueError, match=r"out: holds files of another network \(preprocessing\.json differs\)"):
        export_run(other, "safetensors", to=to, say=str)
    assert (to / "README.md").read_text() == card


def test_a_damaged_file_of_weights(run: Path, tmp_path: Path) -> None:
    to = export_run(run, "safetensors", to=tmp_path / "out", say=str)
    (to / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    with pytest.raises(ValueError, match=r"model\.safetensors: cannot be read as a checkpoint \(its format is None"):
        load_run(to)
    (to / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"model\.safetensors: cannot be read as a checkpoint"):
        load_run(to)


def test_paths_and_accounts_stay_here(tmp_path: Path) -> None:
    """Nothing that an exported folder holds names a folder of this machine."""
    run = make_run(tmp_path / "run", *SMALL, "flow.store=/home/lovelace/store")
    cfg = OmegaConf.load(run / "config.yaml")
    cfg.data.root = "/home/lovelace/videos"  # type: ignore[union-attr]
    cfg.backbone.weights = "runs/lovelace/best.ckpt"  # type: ignore[union-attr]
    cfg.init.rgb = "runs/lovelace"  # type: ignore[union-attr]
    cfg.logger = {"wandb": {"_target_": "twostream.training.loggers.wandb_logger", "project": "of lovelace"}}  # type: ignore[union-attr]
    OmegaConf.save(cfg, run / "config.yaml")
    shared = shareable_config(cfg)  # type: ignore[arg-type]
    assert (shared["data"]["root"], shared["flow"]["store"], shared["logger"]) == (None, None, None)
    assert shared["layer"] == "conv5"
    to = export_run(run, "safetensors", to=tmp_path / "out", say=str)
    for name in os.listdir(to):
        assert b"lovelace" not in (to / name).read_bytes(), name
    assert json.loads((to / "results.json").read_text())["overrides"] == ["fusion=conv", "epochs=3"]
    assert "twostream train fusion=conv epochs=3" in (to / "README.md").read_text()
