"""The embedded data set: neither stream alone can tell the label, and a rendering is whole or absent."""

from __future__ import annotations

import numpy as np
import pytest

from twostream.data.decoding import count_frames, read_frames
from twostream.data.sampling import Chunks
from twostream.data.sources import moving_patterns
from twostream.data.sources.moving_patterns import (
    FRAMES,
    MOTIONS,
    PERIOD,
    MovingPatterns,
    displacements,
    draw_clip,
    luminance,
    pattern_names,
    tint,
)

SMALL = {"train_clips": 32, "test_clips": 16}


def motion(name: str, task: str = "motion") -> np.ndarray:
    return displacements(MOTIONS[task][name], FRAMES[task])


def test_files_are_real_videos_of_the_right_size(tmp_path) -> None:
    source = MovingPatterns(tmp_path, split=1, **SMALL)
    assert len(source.classes) == 16
    assert (len(source.train), len(source.test)) == (32, 16)
    video = source.train[5]
    assert video.id.startswith(source.classes[video.label] + "/")
    assert count_frames(video.path) == 12
    assert read_frames(video.path, [0, 11]).shape == (2, 64, 64, 3)
    labels = np.bincount([video.label for video in source.train])
    assert labels.tolist() == [2] * 16


def test_rendering_many_clips_shows_a_bar_on_a_terminal(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(moving_patterns, "MANY", 48)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    MovingPatterns(tmp_path / "few", split=1, train_clips=16, test_clips=16)
    assert "rendering ━" not in capsys.readouterr().out
    MovingPatterns(tmp_path / "many", split=1, **SMALL)
    assert "rendering" in (shown := capsys.readouterr().out)
    assert "48/48" in shown


def test_same_seed_same_pixels_other_split_other_pixels(tmp_path) -> None:
    one, same = (MovingPatterns(tmp_path / name, split=1, **SMALL) for name in ("one", "same"))
    other = MovingPatterns(tmp_path / "one", split=2, **SMALL)
    for a, b in zip(one.train[:4], same.train[:4], strict=True):
        assert a.path.read_bytes() == b.path.read_bytes()
    assert one.train[0].path.read_bytes() != other.train[0].path.read_bytes()
    assert one.train[0].path.read_bytes() != one.test[0].path.read_bytes()


def test_an_interrupted_rendering_is_not_taken_as_whole(tmp_path, monkeypatch) -> None:
    import twostream.data.sources.moving_patterns as synthetic

    write, written = synthetic.write_video, []

    def interrupted(path, planes) -> None:
        written.append(path)
        if len(written) == 20:
            raise KeyboardInterrupt
        write(path, planes)

    monkeypatch.setattr(synthetic, "write_video", interrupted)
    with pytest.raises(KeyboardInterrupt):
        MovingPatterns(tmp_path, split=1, **SMALL)
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith(".")]
    monkeypatch.setattr(synthetic, "write_video", write)
    source = MovingPatterns(tmp_path, split=1, **SMALL)
    assert all(video.path.is_file() for video in source.train + source.test)


@pytest.mark.parametrize("patterns", [4, 9])
def test_exactly_one_cell_moves_and_only_inside_its_window(patterns: int) -> None:
    side = {4: 2, 9: 3}[patterns]
    for seed in range(8):
        clip = draw_clip(np.random.default_rng(seed), motion("left"), pattern=1, patterns=patterns)
        luma = clip[:, : side * 32].astype(int)
        changed = np.abs(np.diff(luma, axis=0)).max(axis=0) > 0
        rows, columns = np.nonzero(changed)
        assert len(set(zip((rows // 32).tolist(), (columns // 32).tolist(), strict=True))) == 1
        assert (rows % 32).min() >= 4, "24 pixels of texture in the middle of a cell of 32"
        assert (rows % 32).max() < 28


def test_left_moves_left_by_three_pixels_a_frame() -> None:
    clip = draw_clip(np.random.default_rng(0), motion("left"), pattern=0, patterns=4)
    luma = clip[:, :64].astype(int)
    rows, columns = np.nonzero(np.abs(np.diff(luma, axis=0)).max(axis=0))
    top, left = rows.min() // 32 * 32 + 4, columns.min() // 32 * 32 + 4
    window = luma[:, top : top + 24, left : left + 24]
    assert np.array_equal(window[1], np.roll(window[0], -3, axis=1))
    assert np.array_equal(window[8], window[0]), "24 pixels of travel: once around"


def test_luminance_does_not_know_the_pattern() -> None:
    """Every cell has the same 576 grey values, whatever its pattern; only their places differ."""
    cells = luminance(np.random.default_rng(0), 6)
    values = np.sort(cells.reshape(6, -1), axis=1)
    assert (values == values[0]).all()
    assert (values[0, 0], values[0, -1]) == (80, 170)
    generator = np.random.default_rng(1)
    first, second = (draw_clip(generator, motion("up"), pattern=p, patterns=4)[0, :64] for p in (0, 3))
    assert np.array_equal(np.sort(first, axis=None), np.sort(second, axis=None))


def test_patterns_are_told_apart_by_colour() -> None:
    tints = np.stack([tint(k) for k in range(4)]) - 128
    distances = [np.abs(tints[i] - tints[j]).mean() for i in range(4) for j in range(i)]
    assert min(distances) > 5


def test_every_frame_of_a_moving_cell_looks_like_one_of_a_resting_cell() -> None:
    """The first frame is the same whether or not, and where to, something will move."""
    firsts = [
        draw_clip(np.random.default_rng(7), motion(name), pattern=p, patterns=4)[0]
        for name in MOTIONS["motion"]
        for p in range(4)
    ]
    assert all(np.array_equal(frame, firsts[0]) for frame in firsts)


def test_order_shows_one_motion_to_a_chunk_and_two_to_a_pair_of_chunks() -> None:
    """Chunks of 6 frames, 13 apart: whatever the start, none holds both motions, and both are met alike."""
    length, frames = 5, FRAMES["order"]
    assert frames == 2 * PERIOD + 3 * 5
    steps = np.diff(motion("left-right", "order"), axis=0)[:, 1]  # pixels to the right, per field
    for seed in range(50):
        [starts] = Chunks(2, stride=(13, 13)).random(frames, length, np.random.default_rng(seed))
        first, second = (steps[s : s + length] for s in starts)
        assert set(first) <= {0, -3}
        assert set(second) <= {0, 3}
        assert np.array_equal(first, -second)


def test_order_classes_differ_in_order_alone() -> None:
    forth, back = (motion(name, "order") for name in ("left-right", "right-left"))
    assert np.array_equal(forth, -back)
    assert forth[0].tolist() == forth[-1].tolist() == [0, 0]


def test_names_of_nine_patterns_are_distinct() -> None:
    for count in (4, 9, 16):
        assert len(set(pattern_names(count))) == count


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": 4}, "split=4: choose from 1, 2, 3"),
        ({"split": 1, "task": "dance"}, "task='dance'.*motion, order"),
        ({"split": 1, "cells": 5}, "cells=5: choose from 4, 9, 16"),
        ({"split": 1, "train_clips": 3}, "train_clips=3"),
        ({"split": 1, "task": "order", "frames": 30}, "frames=30"),
    ],
)
def test_wrong_values(options, message: str, tmp_path) -> None:
    with pytest.raises(ValueError, match=message):
        MovingPatterns(tmp_path, **options)
    assert not list(tmp_path.iterdir())
