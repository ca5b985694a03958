"""Folders of others in the commands: links, codes for the terminal, weights that are no numbers, no place to write."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import twostream.files.errors
from twostream.cli import main
from twostream.config.compose import compose_config
from twostream.config.data import build_source
from twostream.data.tasks import Outcome
from twostream.export.hub import push_folder
from twostream.export.run import LEFT_BY_RUN
from twostream.files.atomic import aside_of
from twostream.files.errors import checked, nobody_reads

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests" / part) for part in ("export", "data/prepare")]
FEW = ["data.train_clips=16", "data.test_clips=16", "num_workers=0", "logger=csv"]
TINY = [*FEW, "backbone.width=0.25", "batch_size=16", "flow.preset=ultrafast", "sampling.num_chunks=1"]
CLEAR = "a\x1b[2Jb"  # a terminal would clear its screen


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    from run_folders import make_run
    from small_videos import write_video

    folder = tmp_path_factory.mktemp("made")
    for number, name in enumerate((CLEAR, "other")):
        for video in range(3):
            write_video(folder / "videos" / name / f"{video}.avi", 9 + number)
    words = [*TINY[2:], "data=folder", f"data.root={folder / 'videos'}", "transform.size=32", "decoder=pyav"]
    words += ["backbone=tiny"]
    return make_run(folder / "run", *words, classes=build_source(compose_config(words)).classes)


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


@pytest.fixture
def video(made: Path) -> Path:
    return made.parent / "videos" / "other" / "0.avi"


@pytest.fixture
def say(monkeypatch, capsys) -> Callable[..., str]:
    """Runs `twostream …` here; what it printed."""

    def command(*words: object) -> str:
        monkeypatch.setattr(sys, "argv", ["twostream", *map(str, words)])
        main()
        return capsys.readouterr().out

    return command


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    """Without processes."""

    def in_this_process(function, items, **_):
        return (Outcome(item, function(item)) for item in items)

    for place in ("data.storage.index", "data.prepare.copies"):
        monkeypatch.setattr(f"twostream.{place}.run_tasks", in_this_process)


# ---- links ----


@pytest.mark.parametrize("name", [*LEFT_BY_RUN, "results.json", "config.yaml", "checkpoints/best.ckpt", "export"])
def test_export_publishes_nothing_that_a_link_leads_to(run: Path, tmp_path: Path, say, name: str) -> None:
    secret = tmp_path / "secret"
    if name == "export":
        secret.mkdir()
    elif (run / name).exists():
        (run / name).rename(secret)
    else:
        secret.write_text("password")
    (run / name).symlink_to(secret)
    with pytest.raises(SystemExit, match=f"{name}: leads out of the folder, to {secret}; such links are not followed"):
        say("export", run, "--format", "safetensors")
    assert name == "export" or not (run / "export").exists()
    assert secret.is_file() or not [*secret.iterdir()]


def test_push_sends_nothing_that_a_link_leads_to(tmp_path: Path, monkeypatch) -> None:
    """The folder that is sent may hold more than was just written."""
    folder = tmp_path / "export"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).touch()
    (tmp_path / "secret").touch()
    (folder / "model.onnx").symlink_to(tmp_path / "secret")
    monkeypatch.setattr("twostream.export.hub.require_hub", lambda: None)
    with pytest.raises(ValueError, match=r"model\.onnx: leads out of the folder"):
        push_folder(folder, "ada/net")


@pytest.mark.parametrize(
    ("command", "name"), [("evaluate", "evaluation"), ("inspect", "inspection"), ("report", "report")]
)
def test_nothing_is_written_where_a_link_leads(run: Path, tmp_path: Path, say, command: str, name: str) -> None:
    folder = run if command != "report" else run.parent
    (run / "overrides.json").write_text("[]")
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    (folder / name).symlink_to(outside)
    with pytest.raises(SystemExit, match=f"{name}: leads out of the folder"):
        say(command, folder)
    assert not [*outside.iterdir()]


# ---- the terminal ----


def test_no_command_prints_codes_for_the_terminal(run: Path, video: Path, tmp_path: Path, say) -> None:
    (run / "overrides.json").write_text(f'["data.classes={CLEAR!r}"]'.replace("\\x1b", "\\u001b"))
    shutil.copytree(run, tmp_path / f"run{CLEAR}")
    told = say("evaluate", run)
    assert "a?[2Jb" in told
    told += say("predict", run, video)
    scores = run / "evaluation" / "train-test" / "scores.npz"
    told += say("fuse", scores, shutil.copy(scores, tmp_path / f"{CLEAR}.npz"))
    told += say("report", tmp_path, "--wandb", "off")
    told += say("prepare", "folder", "--root", shutil.copytree(video.parents[1], tmp_path / "videos"), "--workers", 1)
    assert told.replace("\n", "").isprintable()


# ---- numbers ----


def test_weights_that_are_no_numbers(run: Path, video: Path, say) -> None:
    path = run / "checkpoints" / "best.ckpt"
    content = torch.load(path, weights_only=True)
    name = next(name for name in content["state_dict"] if name.endswith("weight"))
    content["state_dict"][name][0] = float("nan")
    torch.save(content, path)
    for words in (("predict", run, video), ("evaluate", run), ("export", run, "--format", "safetensors")):
        with pytest.raises(SystemExit, match=rf"best\.ckpt: 1 of its \d+ weights are not numbers \(NaN\): {name}$"):
            say(*words)


def test_scores_that_are_no_numbers(run: Path, video: Path, say, monkeypatch) -> None:
    """Of weights that are, only too large."""
    path = run / "checkpoints" / "best.ckpt"
    content = torch.load(path, weights_only=True)
    for tensor in content["state_dict"].values():
        if tensor.is_floating_point():
            tensor.fill_(1e38)
    torch.save(content, path)
    for words in (("predict", run, video), ("evaluate", run)):
        with pytest.raises(SystemExit, match=r"scores of .*are not finite numbers"):
            say(*words)


# ---- no place to write ----


@pytest.fixture
def read_only(monkeypatch) -> Callable[[Path], None]:
    """Has nothing be written below a folder, as a file system that is mounted so would."""

    def protect(folder: Path) -> None:
        access = os.access
        allowed = lambda path, mode: access(path, mode) and not (mode & os.W_OK and Path(path).is_relative_to(folder))  # noqa: E731
        monkeypatch.setattr(os, "access", allowed)

    return protect


def test_runs_that_can_only_be_read(run: Path, tmp_path: Path, say, read_only) -> None:
    (run / "overrides.json").write_text("[]")
    sweep = tmp_path / "sweep"
    sweep.mkdir()
    run = run.rename(sweep / "run")
    read_only(sweep)
    before = sorted(sweep.rglob("*"))
    for words in (("evaluate", run), ("report", sweep), ("inspect", run)):
        with pytest.raises(SystemExit, match=r"nothing can be written there; name another folder with --out DIR"):
            say(*words)
        say(*words, "--out", tmp_path / words[0])
    with pytest.raises(SystemExit, match="name another folder with --to DIR"):
        say("export", run, "--format", "safetensors")
    assert (tmp_path / "evaluate" / "train-test" / "metrics.json").is_file()
    assert (tmp_path / "report" / "report.html").is_file()
    assert [*(tmp_path / "inspect").glob("*.png")]
    assert sorted(sweep.rglob("*")) == before


def test_videos_that_can_only_be_read(made: Path, tmp_path: Path, say, read_only) -> None:
    root = Path(shutil.copytree(made.parent / "videos", tmp_path / "videos"))
    read_only(root)
    told = say("prepare", "folder", "--root", root, "--workers", 1)
    assert "no index of them is kept" in told
    assert "6 videos" in told
    with pytest.raises(
        SystemExit, match=r"packed-256: nothing can be written there; name another folder with --packed"
    ):
        say("prepare", "folder", "--root", root, "--workers", 1, "--pack")
    with pytest.raises(SystemExit, match=r"reencoded: nothing can be written there; name another folder with --output"):
        say("prepare", "folder", "--root", root, "--workers", 1, "--reencode")
    told = say("prepare", "folder", "--root", root, "--workers", 1, "--pack", "--packed", tmp_path / "packed")
    assert "6 packed" in told
    assert len([*(tmp_path / "packed").rglob("*.frames")]) == 6
    assert {path.name for path in root.iterdir()} == {CLEAR, "other"}


def test_packing_clears_up_behind_the_dead(made: Path, tmp_path: Path, say) -> None:
    root = Path(shutil.copytree(made.parent / "videos", tmp_path / "videos"))
    process = os.fork()
    if process == 0:
        os._exit(0)
    os.waitpid(process, 0)
    name = aside_of(root / "packed-256" / "other" / "0.avi.frames", "tmp")
    left = name.with_name(name.name.replace(f".{os.getpid()}-", f".{process}-"))
    left.parent.mkdir(parents=True)
    left.touch()
    say("prepare", "folder", "--root", root, "--workers", 1, "--pack")
    assert not left.exists()


# ---- a reader that has gone ----


def test_a_reader_that_has_gone_is_no_error(monkeypatch) -> None:
    read, write = os.pipe()
    with os.fdopen(write, "w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert not nobody_reads()
        os.close(read)
        assert nobody_reads()
        with pytest.raises(BrokenPipeError), checked():
            raise BrokenPipeError(32, "Broken pipe")
    monkeypatch.undo()
    with pytest.raises(twostream.files.errors.UserError), checked():
        raise BrokenPipeError(32, "Broken pipe")  # of another pipe


@pytest.mark.slow
def test_head(tmp_path: Path) -> None:
    command = f"'{sys.executable}' -m twostream.cli info --json 2>err | true; echo ${{PIPESTATUS[0]}}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.stdout, done.stderr, (tmp_path / "err").read_text()) == ("141\n", "", "")


def test_advice_for_a_folder_without_a_configuration(tmp_path: Path, say) -> None:
    (tmp_path / "run" / ".hydra").mkdir(parents=True)
    (tmp_path / "run" / ".hydra" / "config.yaml").touch()
    with pytest.raises(SystemExit, match=r"it has no config\.yaml, which training writes$"):
        say("evaluate", tmp_path / "run")
