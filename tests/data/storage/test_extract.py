"""Filling a store in several processes: stopped anywhere and continued, it is the store of an undisturbed run."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from flow_stores import store_clip
from warm import Warm

from twostream.data.flow import DIS
from twostream.data.sources import Video
from twostream.data.sources.moving_patterns import MovingPatterns
from twostream.data.storage import extract as extract_file
from twostream.data.storage.container import Container, ContainerError
from twostream.data.storage.extract import extract
from twostream.data.storage.flow_store import Claim, clip_path, make_store, writer
from twostream.data.tasks import Outcome

CLIPS = 48


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def source(cache) -> MovingPatterns:
    return MovingPatterns(cache, split=1, train_clips=CLIPS, test_clips=16)


def files_of(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.long
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


def command(root: Path, cache: Path, *, workers: int = 2) -> tuple[list[str], dict[str, str]]:
    overrides = [f"data.train_clips={CLIPS}", "data.test_clips=16", "flow.preset=medium"]
    call = [sys.executable, "-m", "twostream.cli", "flow", *overrides, "--store", str(root), "--workers", str(workers)]
    return call, {**os.environ, "TWOSTREAM_CACHE": str(cache), "OMP_NUM_THREADS": "1"}


def finish(root: Path, cache: Path, warm: Warm) -> str:
    call, environment = command(root, cache, workers=1)
    done = warm.run(call[1:], cwd=Path.cwd(), env=environment, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def children(process: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def interrupt(root: Path, cache: Path, after: int, *, alone: bool) -> None:
    """Kill the command, alone or with its processes, when `after` videos are stored; what is there is whole."""
    call, environment = command(root, cache)
    running = subprocess.Popen(call, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 300
    while len(list(root.rglob("*.flow"))) < after and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(random.uniform(0, 0.1))
    workers = children(running.pid) if alone and Path("/proc/self/stat").exists() else []
    (os.kill if alone else os.killpg)(running.pid, signal.SIGKILL)
    running.wait()
    left = time.monotonic() + 60
    while any(map(alive, workers)) and time.monotonic() < left:
        time.sleep(0.05)
    assert not [worker for worker in workers if alive(worker)], "processes of a killed command end"
    for path in root.rglob("*.flow"):
        assert len(Container(path)) == 11
    for path in root.rglob("*.tmp"):
        with pytest.raises(ContainerError):
            Container(path)


@pytest.mark.long
@pytest.mark.parametrize("kills", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_a_store_that_was_killed_and_continued_equals_an_undisturbed_one(
    kills: int, source, cache, warm, tmp_path
) -> None:
    random.seed(kills)
    for turn, after in enumerate(sorted(random.sample(range(1, CLIPS), kills))):
        interrupt(tmp_path / "killed", cache, after, alone=turn % 2 == 0)
    finish(tmp_path / "killed", cache, warm)
    flow = DIS(preset="medium")
    make_store(tmp_path / "whole", flow)
    for video in (*source.train, *source.test):
        store_clip(tmp_path / "whole", video, flow)
    killed, whole = files_of(tmp_path / "killed"), files_of(tmp_path / "whole")
    assert len(whole) == CLIPS + 16 + 1
    assert killed == whole, "the same files, and nothing left over"


@pytest.mark.slow
def test_two_commands_on_one_store_share_the_work(source, cache, tmp_path: Path) -> None:
    call, environment = command(tmp_path / "store", cache)
    both = [subprocess.Popen(call, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = [process.communicate(timeout=240)[0] for process in both]
    computed = [int(line.split()[0]) for text in printed for line in text.splitlines() if " computed (" in line]
    assert sum(computed) == CLIPS + 16
    assert len(list((tmp_path / "store").rglob("*.flow"))) == CLIPS + 16


def test_what_is_done_is_said_when_it_is_stopped(source, tmp_path: Path, capsys, monkeypatch) -> None:
    flow, root = DIS(preset="ultrafast"), tmp_path / "store"
    make_store(root, flow)

    def stopped(task, videos, **_) -> Iterator[Outcome]:
        yield Outcome(videos[0], task(videos[0]))
        raise KeyboardInterrupt

    monkeypatch.setattr(extract_file, "run_tasks", stopped)
    with pytest.raises(KeyboardInterrupt):
        extract(source.train[:3], flow, root, decoder="pyav", workers=1)
    assert capsys.readouterr().out.splitlines()[-1].startswith("1 video computed (11 fields")


@pytest.mark.long
def test_a_clip_of_another_process_is_waited_for_and_taken_over(source, tmp_path: Path, capsys, monkeypatch) -> None:
    flow, root = DIS(preset="ultrafast"), tmp_path / "store"
    make_store(root, flow)
    claim = Claim(clip_path(root, source.train[0]))
    assert claim.take()

    def release_while_it_waits(seconds: float) -> None:
        claim.release()
        time.sleep(seconds)

    monkeypatch.setattr(
        extract_file, "time", SimpleNamespace(sleep=release_while_it_waits, perf_counter=time.perf_counter)
    )
    assert extract(source.train[:2], flow, root, decoder="decord", workers=1)
    out = capsys.readouterr().out
    assert "waiting for 1 video that another process is about" in out
    assert "2 videos computed" in out


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 150 KB in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=150k", "none", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.long
def test_a_full_disk_ends_in_one_line_and_a_store_that_can_be_continued(cache, warm, small_disk: Path) -> None:
    root = small_disk / "store"
    call, environment = command(root, cache, workers=1)
    full = warm.run(call[1:], cwd=Path.cwd(), env=environment, timeout=240)
    assert full.returncode == 1
    assert "WARNING: that will not fit" in full.stdout
    assert full.stdout.count(": make room and run the same command again") == 1
    assert not full.stderr
    names = {path.suffix for path in root.rglob("*") if path.is_file()}
    assert names == {".flow", ".json"}, "no part of a file, no claim"
    stored = [path for path in root.rglob("*.flow") if len(Container(path)) == 11]
    assert 0 < len(stored) < CLIPS
    before = {path: path.stat().st_mtime_ns for path in stored}
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    out = finish(root, cache, warm)
    assert f"64 videos, {len(stored)} of them in" in out
    assert f"{64 - len(stored)} videos computed" in out
    assert before == {path: path.stat().st_mtime_ns for path in stored}, "nothing twice"


def test_a_disk_that_fills_up_within_a_clip_leaves_nothing_of_it(source, tmp_path: Path, monkeypatch) -> None:
    flow = DIS(preset="ultrafast")
    make_store(tmp_path, flow)
    written = []

    def encode(*arguments):
        written.append(1)
        if len(written) > 5:
            raise OSError(28, "No space left on device")
        return b"blob"

    monkeypatch.setattr(writer, "encode_field", encode)
    assert store_clip(tmp_path, source.train[0], flow).done == "disk full"
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["manifest.json"]
