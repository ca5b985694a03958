"""What is compared is the same clips with and without a cache."""

from __future__ import annotations

from pathlib import Path

from benchmarks.kept import bench_clips, datasets
from twostream.data.frames import Cached

SMALL = ["data.train_clips=16", "data.test_clips=16"]


def test_both_sides_make_the_same_clips(tmp_path: Path, capsys) -> None:
    overrides = [*SMALL, f"data.root={tmp_path}"]
    sides = datasets(overrides)
    assert [isinstance(side.frame_source, Cached) for side in sides.values()] == [False, True]
    bench_clips(overrides, clips=2, epochs=2)
    printed = capsys.readouterr().out
    assert printed.startswith("CPU ms a clip, of 2; ram keeps frames and fields\nepoch 1: data.cache=null ")
    assert "epoch 2: data.cache=null " in printed
