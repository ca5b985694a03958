"""What a run was made of, and what differs from it later."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from twostream.data.record import Entry, Record, differences, record_of, renamed, summary_of
from twostream.data.sources import Video
from twostream.data.storage.index import VideoIndex, update_index


def record(train: list[Entry], test: list[Entry], classes: tuple[str, ...] = ("a", "b"), flow: str = "") -> Record:
    return Record(classes, {"train": tuple(train), "validation": (), "test": tuple(test)}, flow)


ONE, TWO, THREE = (Entry(f"a/{name}.avi", "a", size=10, flow=5) for name in ("1", "2", "3"))
BY_OTHERS = "with other settings, or is made or read by another version"
BEFORE = record([ONE, TWO], [THREE], flow="jpeg")


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (record([ONE, TWO], [THREE], flow="jpeg"), []),
        (record([TWO, ONE], [THREE], flow="jpeg"), ["the training videos are in another order"]),
        (
            record([ONE, TWO], [THREE], flow="png"),
            [f"the flow store was made {BY_OTHERS}"],
        ),
        (record([ONE, TWO], [THREE]), []),
        (record([ONE._replace(flow=6), TWO], [THREE]), ["1 video has other fields in the flow store (a/1.avi)"]),
        (record([ONE._replace(sha256="aa"), TWO], [THREE]), []),
        (record([ONE._replace(label="b"), TWO], [THREE]), ["1 video has another label (a/1.avi)"]),
        (record([ONE, TWO], [THREE], classes=("a", "c")), ["the classes were a, b, and are a, c"]),
    ],
    ids=["same", "order", "flow settings", "no flow store", "fields", "indexed since", "label", "classes"],
)
def test_each_kind_of_change_is_named(now: Record, told: list[str]) -> None:
    assert differences(BEFORE, now) == told


def test_of_many_videos_some_are_named() -> None:
    many = [Entry(f"b/{number}.avi", "a") for number in range(1200)]
    assert differences(record(many, [THREE]), record([*many[:100], THREE], many[100:])) == [
        "1,100 videos moved from training to test (b/100.avi, b/101.avi, b/102.avi, and 1,097 more)",
        "1 video moved from test to training (a/3.avi)",
    ]


def test_a_video_that_was_renamed_is_known_by_its_content() -> None:
    assert renamed(BEFORE, record([TWO], [THREE, Entry("a/9.avi", "a", size=10)])) == ["a/9.avi"]
    assert renamed(BEFORE, record([TWO], [THREE, Entry("a/9.avi", "a", size=11)])) == []
    known = record([ONE._replace(sha256="aa"), TWO], [THREE])
    for found, expected in (("aa", ["a/9.avi"]), ("bb", [])):
        assert renamed(known, record([TWO], [Entry("a/9.avi", "a", size=10, sha256=found)])) == expected


def test_a_record_comes_back_from_its_text() -> None:
    odd = record([Entry("a/\udcff\n.avi", "a")], [THREE], flow="{}")
    assert Record.from_text(odd.to_text()) == odd
    for text in ("", "[]", "{}", odd.to_text().replace("10", '"10"'), odd.to_text().replace('"a",10', '"a"')):
        with pytest.raises(ValueError, match="the list of its videos is damaged"):
            Record.from_text(text)


def test_the_index_knows_a_file_of_the_same_size(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    video = Video("a/1.mp4", tmp_path / "a" / "1.mp4", 0, "")
    video.path.write_bytes(b"no video, but a file with a hash")
    lists = {"train": [video], "validation": [], "test": []}

    def now() -> Record:
        update_index(tmp_path, workers=1)
        return record_of(["a"], lists, index=VideoIndex(tmp_path))

    before = now()
    assert len(before.parts["train"][0].sha256) == 16
    raw = bytearray(video.path.read_bytes())
    raw[-1] ^= 1
    video.path.write_bytes(raw)
    os.utime(video.path, ns=(1, 1))
    stale = record_of(["a"], lists, index=VideoIndex(tmp_path))
    assert differences(before, stale) == [], "the index is older than the file"
    assert differences(before, now()) == ["1 video has another content (a/1.mp4)"]


def test_a_summary_tells_label_side_and_order() -> None:
    one, two = (Video(f"a/{name}", Path(name), 0, "") for name in ("1", "2"))
    other = Video("a/1", Path("1"), 1, "")
    lists = [([one, two], []), ([two, one], []), ([one], [two]), ([other, two], [])]
    found = [
        summary_of(["a", "b"], {"train": train, "validation": [], "test": test})["train"]["fingerprint"]
        for train, test in lists
    ]
    assert len(set(found)) == 4
