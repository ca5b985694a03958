"""Predictions are what the network says of the same clip when it is tested; windows and times by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import twostream
from twostream.config.loaded import load_run
from twostream.config.view import build_view
from twostream.data.dataset import ClipDataset, collate
from twostream.data.decoding import VideoError
from twostream.data.frames import Decoded
from twostream.data.sources import Video
from twostream.prediction import Observer, Predictor
from twostream.prediction.output import table
from twostream.prediction.predictor import Prediction


class Watch(Observer):
    """Keeps all that it is shown."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.looks = []
        self.ended = False

    def frame(self, step) -> None:
        self.seconds.append(step.second)

    def window(self, window, seen) -> None:
        self.looks.append((window, seen))

    def end(self) -> None:
        self.ended = True


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("streams=flow",),
        ("streams=rgb",),
        ("fusion=sum", "layer=softmax"),
        ("transform=paper", "transform.size=48"),
    ],
    ids=str,
)
def test_a_short_video_is_one_clip_of_a_test(make_run, make_video, tmp_path, overrides) -> None:
    run = load_run(make_run(*overrides))
    path = make_video(tmp_path / "a.mp4", 9)
    data = ClipDataset([Video("a", path, 0, "a")], frame_source=Decoded("pyav"), **build_view(run.cfg)._asdict())
    clip = collate([data[0, 0]])
    assert clip is not None
    with torch.no_grad():
        expected = run.system(clip)[1][0].softmax(0).numpy()
    found = Predictor(run, device="cpu").predict(path)
    assert found.num_frames == 9
    assert found.scores.shape == (1, 3)
    assert found.scores[0] == pytest.approx(expected, abs=1e-6)
    assert found.overall == pytest.approx(expected, abs=1e-6)
    assert found.seconds.tolist() == [[0, pytest.approx(0.8)]]


@pytest.mark.parametrize(("frames", "height"), [(8, 72), (10, 72), (9, 96)], ids=["shorter", "longer", "higher"])
def test_a_second_file_that_does_not_go_with_the_video_is_refused_as_in_training(
    make_run, make_video, tmp_path, frames: int, height: int
) -> None:
    run = load_run(make_run("streams=[rgb,depth]"))
    path, depth = make_video(tmp_path / "a.mp4", 9), make_video(tmp_path / "depth.mp4", frames, height=height)
    videos = [Video("a", path, 0, "a", {"depth": depth})]
    data = ClipDataset(videos, frame_source=Decoded("pyav"), **build_view(run.cfg)._asdict())
    told = r"depth\.mp4: has (\d+ frames, and .*a\.mp4 has 9|frames of 96×96)"
    with pytest.raises(VideoError, match=told) as trained:
        data[0, 0]
    with pytest.raises(VideoError) as predicted:
        Predictor(run, device="cpu").predict(path, files={"depth": depth})
    assert f"{predicted.value}; broken=skip leaves out such videos" == str(trained.value)


def test_windows_and_the_whole(run, video) -> None:
    """One stride of 4 and a stack of 5 + 1 frames: windows of 10 frames, every 5."""
    watch, predictor = Watch(), twostream.load(run, device="cpu")
    found = predictor.predict(video, observers=[watch])
    assert found.seconds == pytest.approx(np.array([[0, 9], [5, 14], [10, 19], [14, 23]]) / 10)
    assert watch.ended
    assert watch.seconds == pytest.approx(np.arange(24) / 10, abs=1e-4)
    heads = torch.from_numpy(np.mean([seen.heads for _, seen in watch.looks], axis=0))[:, None]
    assert found.overall == pytest.approx(predictor.network.combine(heads)[0].softmax(0).numpy(), abs=1e-6)
    assert [name for name, _ in found.top(2)] == [predictor.classes[k] for k in np.argsort(-found.overall)[:2]]
    plain = predictor.predict(video)
    assert plain.scores == pytest.approx(found.scores, abs=1e-6), "with and without Grad-CAM"
    window, seen = watch.looks[1]
    assert window.shown.tolist() == [7, 11]
    assert {name: map_.shape[0] for name, map_ in seen.maps.items()} == {"rgb": 2, "flow": 2, "fused": 2}
    moving = np.median(window.streams[1][:, 0::2]) * 20 / 127  # 2 pixels of 72 are 1.8 of 64
    assert moving == pytest.approx(2 * 64 / 72, abs=0.1)


