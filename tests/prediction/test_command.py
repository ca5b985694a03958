"""`twostream predict` and `twostream inspect`: their files, read back."""

from __future__ import annotations

import csv
import json
import signal
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.image import imread

from twostream.cli import main
from twostream.cli.predict import find_videos
from twostream.data.decoding import probe, timed_frames
from twostream.prediction.predictor import Predictor


@pytest.fixture
def command(monkeypatch):
    def run(*arguments) -> None:
        monkeypatch.setattr(sys, "argv", ["twostream", *map(str, arguments)])
        main()

    return run


@pytest.mark.long
def test_all_files_of_a_video(command, run, video, tmp_path, capsys) -> None:
    files = {name: tmp_path / f"out.{name}" for name in ("json", "csv", "mp4", "png")}
    command("predict", run, video, "--json", files["json"], "--csv", files["csv"], "--video", files["mp4"],
            "--sheet", files["png"], "--top", 2, "--device", "cpu")  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in files.values())
    content = json.loads(files["json"].read_text())
    assert content["classes"] == ["jump", "run", "wave"]
    [one] = content["videos"]
    assert (one["frames"], len(one["top"]), len(one["windows"])) == (24, 2, 4)
    assert sum(one["scores"]) == pytest.approx(1, abs=1e-5)
    assert one["windows"][3]["from_second"] == pytest.approx(1.4)
    rows = list(csv.DictReader(files["csv"].open()))
    assert [row["window"] for row in rows] == ["all", "0", "1", "2", "3"]
    assert [float(rows[0][name]) for name in content["classes"]] == one["scores"]
    assert [float(rows[2][name]) for name in content["classes"]] == one["windows"][1]["scores"]
    assert rows[0]["top"] == one["top"][0]["class"]
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].endswith("right.mp4: 24 frames, 2.3 s, 4 windows")
    assert printed[1].split()[:2] == [one["top"][0]["class"], f"{one['top'][0]['score']:.3f}"]
    assert printed[3].startswith("  not sure: is this the kind of video it was trained on?")  # it is untrained
    assert len(printed) == 4
    assert imread(files["png"]).shape[2] == 4


def test_the_film(command, run, video, tmp_path) -> None:
    """All frames at their times: 3 × 2 cells of 320 × 240 pixels; flow to the right is red."""
    command("predict", run, video, "--video", tmp_path / "out.mp4", "--device", "cpu")
    facts, frames = probe(tmp_path / "out.mp4"), list(timed_frames(tmp_path / "out.mp4"))
    assert facts.codec == "h264"
    assert (facts.width, facts.height) == (8 + 3 * 328, 34 + 2 * 272 + 110 + 8)
    assert [frame.second for frame in frames] == pytest.approx(np.arange(24) / 10, abs=1e-3)
    later = frames[12].rgb
    top, left = 34 + 24, 8 + 328
    assert np.median(later[top : top + 240, left : left + 320], axis=(0, 1)) == pytest.approx([255, 0, 0], abs=40)
    assert np.median(frames[0].rgb[top : top + 240, left : left + 320], axis=(0, 1)) == pytest.approx([255] * 3, abs=6)
    original = list(timed_frames(video))[12].rgb
    shown = cv2.resize(later[top : top + 240, 8 : 8 + 320], (96, 72), interpolation=cv2.INTER_AREA)
    assert np.abs(shown.astype(float) - original).mean() < 12


@pytest.mark.parametrize("overrides", [("streams=flow",), ("streams=rgb",), ("fusion=sum", "layer=softmax")], ids=str)
def test_films_and_sheets_of_other_networks(command, make_run, make_video, tmp_path, overrides) -> None:
    path = make_video(tmp_path / "a.mp4", 1, height=96, width=48)
    command("predict", make_run(*overrides), path, "--video", tmp_path / "o.mp4", "--sheet", tmp_path / "o.png")
    assert len(list(timed_frames(tmp_path / "o.mp4"))) == 1
    assert (tmp_path / "o.png").stat().st_size > 10_000


def test_a_folder(command, run, make_video, tmp_path, capsys) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    (folder / "sub").mkdir(parents=True)
    make_video(folder / "b.mp4", 3)
    make_video(folder / "sub" / "a.mp4", 3)
    (folder / "broken.avi").write_bytes(b"")
    (folder / "notes.txt").write_text("no video")
    with pytest.raises(SystemExit) as stopped:
        command("predict", run, folder, "--json", tmp_path / "o.json", "--sheet", out, "--video", out)
    assert stopped.value.code == "1 of 3 videos could not be read"
    content = json.loads((tmp_path / "o.json").read_text())
    assert [one["video"] for one in content["videos"]] == [str(folder / "b.mp4"), str(folder / "sub" / "a.mp4")]
    assert content["failed"] == {str(folder / "broken.avi"): "is empty"}
    assert f"error: {folder / 'broken.avi'}: is empty" in capsys.readouterr().err
    found = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.*"))
    assert found == ["b.mp4.mp4", "b.mp4.png", "sub/a.mp4.mp4", "sub/a.mp4.png"]


