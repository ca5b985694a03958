"""Films: written whole or not at all, and read back picture for picture and second for second."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from twostream.data.decoding import VideoError, camera_frames, claimed_seconds, probe, timed_frames
from twostream.data.video_writer import Film


def test_a_film_is_read_back(tmp_path) -> None:
    seconds = [0, 0.04, 0.3, 0.35]
    with Film(tmp_path / "a.mp4", height=48, width=64) as film:
        for level, second in zip((20, 90, 160, 230), seconds, strict=True):
            film.write(np.full((48, 64, 3), level, np.uint8), second)
        assert not (tmp_path / "a.mp4").exists()
    frames = list(timed_frames(tmp_path / "a.mp4"))
    assert [frame.second for frame in frames] == pytest.approx(seconds, abs=1e-4)
    assert [round(float(frame.rgb.mean())) for frame in frames] == pytest.approx([20, 90, 160, 230], abs=3)
    assert probe(tmp_path / "a.mp4").codec == "h264"
    assert claimed_seconds(tmp_path / "a.mp4") == pytest.approx(0.4, abs=0.06), "how long the last is shown is open"
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_a_film_that_is_not_finished_leaves_nothing(tmp_path) -> None:
    film = Film(tmp_path / "a.mp4", height=48, width=64)
    film.write(np.zeros((48, 64, 3), np.uint8), 0)
    film.__exit__(KeyError, KeyError(), None)
    assert list(tmp_path.iterdir()) == []


def test_times_of_real_files(real_data) -> None:
    hard = real_data / "hard"
    assert [frame.second for frame in timed_frames(hard / "derived" / "one_frame.avi")] == [0]
    cfr = [frame.second for frame in timed_frames(hard / "derived" / "five_frames.avi")]
    assert cfr == pytest.approx(np.arange(5) * 1001 / 30000, abs=1e-4)
    vfr = np.diff([frame.second for frame in timed_frames(hard / "derived" / "vfr.mp4")])
    assert vfr.min() > 0
    assert vfr.max() > 1.5 * vfr.min()
    assert next(iter(timed_frames(hard / "derived" / "rotate90_flag.mp4"))).rgb.shape == (320, 240, 3)
    with pytest.raises(VideoError, match="is empty"):
        list(timed_frames(hard / "derived" / "zero_byte.avi"))


class Camera:
    """Three pictures, blue as OpenCV has it, and then no more."""

    left = 3

    def __init__(self, index: int) -> None:
        self.index = index

    def isOpened(self) -> bool:  # noqa: N802
        return self.index == 0

    def read(self):
        self.left -= 1
        return self.left >= 0, np.tile(np.uint8([255, 0, 0]), (4, 6, 1))

    def release(self) -> None:
        pass


def test_a_camera(monkeypatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    frames = list(camera_frames(0))
    assert len(frames) == 3
    assert frames[0].second == 0
    assert frames[0].rgb[0, 0].tolist() == [0, 0, 255]
    with pytest.raises(VideoError, match="camera 7: cannot be opened"):
        next(camera_frames(7))


def test_no_camera(capfd) -> None:
    with pytest.raises(VideoError, match="camera 97: cannot be opened"):
        next(camera_frames(97))
    assert capfd.readouterr().err == ""
