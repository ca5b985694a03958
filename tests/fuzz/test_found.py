"""Wrong inputs that once ended in a riddle, a hang, or all memory, each by itself."""

from __future__ import annotations

import json
import sqlite3
import struct
import sys
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

import kinds

from twostream.data.decoding import VideoError, count_frames
from twostream.data.picture import decode_picture
from twostream.data.storage.container import Container, ContainerError, write_container
from twostream.data.storage.flow_store import FlowStore, FlowStoreError
from twostream.data.storage.index import VideoIndex
from twostream.data.storage.packed import Packed
from twostream.files.errors import one_line
from twostream.files.json_yaml import read_yaml
from twostream.files.lock import is_held, lock_path
from twostream.metrics.plots import read_curves
from twostream.metrics.scores import Scores
from twostream.report.pivot import make_pivots
from twostream.runs.results import read_results
from twostream.runs.sweep import read_sweep


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "input").mkdir()
    return tmp_path / "input"


def png(width: int, height: int) -> bytes:
    """A header that claims so many pixels, and one row of them."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")


# ---- lists ----


@pytest.mark.parametrize(
    ("name", "old", "new", "told"),
    [
        ("classInd.txt", "2 jump", "2 " + "a" * 70_000, r"classInd\.txt has no class 'jump'|testlist01"),
        ("classInd.txt", "2 jump", "2 ..", r"classInd\.txt:2: '2 \.\.': expected `2 ClassName`"),
        ("trainlist01.txt", "run", "\0", r"trainlist01\.txt: not a text file \(it holds a NUL\)"),
        ("split.csv", "run/g01", "\0/g01", r"split\.csv: not a text file in UTF-8 \(it holds a NUL\)"),
    ],
)
def test_lists(folder: Path, name: str, old: str, new: str, told: str) -> None:
    make, read = (
        (kinds.make_folder, kinds.read_folder) if name == "split.csv" else (kinds.make_ucf101, kinds.read_ucf101)
    )
    make(folder)
    (folder / name).write_text((folder / name).read_text().replace(old, new, 1))
    with pytest.raises(ValueError, match=told):
        read(folder)


# ---- the index ----

WITHOUT_END = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS path FROM n"


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        (f"DROP TABLE videos; CREATE VIEW videos AS {WITHOUT_END}", "no index of version 2"),
        ("CREATE TRIGGER t AFTER DELETE ON videos BEGIN DELETE FROM videos; END", "no index of version 2"),
        ("UPDATE videos SET num_frames = 'x'", "damaged .TypeError: num_frames of run/0.avi is 'x'"),
        ("UPDATE videos SET num_frames = 9223372036854775807", "damaged .TypeError: num_frames of run/0.avi is 92233"),
        ("UPDATE videos SET has_b_frames = 7", "damaged .KeyError: 7"),
        ("UPDATE videos SET fps = x'ff'", "damaged .TypeError: fps of"),
    ],
)
def test_an_index(folder: Path, statement: str, told: str) -> None:
    kinds.make_index(folder)
    connection = sqlite3.connect(folder / "index.sqlite")
    connection.executescript(statement)
    connection.close()
    with pytest.raises(ValueError, match=rf"index\.sqlite: {told}"):
        VideoIndex(folder).entries()


def test_an_index_whose_pages_are_damaged(folder: Path) -> None:
    kinds.make_index(folder)
    content = bytearray((folder / "index.sqlite").read_bytes())
    content[-4096:] = b"\xff" * 4096
    (folder / "index.sqlite").write_bytes(content)
    with pytest.raises(ValueError, match=r"index\.sqlite: damaged .DatabaseError"):
        VideoIndex(folder).entries()


# ---- containers ----


@pytest.mark.parametrize("change", [{"frame": [2**20, 2**20]}, {"frame": [0, 8]}, {"frame": "x"}, {"source": []}, None])
def test_headers_of_packed_frames(folder: Path, change: dict | None) -> None:
    kinds.make_packed(folder)
    path, video = folder / "run" / "video.mp4.frames", kinds._video(folder)
    whole = Container(path)
    header = [1] if change is None else {**whole.header, **change}
    write_container(path, [whole[0]], header=lambda: header)  # type: ignore[arg-type,return-value]
    with pytest.raises(VideoError, match=r"video\.mp4\.frames: is damaged, or another kind of file"):
        Packed(folder).read(video, [0])


@pytest.mark.parametrize(
    ("blob", "told"),
    [
        (png(60_000, 60_000), "frame 0 is a picture of 60000 x 60000 pixels, more than 3,072"),
        (png(8, 8), "frame 0 has another size than the header says"),
        (b"\xff\xd8\xff", "frame 0 is neither JPEG nor PNG"),
        (b"II*\0" + bytes(99), "frame 0 is neither JPEG nor PNG"),  # OpenCV would read TIFF, EXR, … as well
    ],
)
def test_packed_frames(folder: Path, blob: bytes, told: str) -> None:
    kinds.make_packed(folder)
    path, video = folder / "run" / "video.mp4.frames", kinds._video(folder)
    header = Container(path).header
    write_container(path, [blob], header=header)
    with pytest.raises(VideoError, match=rf"video\.mp4\.frames: {told}"):
        Packed(folder).read(video, [0])


def test_a_container_whose_parts_overlap(tmp_path: Path) -> None:
    write_container(tmp_path / "x", [b"a" * 10, b"b" * 10], header={})
    content = bytearray((tmp_path / "x").read_bytes())
    table = len(content) - 36 - 24
    content[table : table + 8] = struct.pack("<Q", 1 << 40)
    start = table - 2
    content[-12:-8] = struct.pack("<I", zlib.crc32(content[start : len(content) - 36]))
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ContainerError, match="is damaged: its parts are not one behind the other"):
        Container(tmp_path / "x")


@pytest.mark.parametrize("encoding", ["jpeg", "small"])
def test_fields(folder: Path, encoding: str) -> None:
    kinds.make_store(folder)
    path, video = folder / encoding / "run" / "video.mp4.flow", kinds._video(folder)
    header = Container(path).header
    for blob in (png(60_000, 60_000), png(8_000, 8_000), png(8, 8), b"\0\0\0\1 no", b""):
        write_container(path, [blob], header=header)
        with pytest.raises(ContainerError, match=r"video\.mp4\.flow: field 0 is "):
            FlowStore(folder / encoding, kinds._flow()).levels(video, [(0, 1)])
    write_container(path, [b""], header={**header, "field": [2**30, 2**30]})  # (0, 0) would be zeros of that size
    with pytest.raises(ContainerError, match="is damaged, or another kind of file"):
        FlowStore(folder / encoding, kinds._flow()).levels(video, [(0, 0)])
    (folder / encoding / "manifest.json").write_text('{"version": 1, "flow": {"algorithm": 1}, "encoding": []}')
    with pytest.raises(FlowStoreError, match=r"manifest\.json: damaged, not the manifest of a flow store"):
        FlowStore(folder / encoding, kinds._flow())


def test_a_picture_that_opencv_gives_up_in_the_middle() -> None:
    with pytest.raises(ValueError, match="no picture that can be read"):
        decode_picture(png(40, 40)[:45], 0)


@pytest.mark.parametrize("marker", [0x00, 0x01, 0xD0, 0xD7, 0xD8, 0xDA])
def test_a_size_that_only_we_would_read(marker: int) -> None:
    """A marker without a length, by whose "length" we would jump over the real size to one of 32 x 16."""
    real = cv2.imencode(".jpg", np.zeros((300, 400, 3), np.uint8))[1].tobytes()
    blob = b"\xff\xd8\xff" + bytes([marker]) + real[2:]
    jump = 4 + int.from_bytes(real[2:4], "big")
    blob = blob.ljust(jump, b"\0") + bytes.fromhex("ffc0000b 08 0010 0020 01")
    with pytest.raises(ValueError, match="neither JPEG nor PNG"):
        decode_picture(blob, cv2.IMREAD_COLOR, most_pixels=1000)


def test_a_picture_that_is_not_of_the_size_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    real = cv2.imencode(".jpg", np.zeros((300, 400, 3), np.uint8))[1].tobytes()
    assert decode_picture(real, cv2.IMREAD_COLOR).shape == (300, 400, 3)
    monkeypatch.setattr("twostream.data.picture.picture_size", lambda _: (16, 32))
    with pytest.raises(ValueError, match="a picture of 32 x 16 pixels that has 400 x 300"):
        decode_picture(real, cv2.IMREAD_COLOR)


# ---- what runs leave ----

HOSTILE_RESULTS = [
    {"metrics": {"test/top1": "x"}},
    {"metrics": {"test/top1": 10**400}},
    {"metrics": {}, "unreadable": ["a"]},
    {"metrics": {}, "choices": {"data": ["a"]}},
    {"metrics": {}, "layer": {}},
    {"metrics": {}, "overrides": [1]},
    [],
    "[" * 100_000,
]


@pytest.mark.parametrize("content", HOSTILE_RESULTS, ids=range(len(HOSTILE_RESULTS)))
def test_results(tmp_path: Path, content: object) -> None:
    (tmp_path / "results.json").write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ValueError, match=r"results\.json: damaged, no results of a run"):
        read_results(tmp_path)


@pytest.mark.parametrize(
    ("axes", "cells"),
    [
        ({"seed": "012"}, []),
        ({"seed": [["0"]]}, []),
        ({"seed": ["0"]}, [{"seed": "1"}]),
        ({"seed": ["0"]}, [{"x": "0"}]),
    ],
)
def test_plans(tmp_path: Path, axes: dict, cells: list) -> None:
    (tmp_path / "ledger.json").write_text(json.dumps({"command": "", "axes": axes, "cells": cells}))
    with pytest.raises(ValueError, match=r"ledger\.json: damaged"):
        read_sweep(tmp_path)


def test_a_sweep_whose_command_is_no_utf_8(folder: Path) -> None:
    kinds.make_sweep(folder)
    ledger = json.loads((folder / "ledger.json").read_text())
    (folder / "ledger.json").write_text(json.dumps({**ledger, "command": "a \ud800"}))
    kinds.read_sweep(folder)
    assert "    a ?" in (folder / "report" / "report.md").read_text()


def test_pivots_of_axes_without_end() -> None:
    """30 axes of two values would be 2^28 tables; there are two groups."""
    axes = {f"a{i}": ("0", "1") for i in range(30)}
    groups = [dict.fromkeys(axes, "0"), dict.fromkeys(axes, "1")]
    started = time.perf_counter()
    pivots = make_pivots(groups, axes, ("a0", "a1"))
    assert [pivot.positions for pivot in pivots] == [{("0", "0"): 0}, {("1", "1"): 1}]
    assert time.perf_counter() - started < 30


@pytest.mark.parametrize("text", ["epoch,val/top1\n0,1,x\n", "epoch,val/top1\n0,x\n", "epoch,val/top1\n0,\udcff\n"])
def test_curves(tmp_path: Path, text: str) -> None:
    (tmp_path / "metrics.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    if text.endswith("1,x\n"):
        assert read_curves(tmp_path / "metrics.csv") == {"val/top1": ([1.0], [1.0])}
        return
    with pytest.raises(ValueError, match=r"metrics\.csv: cannot be read"):
        read_curves(tmp_path / "metrics.csv")


def test_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds.make_scores(tmp_path)
    path = tmp_path / "scores.npz"
    with np.load(path) as file:
        arrays = dict(file)
    for name, value, told in (
        ("classes", np.array([1, 2]), "classes is int64 of 1 dimensions"),
        ("labels", np.zeros(3), "labels is float64"),
        ("logits", np.array([["a", "b"]] * 3), "logits is <U1"),
        ("split", np.array([1]), "split is int64 of 1 dimensions"),
    ):
        np.savez(path, **{**arrays, name: value})
        with pytest.raises(ValueError, match=rf"scores\.npz: is no file of scores \({told}"):
            Scores.load(path)
    np.savez_compressed(path, **{**arrays, "logits": np.zeros((10**6, 2), np.float32)})
    monkeypatch.setattr("twostream.metrics.scores.MOST_BYTES", 0)
    with pytest.raises(ValueError, match=r"8,00\d,\d+ bytes would come out of it"):
        Scores.load(path)


@pytest.mark.parametrize("pid", ['"x"', "[]", "1e999", str(2**80), "{}"])
def test_claims(tmp_path: Path, pid: str) -> None:
    lock_path(tmp_path / "a").write_text(f'{{"host": "h", "pid": {pid}, "started": null, "token": "t"}}')
    assert is_held(tmp_path / "a"), "of another host, or just being written: left alone until it is old"


def test_yaml_of_brackets(tmp_path: Path) -> None:
    """PyYAML takes the square of their number: an hour for 100,000."""
    (tmp_path / "config.yaml").write_text("[" * 100_000)
    started = time.perf_counter()
    with pytest.raises(ValueError, match=r"config\.yaml: cannot be read"):
        read_yaml(tmp_path / "config.yaml")
    assert time.perf_counter() - started < 30


# ---- videos and messages ----


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
def test_frames_of_a_size_beyond_measure(tmp_path: Path, decoder: str) -> None:
    kinds.write_clip(tmp_path / "a.avi", "mjpeg", 3)
    content = (tmp_path / "a.avi").read_bytes()
    place = content.index(b"strf") + 12  # BITMAPINFOHEADER: size, width, height
    huge = content[:place] + struct.pack("<II", 60_000, 60_000) + content[place + 8 :]
    frame = content.index(b"\xff\xc0") + 5
    (tmp_path / "a.avi").write_bytes(huge[:frame] + struct.pack(">HH", 60_000, 60_000) + huge[frame + 4 :])
    with pytest.raises(VideoError, match=r"a\.avi: "):
        count_frames(tmp_path / "a.avi", decoder=decoder)


def test_messages_do_nothing_to_a_terminal() -> None:
    assert one_line(ValueError("a\x1b[2J\n\udcff.avi")) == "a?[2J ?.avi"