def test_window_and_stride_in_seconds(run, video) -> None:
    predictor = twostream.load(run, device="cpu")
    found = predictor.predict(video, window=1.2, stride=0.3, limit=1.75)
    assert found.num_frames == 18
    assert found.seconds == pytest.approx(np.array([[0, 11], [3, 14], [6, 17]]) / 10)
    for wrong in ({"window": 0.0}, {"window": 1.0, "stride": 2.0}, {"stride": -1.0}):
        with pytest.raises(ValueError, match=r"(window|stride)=-?\d"):
            predictor.predict(video, **wrong)


def test_it_can_be_stopped(run, video) -> None:
    watch = Watch()
    found = twostream.load(run, device="cpu").predict(video, stop=lambda: len(watch.seconds) == 12, observers=[watch])
    assert found.num_frames == 12
    assert found.seconds == pytest.approx(np.array([[0, 9], [2, 11]]) / 10)


def test_clips_that_are_hard(run, real_data) -> None:
    predictor = twostream.load(run, device="cpu")
    derived = real_data / "hard" / "derived"
    for name in ("one_frame.avi", "five_frames.avi", "odd_size_321x241.avi", "rotate90_flag.mp4", "vfr.mp4"):
        found = predictor.predict(derived / name, limit=0.5)
        assert found.scores.sum(1) == pytest.approx(1)
    assert np.isfinite(predictor.predict(derived / "one_frame.avi").overall).all()
    for name in ("zero_byte.avi", "not_a_video.avi", "audio_only_no_video.avi", "gone.avi"):
        with pytest.raises(VideoError, match=name):
            predictor.predict(derived / name)


def test_frames_that_are_too_small(run, make_video, tmp_path) -> None:
    path = make_video(tmp_path / "small.mp4", 3, height=12, width=24)
    with pytest.raises(VideoError, match=r"small\.mp4: frames of 12x24: optical flow needs at least 16 pixels"):
        twostream.load(run, device="cpu").predict(path)


def test_wrong_input(run) -> None:
    with pytest.raises(ValueError, match="device='tpu': choose from auto, cpu, cuda"):
        twostream.load(run, device="tpu")
    with pytest.raises(ValueError, match="no such folder"):
        twostream.load(run / "none")
    with pytest.raises(VideoError, match="camera 97: cannot be opened"):
        twostream.load(run, device="cpu").predict(97)


def test_near_chance_is_one_line_of_the_table() -> None:
    """Three classes: unsure while no window has any above 1/3 + 2/30 = 0.4; several labels never are."""
    flat, sure = (
        np.float32([[0.39, 0.31, 0.30], [0.3, 0.3, 0.4 - 1e-3]]),
        np.float32([[0.39, 0.31, 0.30], [0.41, 0.3, 0.29]]),
    )

    def prediction(scores, thresholds=None):
        seconds = np.float32([[0, 1], [1, 2]])
        return Prediction("a.mp4", ("jump", "run", "wave"), 20, seconds, scores, scores.mean(0), thresholds)

    line = "  not sure: is this the kind of video it was trained on? (best score of all windows 0.399, chance 0.333)"
    assert table(prediction(flat)).splitlines()[-1] == line
    assert not prediction(sure).unsure
    assert "not sure" not in table(prediction(sure))
    assert not prediction(flat, np.array([0.5, 0.5, 0.5])).unsure
