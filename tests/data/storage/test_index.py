"""The index: facts that are right, kept as long as they are true, and found fast in a long one."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest

from benchmarks.index import write_index
from twostream.data.decoding import count_frames
from twostream.data.frames import Decoded
from twostream.data.sources import Video
from twostream.data.storage import index as index_module
from twostream.data.storage.index import VideoIndex, find_index, open_index, update_index


def write_clip(path: Path, num_frames: int, *, codec: str = "mpeg4") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 10 * (number % 20), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two sound clips of 5 and 7 frames, one broken file, one that is no video."""
    write_clip(tmp_path / "a" / "five (ü).avi", 5)
    write_clip(tmp_path / "b" / "deep" / "seven.mp4", 7)
    (tmp_path / "b" / "web.avi").write_text("<html>not found</html>")
    (tmp_path / "b" / "notes.txt").touch()
    return tmp_path


def counted(root: Path) -> dict[str, int | None]:
    return {entry.path: entry.num_frames for entry in VideoIndex(root).entries()}


def test_facts_of_sound_files_and_reasons_of_broken_ones(tree: Path) -> None:
    update = update_index(tree, workers=1)
    assert (update.found, update.examined, update.forgotten) == (3, 3, 0)
    assert [(entry.path, entry.error) for entry in update.broken] == [
        ("b/web.avi", "is a web page, not a video: download it again")
    ]
    entry = VideoIndex(tree).entry(tree / "a" / "five (ü).avi")
    assert entry is not None
    assert entry[3:] == (
        index_module.file_hash(tree / "a" / "five (ü).avi"), "avi", "mpeg4", 64, 48, 0, 25.0, 5, 5, False, False,
        "auto", None,
    )  # fmt: skip
    assert counted(tree) == {"a/five (ü).avi": 5, "b/deep/seven.mp4": 7, "b/web.avi": None}


def test_the_second_time_only_what_changed_is_examined(tree: Path) -> None:
    update_index(tree, workers=1)
    assert update_index(tree, workers=1)[:3] == (3, 0, 0)
    write_clip(tree / "a" / "five (ü).avi", 6)
    (tree / "b" / "deep" / "seven.mp4").unlink()
    write_clip(tree / "c" / "new.avi", 2)
    assert update_index(tree, workers=1)[:3] == (3, 2, 1)
    assert counted(tree) == {"a/five (ü).avi": 6, "b/web.avi": None, "c/new.avi": 2}


def test_one_folder_of_several_and_nothing_that_prepare_wrote(tree: Path) -> None:
    write_clip(tree / "reencoded" / "b" / "copy.mp4", 3)
    write_clip(tree / "packed-256" / "copy.mp4", 3)
    assert update_index(tree, workers=1, inside=tree / "a")[:3] == (1, 1, 0)
    assert update_index(tree, workers=1, inside=tree / "b")[:3] == (2, 2, 0)
    (tree / "b" / "web.avi").unlink()
    assert update_index(tree, workers=1, inside=tree / "a")[:4] == (1, 0, 0, [])
    assert counted(tree) == {"a/five (ü).avi": 5, "b/deep/seven.mp4": 7, "b/web.avi": None}
    assert update_index(tree, workers=1)[:4] == (2, 0, 1, [])


def test_broken_files_are_tried_anew_with_another_decoder(tree: Path) -> None:
    update_index(tree, workers=1)
    paths = [tree / "a" / "five (ü).avi", tree / "b" / "deep" / "seven.mp4"]
    known = lambda decoder: [VideoIndex(tree).count(path, decoder) for path in paths]  # noqa: E731
    assert (known("pyav"), known("decord")) == ([5, 7], [None, None])
    assert update_index(tree, workers=1, decoder="decord")[:3] == (3, 3, 0), "its frames are compared with PyAV's"
    assert (known("pyav"), known("decord"), known("torchcodec")) == ([5, 7], [5, 7], [None, None])
    assert update_index(tree, workers=1)[:3] == (3, 1, 0), "only the broken one"
    assert update_index(tree, workers=1)[:3] == (3, 0, 0)


def test_training_takes_counts_of_files_that_are_as_they_were(tree: Path, monkeypatch) -> None:
    update_index(tree, workers=1)
    path = tree / "a" / "five (ü).avi"
    video = Video(id="a/five (ü).avi", path=path, label=0, group="")
    frame_source = pickle.loads(pickle.dumps(Decoded(counts=find_index(tree))))
    monkeypatch.setattr("twostream.data.frames.count_frames", lambda *_, **__: pytest.fail("decoded"))
    assert frame_source.count(video) == 5
    monkeypatch.setattr("twostream.data.frames.count_frames", count_frames)
    os.utime(path, ns=(0, 12345))
    write_clip(tree / "d" / "unknown.avi", 3)
    assert find_index(tree).count(path) is None, "another time of change"  # type: ignore[union-attr]
    assert frame_source.count(video) == 5
    assert frame_source.count(Video(id="", path=tree / "d" / "unknown.avi", label=0, group="")) == 3
    assert find_index(tree / "d") is None