def test_what_prepare_leaves_is_neither_foreign_nor_a_video(tmp_path: Path, capsys) -> None:
    for name in ("a.mp4", "index.sqlite", "notes.txt", "packed-256/a.mp4.frames", "reencoded/a.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list(find_videos(str(tmp_path))) == ["a.mp4"]
    assert capsys.readouterr().err.strip().endswith(": 1 file has no suffix of a video and is left out: notes.txt")


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_is_done_when_a_folder_is_interrupted(error, command, run, make_video, tmp_path, monkeypatch) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        make_video(tmp_path / "in" / f"{name}.mp4", 3)
    predict = Predictor.predict

    def fails(self, video, **options):
        if str(video).endswith("b.mp4"):
            raise error
        return predict(self, video, **options)

    monkeypatch.setattr(Predictor, "predict", fails)
    with pytest.raises((error, SystemExit)):
        command("predict", run, tmp_path / "in", "--json", tmp_path / "o.json", "--csv", tmp_path / "o.csv")
    [one] = json.loads((tmp_path / "o.json").read_text())["videos"]
    assert one["video"] == str(tmp_path / "in" / "a.mp4")
    assert {row["video"] for row in csv.DictReader((tmp_path / "o.csv").open())} == {one["video"]}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "o.csv", "o.json"]


def test_wrong_input_is_one_line(command, run, video, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        ((tmp_path / "none", video), "none: no such folder"),
        ((run, tmp_path / "gone.mp4"), r"gone\.mp4: cannot be opened"),
        ((run, tmp_path / "empty"), "empty: holds no videos"),
        ((run, "97"), "camera 97: cannot be opened"),
        ((run, video, "--window", "-1"), "--window -1: must be a number above 0"),
        ((run, video, "--window", "inf"), "--window inf: must be a number above 0"),
        ((run, video, "--stride", "inf"), "--stride inf: must be a number above 0"),
        ((run, video, "--limit", "-1"), "--limit -1: must be a number above 0"),
        ((run, video, "--limit", "nan"), "--limit nan: must be a number above 0"),
        ((run, video, "--json", tmp_path / "no" / "o.json"), "its folder does not exist"),
    ):
        with pytest.raises(SystemExit, match=f"^error: .*{message}"):
            command("predict", *arguments)


class Camera:
    """A picture that moves, until Ctrl-C."""

    def __init__(self, index: int) -> None:
        self.count = 0
        self.picture = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def read(self):
        self.count += 1
        if self.count == 13:
            signal.raise_signal(signal.SIGINT)
        assert self.count < 16, "was not stopped"
        return True, np.roll(self.picture, self.count, axis=1)

    def release(self) -> None:
        pass


def test_a_camera_until_ctrl_c(command, run, monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    before = signal.getsignal(signal.SIGINT)
    command("predict", run, "0", "--json", tmp_path / "o.json", "--device", "cpu")
    [one] = json.loads((tmp_path / "o.json").read_text())["videos"]
    assert (one["video"], one["frames"], len(one["windows"])) == ("camera 0", 13, 2)
    assert capsys.readouterr().out.startswith("camera 0: 13 frames")
    assert signal.getsignal(signal.SIGINT) is before


def test_inspect(command, run, video, make_run, capsys) -> None:
    command("inspect", run, video)
    names = ["rgb_filters.png", "flow_filters.png", "fusion_fusions.conv5.png", "grad_cam.png"]
    assert capsys.readouterr().out.split() == [str(run / "inspection" / name) for name in names]
    assert all((run / "inspection" / name).stat().st_size > 5_000 for name in names)
    other = make_run("temporal=conv3d")
    command("inspect", other)
    names = ["flow_filters.png", "fusion_rgb.temporal.conv5.png", "over_time.png", "rgb_filters.png"]
    assert sorted(path.name for path in (other / "inspection").iterdir()) == names


@pytest.mark.long
def test_inspect_shows_pictures_in_wandb(command, make_run, monkeypatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    folder = make_run("streams=flow")
    command("inspect", folder, "--wandb")
    assert list((folder / "inspection" / "wandb").rglob("flow_filters*.png"))
