"""Weights are not tested on videos that they were trained on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from twostream.data.history import History, LeakError
from twostream.data.sources import Video


def videos(*ids: str) -> list[Video]:
    return [Video(id=name, path=Path("/somewhere", name), label=0, group=name) for name in ids]


def stored(history: History, path: Path) -> History:
    torch.save({"state_dict": {}, "trained_on": history.to_checkpoint()}, path)
    return History.from_checkpoint(path)


def test_a_checkpoint_tells_what_it_was_trained_on(tmp_path: Path) -> None:
    history = History.of("ucf101", 1, videos("a/1.avi", "a/2.avi")) | History.of("ucf101", 2, videos("a/2.avi"))
    again = stored(history, tmp_path / "c.ckpt")
    assert again == history
    assert len(again.videos) == 2
    assert [line.split(", fingerprint")[0] for line in again.lists] == [
        "ucf101 split 1, 2 videos",
        "ucf101 split 2, 1 videos",
    ]


def test_videos_that_were_trained_on_are_refused_with_their_number() -> None:
    history = History.of("ucf101", 1, videos("a/1.avi", "a/2.avi", "b/1.avi"))
    assert history.check(videos("a/3.avi", "b/2.avi")) == 0
    with pytest.raises(LeakError, match=r"^2 of 3 test videos .*ucf101 split 1, 3 videos.*: a/2.avi, b/1.avi; .*leak"):
        history.check(videos("a/2.avi", "b/1.avi", "b/3.avi"))
    with pytest.raises(LeakError, match=r"^1 of 1 validation videos"):
        history.check(videos("a/2.avi"), part="validation")
    assert history.check(videos("a/2.avi", "b/1.avi", "b/3.avi"), allow=True) == 2


def test_another_encoding_is_the_same_video_and_another_class_is_not() -> None:
    history = History.of("folder", 1, videos("a/v.1.avi"))
    assert history.among(videos("a/v.1.mp4", "a/v.2.avi", "b/v.1.avi", "v.1.avi")) == ["a/v.1.mp4"]


def test_checkpoints_of_other_programs_and_broken_ones(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "other.pth")
    assert History.from_checkpoint(tmp_path / "other.pth") == History()
    (tmp_path / "broken.pth").write_bytes(b"no zip")
    with pytest.raises(ValueError, match=r"broken.pth: cannot be read as a checkpoint"):
        History.from_checkpoint(tmp_path / "broken.pth")
