"""Score files: what is written is read back, and nothing else is read."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch.distributed

from twostream.data.sources import Video
from twostream.metrics.scores import Scores, one_of_each
from twostream.training.system import of_all_processes


def scores(**changes) -> Scores:
    fields = {
        "videos": ("a/1.avi", "a/2.avi", "b/1.avi"),
        "labels": np.array([0, 0, 1]),
        "logits": np.array([[2, 1], [0, 3], [-1, 0.5]], np.float32),
        "classes": ("a", "b"),
        "protocol": "quick",
        "checkpoint": "00ff",
        "data": "ucf101",
        "split": 1,
        "part": "test",
        "mirror": True,
    }
    return Scores(**{**fields, **changes})


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    names = ("a/\udce4.avi", "a/ü.avi", "b/1.avi")  # the first is no UTF-8: a byte E4 on its own
    original = scores(videos=tuple(sorted(names)))
    original.save(tmp_path / "s.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["s.npz"]
    again = Scores.load(tmp_path / "s.npz")
    for field in dataclasses.fields(Scores):
        one, other = getattr(original, field.name), getattr(again, field.name)
        assert type(one) is type(other)
        assert np.array_equal(one, other)
    assert again.logits.dtype == np.float32


def test_files_from_before_leaks_were_counted_can_be_read(tmp_path: Path) -> None:
    content = {**vars(scores()), "videos": np.array(scores().videos), "classes": np.array(scores().classes)}
    del content["leaked"], content["mirror"], content["thresholds"]
    np.savez(tmp_path / "s.npz", **content)
    assert Scores.load(tmp_path / "s.npz").leaked == 0
    assert Scores.load(tmp_path / "s.npz").mirror is None
    scores(leaked=3).save(tmp_path / "s.npz")
    assert Scores.load(tmp_path / "s.npz").leaked == 3


def test_an_empty_part_is_a_file_too(tmp_path: Path) -> None:
    scores(videos=(), labels=np.zeros(0, int), logits=np.zeros((0, 2), np.float32)).save(tmp_path / "s.npz")
    assert Scores.load(tmp_path / "s.npz").videos == ()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"videos": ("b/1.avi", "a/1.avi", "c/1.avi")}, "not sorted"),
        ({"videos": ("a/1.avi", "a/1.avi", "b/1.avi")}, "twice"),
        ({"labels": np.array([0, 1])}, r"3 videos and 2 classes .*labels \(2,\)"),
        ({"labels": np.array([0, 1, 2])}, "labels from 0 to 2 of 2 classes"),
        ({"logits": np.zeros((3, 3), np.float32)}, r"logits \(3, 3\)"),
        ({"part": "train"}, "part='train': choose from test, validation"),
    ],
)
def test_fields_that_do_not_fit_are_refused(changes, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        scores(**changes)


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no zip")
    np.savez(tmp_path / "other.npz", videos=np.zeros(3))
    np.savez(tmp_path / "pickled.npz", **{**vars(scores()), "classes": np.array([{}], dtype=object)})
    scores().save(tmp_path / "cut.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "cut.npz").read_bytes()[:-30])
    for name in ("text", "other", "pickled", "cut"):
        with pytest.raises(ValueError, match=rf"{name}\.npz: is no file of scores"):
            Scores.load(tmp_path / f"{name}.npz")
    with pytest.raises(ValueError, match=r"none\.npz: no such file"):
        Scores.load(tmp_path / "none.npz")


def videos(*ids: str) -> list[Video]:
    return [Video(id=name, path=Path(name), label=position, group=name) for position, name in enumerate(ids)]


DESCRIBED = {"protocol": "train", "checkpoint": "", "data": "folder", "split": 2, "part": "test"}


def test_rows_are_in_the_order_of_the_ids_and_unread_videos_are_absent() -> None:
    logits = {2: np.array([0.0, 0, 1]), 0: np.array([1.0, 0, 0])}
    made = Scores.of(videos("c", "b", "a"), logits, classes=("x", "y", "z"), **DESCRIBED)
    assert made.videos == ("a", "c")
    assert made.labels.tolist() == [2, 0]
    assert made.logits.tolist() == [[0, 0, 1], [1, 0, 0]]
    with pytest.raises(ValueError, match="1 video has the id of another one: a"):
        Scores.of(videos("a", "a"), dict.fromkeys((0, 1), np.zeros(2)), classes=("x", "y"), **DESCRIBED)


def test_every_video_comes_from_one_process(monkeypatch) -> None:
    assert list(one_of_each([{2: np.zeros(1)}, {1: np.zeros(1), 0: np.zeros(1)}])) == [0, 1, 2]
    with pytest.raises(AssertionError):
        one_of_each([{1: np.zeros(1)}, {1: np.zeros(1)}])

    def gather(parts, mine) -> None:
        parts[:] = [mine, {1: np.array([5.0])}]

    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    assert one_of_each(of_all_processes({0: np.array([4.0])})) == {0: 4.0, 1: 5.0}
