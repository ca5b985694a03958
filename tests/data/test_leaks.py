"""Videos are told apart by their names and by their bytes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from twostream.data import leaks
from twostream.data.history import History, LeakError
from twostream.data.leaks import check_leaks, same_bytes
from twostream.data.record import record_of
from twostream.data.sources import UCF101, Folder, Source, Video
from twostream.data.storage.index import FILE_NAME, Entry, VideoIndex, open_index, write_entries
from twostream.files.digest import sha256


def write(root: Path, contents: dict[str, bytes]) -> list[Video]:
    for name, content in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return [Video(id=name, path=root / name, label="ab".index(name[0]), group=name) for name in contents]


def make_source(root: Path, *, test: str, **contents: bytes) -> Source:
    """Videos a1, a2, b1, … are a/1.mp4 …; those in `test` are the test side."""
    videos = write(root, {f"{name[0]}/{name[1]}.mp4": content for name, content in contents.items()})
    sides = {name: tuple(v for v in videos if (v.id[0] + v.id[2] in test.split()) == (name == "test"))
             for name in ("train", "test")}  # fmt: skip
    return Source(name="own", split=1, classes=("a", "b"), **sides)


def check(source: Source, *, validation: str = "", allow: bool = False) -> int:
    held = [video for video in source.train if video.id in validation.split()]
    train = [video for video in source.train if video not in held]
    record = record_of(source.classes, {"train": train, "validation": held, "test": source.test})
    return check_leaks(History.of("own", 1, train), source, record, allow=allow)


def test_the_same_bytes_on_two_sides_are_refused_by_name_and_counted(tmp_path: Path) -> None:
    source = make_source(tmp_path, test="a3 b3", a1=b"x1", a2=b"x2", a3=b"x1", b1=b"y1", b2=b"y1", b3=b"y3")
    wanted = r"files with the same bytes are in test and on another side: a/1.mp4 = a/3.mp4; leave out all but one, or"
    with pytest.raises(LeakError, match=rf"^own split 1: {wanted} set allow_leak=true$"):
        check(source)
    assert check(source, allow=True) == 1
    assert check(source, validation="a/1.mp4", allow=True) == 0  # not trained on


def test_the_same_bytes_in_two_classes_are_refused(tmp_path: Path) -> None:
    source = make_source(tmp_path, test="a2 b2", a1=b"x1", a2=b"x2", b1=b"x1", b2=b"y2")
    with pytest.raises(LeakError, match=r"files with the same bytes are in two classes: a/1.mp4 = b/1.mp4; "):
        check(source)
    assert check(source, allow=True) == 0


def test_copies_on_one_side_pass_and_those_in_validation_are_told(tmp_path: Path, caplog) -> None:
    source = make_source(tmp_path, test="a3 b2", a1=b"x1", a2=b"x1", a3=b"x3", b1=b"", b2=b"")  # empty: broken
    assert check(source) == 0
    assert caplog.text == ""
    assert check(source, validation="a/2.mp4") == 0
    assert "in training and in validation, the same bytes: a/1.mp4 = a/2.mp4" in caplog.text


def test_of_published_lists_it_is_told_only(tmp_path: Path, caplog) -> None:
    source = make_source(tmp_path, test="a2 b2", a1=b"x", a2=b"x", b1=b"y1", b2=b"y2")
    published = type("Published", (Source,), {"is_published": UCF101.is_published})(**vars(source))
    assert check(published) == 1
    assert "files with the same bytes are in test and on another side: a/1.mp4 = a/2.mp4" in caplog.text


def test_a_csv_that_parts_two_files_of_one_name_is_told_which(tmp_path: Path, caplog) -> None:
    write(tmp_path, {"a/1.mp4": b"1", "a/1.mov": b"2", "b/1.mp4": b"3", "b/2.mp4": b"4"})
    (tmp_path / "s.csv").write_text("video,split\na/1.mp4,train\na/1.mov,test\nb/1.mp4,train\nb/2.mp4,test\n")
    source = Folder(tmp_path, split=1, csv=tmp_path / "s.csv")
    assert "1 group in training and in test: a/1" in caplog.text
    with pytest.raises(LeakError, match=r"^1 of 2 test videos .*: a/1.mov \(trained on as a/1.mp4\); "):
        check(source)
    assert check(source, allow=True) == 1
    by_chance = Folder(tmp_path, split=1, classes=["a", "b"], test_fraction=0.9)
    assert check(by_chance) == 0


def test_hashes_come_from_the_index_and_only_what_may_be_the_same_is_read(tmp_path: Path, monkeypatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(leaks, "sha256", lambda path: read.append(path.name) or sha256(path))
    contents = {"a/1.mp4": b"11x11", "a/2.mp4": b"11y11", "a/3.mp4": b"333", "b/1.mp4": b"333", "b/2.mp4": b"22222"}
    videos = write(tmp_path, contents)

    def found(index: VideoIndex | None) -> list[list[str]]:
        read.clear()
        lists = {"train": videos, "validation": [], "test": []}
        entries = record_of(("a", "b"), lists, index=index).parts["train"]
        return [[entry.id for entry in group] for group in same_bytes(entries, {v.id: v.path for v in videos})]

    assert found(None) == [["a/3.mp4", "b/1.mp4"]]
    assert sorted(read) == ["1.mp4", "3.mp4"]
    with open_index(tmp_path / FILE_NAME, write=True) as connection:
        facts = [(video, os.stat(video.path)) for video in videos]
        write_entries(connection, [Entry(v.id, s.st_size, s.st_mtime_ns, sha256(v.path)) for v, s in facts])
    connection.close()
    index = VideoIndex(tmp_path)
    assert found(index) == [["a/3.mp4", "b/1.mp4"]]
    assert read == []
    (tmp_path / "b/1.mp4").write_bytes(b"334")  # since the index was made
    assert found(index) == []
    videos += write(tmp_path, {"b/9.mp4": b"22222"})  # the index does not know it
    assert found(index) == [["b/2.mp4", "b/9.mp4"]]
    assert read == ["9.mp4"]
