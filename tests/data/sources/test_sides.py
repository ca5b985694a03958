"""Folders train/, val/, test/ around class folders are a split, not classes."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from video_trees import groups, ids, message, touch

from twostream.data.sources import Folder, hold_out


def write_sides(root: Path, *sides: str, classes: str = "ab") -> Path:
    touch(root, [f"{side}/{name}/{number}.mp4" for side in sides for name in classes for number in (1, 2, 3)])
    return root


def top_folders(source: Folder) -> list[set[str]]:
    """The top folders of training, validation and test."""
    return [{name.partition("/")[0] for name in ids(part)} for part in (source.train, source.validation, source.test)]


@pytest.mark.parametrize(
    ("sides", "expected", "said"),
    [
        (("train", "test"), [{"train"}, set(), {"test"}], "train/ trains, test/ tests"),
        (("Train", "VAL"), [{"Train"}, set(), {"VAL"}], "Train/ trains, VAL/ tests (there is no test folder)"),
        (
            ("train", "validation", "Test", "packed-256"),
            [{"train"}, {"validation"}, {"Test"}],
            "train/ trains, validation/ validates (instead of validation_fraction), Test/ tests",
        ),
        (("training", "valid", "testing"), [{"training"}, {"valid"}, {"testing"}], "testing/ tests"),
    ],
)
def test_sides_are_used_as_they_are_and_said(tmp_path, caplog, sides, expected, said) -> None:
    touch(write_sides(tmp_path, *sides), ["annotations/x.json", "train.csv"])
    source = Folder(tmp_path, split=1)
    assert source.classes == ("a", "b")
    assert top_folders(source) == expected
    assert len(source.videos) == 6 * sum(map(len, expected))
    [line] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert line.startswith(f"{tmp_path} is a split: ")
    assert line.endswith(said)
    assert len(groups(source.videos)) == len(source.videos)  # 1.mp4 of training is not 1.mp4 of test
    assert {v.label for v in hold_out(source.train, 0.3, 0)[1]} == {0, 1}
    assert message(lambda: Folder(tmp_path, split=2)).startswith(f"split=2: {tmp_path} holds one split, in folders; ")


def test_a_written_split_of_sides_reads_back_identical(tmp_path) -> None:
    source = Folder(write_sides(tmp_path / "data", "train", "val", "test"), split=1, classes=["a", "b"])
    source.write_split(tmp_path / "split.csv")
    assert Folder(tmp_path / "data", split=1, csv=tmp_path / "split.csv") == source


def test_a_csv_wins_and_its_classes_are_below_the_sides(tmp_path) -> None:
    write_sides(tmp_path, "train", "test")
    rows = [f"{side}/{name}/{k}.mp4,{part}" for side in ("train", "test") for name in "ab"
            for k, part in ((1, "Train"), (2, "val"), (3, "test"))]  # fmt: skip
    (tmp_path / "s.csv").write_text("\n".join(["video,split", *rows]))
    source = Folder(tmp_path, split=1, csv=tmp_path / "s.csv")
    assert source.classes == ("a", "b")
    assert ids(source.train) == ["test/a/1.mp4", "test/b/1.mp4", "train/a/1.mp4", "train/b/1.mp4"]
    assert ids(source.validation) == [name.replace("1", "2") for name in ids(source.train)]
    assert [video.group for video in source.test] == ["test/a/3", "test/b/3", "train/a/3", "train/b/3"]


@pytest.mark.parametrize(
    ("more", "wanted"),
    [
        (["extra/a/1.mp4"], "test/, train/ look like the sides of a split, and beside them are videos in extra/; move"),
        (["val/1.mp4"], "and val/ without class folders; move away what does not belong there, or say"),
        (["training/a/1.mp4"], "and train/, training/ are the same side; "),
        (["train/A/1.mp4"], "classes 'A' and 'a' are one to the eye (upper and lower case differ)"),
        (["test/c/1.mp4"], "no training videos for 1 of 3 classes: c; "),
    ],
)
def test_unclear_sides_are_refused(tmp_path, more: list[str], wanted: str) -> None:
    touch(write_sides(tmp_path, "train", "test"), more)
    assert wanted in message(lambda: Folder(tmp_path, split=1))


def test_classes_may_be_called_like_sides(tmp_path, caplog: pytest.LogCaptureFixture) -> None:
    names = [f"{name}/tape{k}/1.mp4" for name in ("bus", "test") for k in (1, 2)] + ["train/1.mp4", "train/2.mp4"]
    touch(tmp_path, names)
    with caplog.at_level(logging.WARNING):
        assert Folder(tmp_path, split=1).classes == ("bus", "test", "train")
        assert caplog.text == ""
        assert Folder(tmp_path, split=1, classes=["test", "train"]).classes == ("test", "train")
    touch(tmp_path / "flat", ["test/1.mp4", "test/2.mp4", "train/1.mp4", "train/2.mp4"])
    assert Folder(tmp_path / "flat", split=1).classes == ("test", "train")
    assert "the classes are called test and train; for sides of a split, each has to hold" in caplog.text
    touch(tmp_path / "one", ["train/a/1.mp4"])
    assert f"name {tmp_path / 'one' / 'train'} to have it split" in message(lambda: Folder(tmp_path / "one", split=1))
