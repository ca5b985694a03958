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
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

import twostream.cli.demo as typed
from twostream.data.decoding import timed_frames
from twostream.files.errors import UserError
from twostream.prediction import demo
from twostream.prediction.demo import Limits, described, make_server, serve
from twostream.prediction.predictor import load

PARTS = ("facts", "classes", "chart", "legend", "picture", "film", "table")
LIMITS = Limits(top=2, seconds=30, megabytes=1)


class Served:
    """A page that answers in a thread, in this process."""

    def __init__(self, folder: Path, *runs: Path, limits: Limits = LIMITS) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.shown = {run.parent.name: load(run, device="cpu") for run in runs}
        self.server = make_server(self.shown, limits, folder=folder)
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


@pytest.mark.long
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


@pytest.mark.long
def test_two_videos_at_once_do_not_mix(page, video, make_video, tmp_path) -> None:
    """Each gets what its networks say of it alone."""
    other = make_video(tmp_path / "other.mp4", 13, motion=-3)
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(page.look, [video, other]))
    for path, frames, (said, networks) in zip((video, other), ("24 frames", "13 frames"), answers, strict=True):
        assert said.startswith(f"{path.name}: ")
        for answer, network in zip(networks, page.shown.values(), strict=True):
            scores = network.predict(path).scores
            k = network.classes.index(answer.classes["label"])
            assert answer.facts.startswith(frames)
            assert [row[2] for row in answer.table["data"]] == [f"{score:.2f}" for score in scores[:, k]]
            shown = [row[1] for row in answer.chart["value"]["data"]]
            assert shown[: len(scores)] == pytest.approx(scores[:, k].tolist(), abs=1e-6)


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
    with pytest.raises(Exception, match=r"413|exceed|large"):
        page.look(tmp_path / "a.mp4")


def test_what_the_browser_may_fetch_and_what_is_not_asked(page) -> None:
    """From this server alone, in fonts of the system; nothing is reported to anybody, nor kept by the browser."""
    with urllib.request.urlopen(page.url) as answer:
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'self' ")
        text = answer.read().decode()
    config = page.client().config
    assert (config["analytics_enabled"], config["run_history"], config["footer_links"]) == (False, False, [])
    with urllib.request.urlopen(f"{page.url}/theme.css") as answer:
        style = answer.read().decode()
    assert "@font-face" not in style
    assert not re.search(r'(?:src|href)="(?:https?:)?//', text)


@pytest.mark.long
def test_what_was_drawn_and_uploaded_is_deleted(make_run, video, tmp_path, monkeypatch) -> None:
    """After its time, while the page goes on; what is drawn goes at once, but for what the browser shows.

    Of a run of several labels, and of the first second alone.
    """
    monkeypatch.setattr(demo, "SWEEP", 1)
    run = make_run("data=folder", "data.root=.", "data.labels=multi", "sampling=chunks", "weights=null")
    served = Served(tmp_path / "page", run, limits=Limits(top=3, seconds=1.0, megabytes=1))
    try:
        _, [answer] = served.look(video)
        assert {path.name for path in served.folder.iterdir()} <= {"kept", "got"}
        monkeypatch.setattr(demo, "KEPT", 0)
        end = time.monotonic() + 60
        while left := [path for path in (served.folder / "kept").rglob("*") if path.is_file()]:
            assert time.monotonic() < end, left
            time.sleep(0.1)
    finally:
        served.stop()
    first, cut, above = answer.facts.splitlines()
    assert (first, cut) == ("11 frames, 1.0 s, 1 window", "only its first 1 s")
    assert above.startswith("above its threshold: ")
    assert answer.table["headers"][1] == "above threshold"


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ((), "rgb + flow; 3 classes"),
        (
            ("fusion=sum", "layer=softmax"),
            "rgb + flow; 3 classes; its streams meet behind their last maps",
        ),
        (("streams=rgb",), "rgb; 3 classes; one stream, so no fused map; no flow"),
    ],
    ids=str,
)
def test_what_a_network_sees(make_run, overrides, says) -> None:
    assert described(load(make_run(*overrides), device="cpu")).startswith(says)


def test_a_network_that_sees_other_files_is_refused_in_one_line(make_run) -> None:
    run = make_run("streams=[rgb,depth]")
    with pytest.raises(ValueError, match=r"sees depth beside the video, .* twostream predict .* --stream depth=PATH"):
        serve({"run": load(run, device="cpu")}, socket.socket(), LIMITS)


@pytest.mark.long
def test_the_command(run, tmp_path) -> None:
    """It says where the page is, and ends with a line on Ctrl-C, also while a browser is there; no file is left."""
    (tmp_path / "tmp").mkdir()
    words = [sys.executable, "-m", "twostream.cli", "demo", run, "--port", "0", "--device", "cpu"]
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"loading {run} …\n"
        address = process.stdout.readline()
        assert address.endswith("  (Ctrl-C ends it)\n")
        with urllib.request.urlopen(address.split()[0] + "/gradio_api/heartbeat/abc", timeout=200):  # an open page
            process.send_signal(signal.SIGINT)
            out, errors = process.communicate(timeout=200)
    assert (process.returncode, out, errors) == (0, "ended; uploads are deleted\n", "")
    assert not list((tmp_path / "tmp").glob("twostream-demo-*"))


def test_the_options_that_the_docs_name() -> None:
    """Each of them, with its default."""
    text = (Path(__file__).parents[2] / "docs" / "demo.md").read_text()
    rows = re.findall(r"^\| `--([\w-]+) [A-Z]+` \| (\S+) \|", text, re.M)
    options = vars(typed.read_options(["RUN_DIR"]))
    left = {name: "none" if value in (None, []) else str(value) for name, value in options.items()}
    assert {name.replace("-", "_"): value for name, value in rows} | {"run": "RUN_DIR", "second": "none"} == left
    assert (demo.KEPT, demo.WAITING) == (3600, 20)
    assert "at most 20 wait" in " ".join(text.split())
    assert "deleted an hour after" in " ".join(text.split())


def test_without_gradio_the_error_names_the_extra(run, monkeypatch) -> None:
    monkeypatch.setattr(typed.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"^twostream demo needs gradio, .*\[demo\]"):
        typed.demo([str(run)])


def test_a_port_that_is_taken(run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=rf"^--host 127.0.0.1 --port {port}: cannot be opened \([^()]*\); --port 0"):
            typed.demo([str(run), "--port", str(port)])


def test_an_address_of_another_machine() -> None:
    """Says why it cannot be opened, once; another port would not help."""
    with pytest.raises(ValueError, match=r"^--host 192\.0\.2\.1 --port 7860: cannot be opened \([^()]*\)$"):
        typed.listen("192.0.2.1", 7860)
