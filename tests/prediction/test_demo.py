"""`twostream demo`: its page, asked as a browser asks it, through its own server."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from twostream.data.decoding import timed_frames
from twostream.files.errors import UserError
from twostream.prediction.demo import Limits, make_server, serve
from twostream.prediction.predictor import load

PARTS = ("facts", "classes", "chart", "picture", "film", "table")


class Served:
    """A page that answers in a thread, in this process."""

    def __init__(self, folder: Path, *runs: Path, limits: Limits | None = None) -> None:
        self.folder = folder
        self.shown = {run.parent.name: load(run, device="cpu") for run in runs}
        self.server = make_server(self.shown, limits or Limits(top=2, seconds=30, megabytes=1), folder=folder)
        listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [listener]})
        self.thread.start()

    def client(self) -> Client:
        return Client(self.url, verbose=False, analytics_enabled=False, download_files=str(self.folder / "got"))

    def look(self, video: Path, *, film: bool = False) -> tuple[str, list[Any]]:
        """(the line about the video, what each network says)"""
        said, *parts = self.client().predict(handle_file(video), film, api_name="/look")
        size = len(PARTS)
        return said, [
            SimpleNamespace(**dict(zip(PARTS, parts[place : place + size], strict=True)))
            for place in range(0, len(parts), size)
        ]

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join()


@pytest.fixture(scope="module")
def flow_run(make_run) -> Path:
    return make_run("streams=flow")


@pytest.fixture(scope="module")
def page(run, flow_run, tmp_path_factory) -> Iterator[Served]:
    served = Served(tmp_path_factory.mktemp("page"), run, flow_run)
    yield served
    served.stop()


def test_each_network_says_what_predict_says(page, run, flow_run, video) -> None:
    said, answers = page.look(video, film=True)
    assert re.fullmatch(r"right\.mp4: \d+\.\d s", said)
    for folder, answer in zip((run, flow_run), answers, strict=True):
        prediction = load(folder, device="cpu").predict(video)
        shown = [(one["label"], one["confidence"]) for one in answer.classes["confidences"]]
        assert shown == [(name, pytest.approx(score, abs=1e-6)) for name, score in prediction.top(2)]
        assert answer.facts.splitlines()[0] == "24 frames, 2.3 s, 4 windows"
        rows = answer.chart["value"]["data"]
        best_class = [score for _, score, name in rows if name == shown[0][0]]
        k = prediction.classes.index(shown[0][0])
        assert best_class == pytest.approx(prediction.scores[:, k].tolist(), abs=1e-6)
        assert [time for time, *_ in rows[:4]] == pytest.approx(prediction.seconds.mean(1).tolist(), abs=1e-6)
        assert answer.table["headers"] == ["seconds", "best", *(name for name, _ in prediction.top(2))]
        assert answer.table["data"][1][:2] == ["0.5 – 1.4", prediction.classes[prediction.scores[1].argmax()]]
        assert len(list(timed_frames(answer.film["value"]))) == 24
        with Image.open(answer.picture) as picture:
            assert picture.width > 500
        assert np.ptp(np.asarray(Image.open(answer.picture))[..., :3]) > 200


def test_two_videos_at_once_do_not_mix(page, video, make_video, tmp_path) -> None:
    """Each gets what it gets alone: lengths and scores of its own."""
    other = make_video(tmp_path / "other.mp4", 13, motion=-3)
    alone = {path: outcome(page.look(path)) for path in (video, other)}
    assert alone[video] != alone[other]
    with ThreadPoolExecutor(4) as pool:
        for path, answer in zip([video, other] * 2, pool.map(page.look, [video, other] * 2), strict=True):
            assert outcome(answer) == alone[path]


def outcome(answer: tuple[str, list[Any]]) -> list[Any]:
    said, networks = answer
    return [said.partition(":")[0], *((one.facts, one.classes, one.table) for one in networks)]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("broken.mp4", b"no video" * 100, "broken.mp4: cannot be opened"),
        ("notes.txt", b"words", "Invalid file type"),
        ("b&b.mp4", b"", "b&amp;b.mp4: "),
    ],
)
def test_what_is_no_video_is_said_in_one_line(page, tmp_path, name, content, says) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(AppError) as error:
        page.look(tmp_path / name)
    assert str(error.value).startswith(says)
    assert "Traceback" not in str(error.value)
    assert "\n" not in str(error.value)
    assert str(page.folder) not in str(error.value)


def test_no_video_yet(page) -> None:
    with pytest.raises(AppError, match="there is no video yet"):
        page.client().predict(None, False, api_name="/look")


def test_a_file_that_is_too_large(page, tmp_path) -> None:
    (tmp_path / "a.mp4").write_bytes(bytes(1_100_000))
    with pytest.raises(Exception, match="413|exceed|large"):
        page.look(tmp_path / "a.mp4")


def test_nothing_of_a_video_stays(page, video) -> None:
    """Files in use are in a folder that goes at the end; of those that are drawn, only what a browser still shows."""
    page.look(video)
    assert {path.name for path in page.folder.iterdir()} <= {"kept", "got"}


def test_only_the_first_seconds(make_run, video, tmp_path) -> None:
    """Of a run of several labels: what is above its threshold is said, too."""
    served = Served(tmp_path, make_run("data.labels=multi"), limits=Limits(top=3, seconds=1.0, megabytes=1))
    try:
        _, [answer] = served.look(video)
    finally:
        served.stop()
    first, cut, above = answer.facts.splitlines()
    assert (first, cut) == ("11 frames, 1.0 s, 2 windows", "only the first 1 seconds of it")
    assert above.startswith("above its threshold: ")
    assert answer.table["headers"][1] == "above threshold"