def test_a_broken_file_is_counted_anew_so_that_its_error_is_raised(tree: Path) -> None:
    update_index(tree, workers=1)
    assert VideoIndex(tree).count(tree / "b" / "web.avi") is None


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system")
def test_forked_workers_read_it(tree: Path) -> None:
    update_index(tree, workers=1)
    index = VideoIndex(tree)
    paths = [tree / "a" / "five (ü).avi", tree / "b" / "deep" / "seven.mp4"] * 20
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(index.count, paths) == [5, 7] * 20
    assert index.count(paths[0]) == 5


@pytest.mark.skipif(sys.platform != "linux", reason="names of other systems are Unicode")
def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.avi")
    write_clip(tmp_path / "plain.avi", 3).rename(tmp_path / name)
    assert [entry.error for entry in update_index(tmp_path, workers=1, decoder="decord").broken] == [
        "decord cannot open files whose names are not UTF-8: try decoder=pyav"
    ]
    assert update_index(tmp_path, workers=1)[:4] == (1, 1, 0, [])
    assert update_index(tmp_path, workers=1)[:3] == (1, 0, 0)
    assert counted(tmp_path) == {name: 3}


def test_files_that_are_no_index(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no index; make one with `twostream prepare`"):
        VideoIndex(tmp_path)
    (tmp_path / "index.sqlite").write_text("something else")
    with pytest.raises(ValueError, match=r"index.sqlite: cannot be read as an index \(file is not a database\)"):
        find_index(tmp_path)
    (tmp_path / "index.sqlite").unlink()
    with sqlite3.connect(tmp_path / "index.sqlite") as foreign:
        foreign.execute("CREATE TABLE videos (name)")
    for write in (False, True):
        with pytest.raises(ValueError, match="no index of version 2; delete it"):
            open_index(tmp_path / "index.sqlite", write=write)


@pytest.mark.long
@pytest.mark.skipif(os.name != "posix", reason="sends signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_update_keeps_what_it_has(tmp_path: Path, number: signal.Signals) -> None:
    for i in range(30):
        write_clip(tmp_path / "root" / "a" / f"{i}.avi", 3)
    script = tmp_path / "update.py"
    script.write_text(
        "import sys, time\nfrom pathlib import Path\nfrom twostream.data.storage import index\n"
        "index.COMMIT_EVERY = 0\nexamine = index.examine\n"
        "def slow(*arguments):\n    time.sleep(1)\n    return examine(*arguments)\n"
        "index.examine = slow\n"
        "if __name__ == '__main__':\n    index.update_index(Path(sys.argv[1]), workers=1)\n"
    )
    process = subprocess.Popen([sys.executable, str(script), str(tmp_path / "root")], stderr=subprocess.DEVNULL,
                               env=os.environ | {"PYTHONPATH": str(Path.cwd())})  # fmt: skip
    deadline = time.monotonic() + 60
    while not (find_index(tmp_path / "root") and len(VideoIndex(tmp_path / "root").entries()) >= 3):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    process.wait(200)
    kept = len(VideoIndex(tmp_path / "root").entries())
    assert 3 <= kept < 30
    assert update_index(tmp_path / "root", workers=1)[:3] == (30, 30 - kept, 0)


def test_entries_come_back_in_order(tmp_path: Path) -> None:
    index = write_index(tmp_path, 250)
    entries = index.entries()
    assert len(entries) == 250
    assert [entry.path for entry in entries[:3]] == [f"class000/v{i:06}.avi" for i in (0, 100, 200)]
    assert (entries[-1].path, entries[-1].num_frames) == ("class099/v000199.avi", 200)
    assert index.entry(tmp_path / "class050" / "v000150.avi") == entries[151]


def test_facts_of_real_clips(real_data: Path, tmp_path: Path) -> None:
    for path in [*(real_data / "ucf101_extra").glob("v_Kayaking*"), *(real_data / "hmdb51" / "wave").glob("*.avi")]:
        (tmp_path / path.name).symlink_to(path)
    assert update_index(tmp_path, workers=1).broken == []
    entries = {entry.path: entry for entry in VideoIndex(tmp_path).entries()}
    kayak = entries.pop("v_Kayaking_g12_c03.avi")
    assert (kayak.num_frames, kayak.header_frames, kayak.random_access_safe) == (371, 372, False)
    assert {entry.header_frames - entry.num_frames for entry in entries.values()} == {1}  # type: ignore[operator]
