"""Filling a store in several processes: stopped anywhere and continued, it is the store of an undisturbed run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from twostream.data.container import Container, ContainerError
from twostream.data.extract import extract
from twostream.data.flow import DIS
from twostream.data.flow_store import make_store, store_clip
from twostream.data.sources import Video
from twostream.data.synthetic import MovingPatterns

CLIPS = 48


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def source(cache) -> MovingPatterns:
    return MovingPatterns(cache, split=1, train_clips=CLIPS, test_clips=16)


def files_of(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_broken_videos_are_named_and_stop_no_other(source, tmp_path: Path, capsys) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"")
    flow = DIS(preset="ultrafast")
    make_store(tmp_path / "store", flow)
    videos = [*source.train[:3], Video(id="a/broken.mp4", path=broken, label=0, group="x")]
    assert not extract(videos, flow, tmp_path / "store", decoder="decord", workers=2)
    out = capsys.readouterr().out
    assert "a/broken.mp4: VideoError" in out
    assert "is empty" in out
    assert "3 videos computed (33 fields" in out
    assert extract(source.train[:3], flow, tmp_path / "store", decoder="decord", workers=2)
    assert "3 videos, 3 of them in" in capsys.readouterr().out


def command(root: Path, cache: Path) -> tuple[list[str], dict[str, str]]:
    overrides = [f"data.train_clips={CLIPS}", "data.test_clips=16", "flow.preset=medium"]
    call = [sys.executable, "-m", "twostream.cli", "flow", *overrides, "--store", str(root), "--workers", "2"]
    return call, {**os.environ, "TWOSTREAM_CACHE": str(cache), "OMP_NUM_THREADS": "1"}


def finish(root: Path, cache: Path) -> str:
    call, environment = command(root, cache)
    done = subprocess.run(call, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def interrupt(root: Path, cache: Path, after: int) -> None:
    """Kill the command and all of its processes when `after` videos are stored; what is there is whole."""
    call, environment = command(root, cache)
    running = subprocess.Popen(call, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while len(list(root.rglob("*.flow"))) < after and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    for path in root.rglob("*.flow"):
        assert len(Container(path)) == 11
    for path in root.rglob("*.tmp"):
        with pytest.raises(ContainerError):
            Container(path)


@pytest.mark.parametrize("kills", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_a_store_that_was_killed_and_continued_equals_an_undisturbed_one(kills: int, source, cache, tmp_path) -> None:
    random.seed(kills)
    for after in sorted(random.sample(range(1, CLIPS), kills)):
        interrupt(tmp_path / "killed", cache, after)
    finish(tmp_path / "killed", cache)
    flow = DIS(preset="medium")
    make_store(tmp_path / "whole", flow)
    for video in (*source.train, *source.test):
        store_clip(tmp_path / "whole", video, flow)
    killed, whole = files_of(tmp_path / "killed"), files_of(tmp_path / "whole")
    assert len(whole) == CLIPS + 16 + 1
    left_over = {name for name in killed if name.endswith((".tmp", ".claim"))}
    assert {name: data for name, data in killed.items() if name not in left_over} == whole
    assert not {name for name in left_over if name.endswith(".claim")}


@pytest.mark.slow
def test_two_commands_on_one_store_share_the_work(source, cache, tmp_path: Path) -> None:
    call, environment = command(tmp_path / "store", cache)
    both = [subprocess.Popen(call, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = [process.communicate(timeout=240)[0] for process in both]
    computed = [int(line.split()[0]) for text in printed for line in text.splitlines() if "videos computed" in line]
    assert sum(computed) == CLIPS + 16
    assert len(list((tmp_path / "store").rglob("*.flow"))) == CLIPS + 16
